"""A type checker finds misspelt names in the program of a user."""

from __future__ import annotations

import re
from pathlib import Path

from mypy import api

PROGRAM = """\
import aiohttp
import aiohttp.web
import asyncpg
import poolscope
import sqlalchemy
from fastapi import FastAPI
from flask import Flask
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import create_async_engine
from werkzeug.middleware.dispatcher import DispatcherMiddleware

engine = sqlalchemy.create_engine("sqlite://")
watch = poolscope.watch(engine, name="orders", leak_after=5.0)
print(watch.snapshot().in_use, watch.holders()[0].site, poolscope.findings()[0].rule)
poolscope.watch(engine.pool)
poolscope.watch(create_async_engine("sqlite+aiosqlite://"))
poolscope.watch(asyncpg.create_pool())


async def live() -> None:
    async with poolscope.lifespan(engine, orders=asyncpg.create_pool(), timeout=5.0) as watches:
        print(watches[0].snapshot())
    with poolscope.lifespan(orders=engine):
        pass


async def serve() -> None:
    async with aiohttp.ClientSession(trace_configs=[poolscope.trace_config("up")]) as session:
        poolscope.watch(session)
    poolscope.watch(aiohttp.TCPConnector(), registry=CollectorRegistry())


@poolscope.operation("nightly report")
async def report(day: str) -> int:
    with poolscope.operation("totals"):
        print([hold.operation for hold in watch.holders()])
    return len(day)


async def run_report() -> int:
    return await report("today")


app = FastAPI()
app.add_route("/metrics", poolscope.make_asgi_app())
app.mount("/mounted", poolscope.make_asgi_app(registry=CollectorRegistry()))
flask = Flask("shop")
DispatcherMiddleware(flask.wsgi_app, {"/metrics": poolscope.make_wsgi_app()})
flask.add_url_rule("/metrics", view_func=poolscope.make_wsgi_app(), strict_slashes=False)
aiohttp.web.Application().router.add_get("/metrics", poolscope.make_asgi_app())
"""

MISTAKES = (
    "poolscope.wach(engine)",
    "poolscope.watch(5)",
    'poolscope.watch("orders")',
    "poolscope.watch(engine, nmae='orders')",
    "poolscope.watch(engine, leak_after='5')",
    "watch.snapshots()",
    "watch.snapshot().in_ues",
    "watch.ledgers",
    "watch.holders()[0].sight",
    "poolscope.holders.Borrower",
    "poolscope.sqlalchemy",
    "poolscope.findings().rule",
    "poolscope.watch(engine, registry='orders')",
    "poolscope.make_asgi_app('orders')",
    "poolscope.make_wsgi_app(path='/metrics')",
    "poolscope.trace_config(nmae='up')",
    "poolscope.operation(5)",
    "report(5)",
    "poolscope.lifespan(5)",
    "poolscope.lifespan(orders='orders')",
    "poolscope.lifespan(engine, timeout='5')",
)


def errors_in(program: str, folder: Path) -> list[int]:
    """Return the lines in which mypy finds errors."""
    path = folder / "program.py"
    path.write_text(program)
    output, problems, _ = api.run(
        ["--strict", "--no-incremental", "--ignore-missing-imports", str(path)]
    )
    assert "" == problems
    return [int(line) for line in re.findall(r"program\.py:(\d+): error", output)]


def test_a_correct_program_has_no_type_errors(tmp_path: Path) -> None:
    assert [] == errors_in(PROGRAM, tmp_path)


def test_each_mistake_is_a_type_error(tmp_path: Path) -> None:
    first = PROGRAM.count("\n") + 1
    lines = errors_in(PROGRAM + "\n".join(MISTAKES) + "\n", tmp_path)
    assert [*range(first, first + len(MISTAKES))] == sorted(set(lines))

"""What the README says to write and to run works, word for word."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import sqlalchemy
from aiohttp import web
from aiohttp.test_utils import TestClient as AiohttpClient
from aiohttp.test_utils import TestServer
from celery import Celery
from django.utils.module_loading import import_string
from fastapi import FastAPI
from flask import Flask

import poolscope
from launching.launched import Launched, environment, launch
from support.served import asgi, ask

__all__ = ["launch"]

README: Final = (Path(__file__).parents[2] / "README.md").read_text()

ROWS: Final = dict(re.findall(r"^\| ([^|]+?) \| (.+?) \|$", README, re.MULTILINE))
"""What to write or run, by framework."""

APP: Final = """\
import sqlalchemy
from flask import Flask

engine = sqlalchemy.create_engine("sqlite:///shop.db")
app = Flask(__name__)


@app.get("/")
def index():
    import os

    engine.connect().close()
    return str(os.getpid())


if __name__ == "__main__":
    engine.connect().close()
"""


def code(row: str) -> list[str]:
    return re.findall(r"`([^`]+)`", ROWS[row])


def executed(row: str, **names: Any) -> dict[str, Any]:
    """Execute the statements of a row."""
    namespace = {"poolscope": poolscope, "__name__": "shop", **names}
    for statement in code(row):
        exec(statement, namespace)  # noqa: S102 - that is the test
    return namespace


@pytest.fixture
def engine() -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine("sqlite://")
    yield engine
    engine.dispose()


def test_fastapi(engine: sqlalchemy.Engine) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"poolscope": poolscope, "engine": engine, "FastAPI": FastAPI}
    names["asynccontextmanager"] = asynccontextmanager
    exec(block, names)  # noqa: S102 - that is the test
    with asgi(names["app"]) as port:
        for path in ("/metrics", "/metrics/"):
            answer = ask(port, "GET", path)
            assert 200 == answer.status
            assert b'connpool_limit{kind="sqlalchemy",pool="orders"}' in answer.body


def test_flask(engine: sqlalchemy.Engine) -> None:
    app = executed("Flask", engine=engine, Flask=Flask)["app"]
    assert 'pool="orders"' in app.test_client().get("/metrics").text


def test_django(engine: sqlalchemy.Engine) -> None:
    names = executed("Django", engine=engine)
    first, _ = names["MIDDLEWARE"]
    assert import_string(first) is not None
    watch = poolscope.watch(engine)
    assert "orders" == watch.name


async def test_aiohttp() -> None:
    app = web.Application()
    pool = asyncpg.create_pool("postgresql://127.0.0.1:1/shop")
    executed("aiohttp.web", app=app, pool=pool)
    async with AiohttpClient(TestServer(app)) as client, client.get("/metrics") as answer:
        assert 'kind="asyncpg",pool="orders"' in await answer.text()


def test_celery(engine: sqlalchemy.Engine) -> None:
    app = executed("Celery", engine=engine, Celery=Celery)["app"]
    assert isinstance(app, Celery)


def test_no_code_at_all(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (command,) = code("no code at all")
    ended = subprocess.run(
        [Path(sys.executable).parent / "poolscope", *command.split()[1:]],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"shop\.db +sqlalchemy", ended.stderr)


def test_many_workers(tmp_path: Path, launch: Callable[..., Launched]) -> None:
    (tmp_path / "app.py").write_text(APP)
    (command,) = code("many workers")
    poolscope_, run, *words = command.replace("10464", "0").split()
    assert ("poolscope", "run") == (poolscope_, run)
    # Ports that others have must not matter here.
    gunicorn = words.index("gunicorn") + 1
    words[gunicorn:gunicorn] = ["--no-control-socket", "--bind", "127.0.0.1:{port}"]
    command_ = launch(*words, cwd=tmp_path, stderr=subprocess.DEVNULL)
    assert 4 == len(command_.answering(4))

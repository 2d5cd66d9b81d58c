"""The examples run, and show what they promise."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from poolscope.readings.findings import RULES

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


SERVICE: Final = """\
import asyncio, runpy, sys
import httpx, poolscope

async def main():
    example = runpy.run_path(sys.argv[1])
    app = example["app"]
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        print((await client.get("/orders/1")).json())
        print((await client.get("/metrics")).text)
        print(poolscope.watch(example["engine"]).findings())

asyncio.run(main())
"""
"""Uses the example, in a process in which no other test has had a pool."""


def test_the_fastapi_service_serves_its_metrics(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVICE, str(EXAMPLES / "fastapi_service.py")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (0, "") == (result.returncode, result.stderr)
    order, *metrics, findings = result.stdout.splitlines()
    assert ("None", "[]") == (order, findings)
    assert 'connpool_acquires_total{kind="sqlalchemy",outcome="ok",pool="orders"} 2.0' in metrics


async def test_the_worker_prints_its_metrics_and_a_summary() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    command = [sys.executable, "-W", "error", str(EXAMPLES / "worker.py"), url]
    result = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, env=os.environ
    )
    await runner.cleanup()
    metrics, summary = result.stdout.splitlines()
    assert ("", 0) == (result.stderr, result.returncode)
    assert metrics.startswith("metrics: http://127.0.0.1:")
    assert (
        "10 acquired, 6 of them waited, 6 reused, 4 opened, at most 4 of 4 in use, 0 findings"
        == summary
    )


def test_the_leaky_service_gets_a_finding_for_each_of_its_mistakes(
    postgres: EmbeddedPostgres,
) -> None:
    example = EXAMPLES / "leaky_service.py"
    marks = {
        (line.partition("# MISTAKE: ")[2], f"leaky_service.py:{number}")
        for number, line in enumerate(example.read_text().splitlines(), 1)
        if "# MISTAKE: " in line
    }
    # The others depend on the machine that it runs on, on the server, and on a fork.
    assert {"not-shared", "overcommitted", "shared-across-fork"} == set(RULES).difference(
        name for name, _ in marks
    )

    command = [sys.executable, "-W", "error", str(example), postgres.dsn]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == result.returncode, result.stderr
    findings = [line.partition(": ")[::2] for line in result.stdout.splitlines()]
    assert marks == {(name, rest.split("; ")[-1].partition(" in ")[0]) for name, rest in findings}
    for name, rest in findings:
        if name in RULES:
            assert rest.startswith(f"{RULES[name].severity} {name}: ")
    assert "acquired at leaky_service.py:" in result.stderr

"""aiohttp: requests on one keep-alive connection to a server in another process."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
from aiohttp import web

from benchmarks import open_telemetry
from benchmarks.harness import (
    Timings,
    Variant,
    async_cycles,
    interleave_async,
    run_measurement,
    with_loop,
)
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches


async def serve(ready: Connection) -> None:
    """Serve until the process is killed; send the port once it listens."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ready.send(runner.addresses[0][1])
    await asyncio.Event().wait()


def run_server(ready: Connection) -> None:
    asyncio.run(serve(ready))


@contextmanager
def server() -> Iterator[str]:
    """Run a server in another process; yield its URL."""
    spawn = multiprocessing.get_context("spawn")
    port, ready = spawn.Pipe(duplex=False)
    process = spawn.Process(target=run_server, args=(ready,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.recv()}/"
    finally:
        process.kill()
        process.join()


def get(session: aiohttp.ClientSession, url: str) -> Any:
    async def cycle() -> None:
        async with session.get(url) as response:
            await response.read()

    return async_cycles(cycle)


async def measure_requests(url: str, seconds: float) -> Timings:
    configs: dict[str, list[aiohttp.TraceConfig]] = {
        "bare": [],
        "empty TraceConfig": [aiohttp.TraceConfig()],
        "poolscope": [],
        "no-sites": [],
    }
    if open_telemetry.available():
        configs["opentelemetry"] = [open_telemetry.aiohttp_trace_config()]
    sessions = {
        name: aiohttp.ClientSession(trace_configs=config) for name, config in configs.items()
    }
    watches = Watches(folder=Folder(None))
    watches.watch(sessions["poolscope"], "poolscope", registry=None)
    watches.watch(sessions["no-sites"], "no-sites", registry=None, call_sites=False)
    variants = [Variant(name, get(session, url)) for name, session in sessions.items()]
    timings = await interleave_async(variants, seconds)
    for session in sessions.values():
        await session.close()
    return timings


def measure(loop: str, seconds: float) -> Timings:
    """Return the timings of a request; `loop` is `asyncio` or `uvloop`."""
    with server() as url:
        timings: Timings = with_loop(loop, lambda: measure_requests(url, seconds))
        return timings


if __name__ == "__main__":
    run_measurement(measure)

"""
What many scrapers at once cost a FastAPI application that has 1,000 watched pools.

    python -m benchmarks.scrapers [--pools 1000] [--seconds 5] [--server asgi|thread] [SCRAPERS ...]

The application runs under uvicorn in a process of its own, and serves its metrics by its ASGI app
(`asgi`), or by `start_http_server` (`thread`). Each scraper, in another process, begins anew as
soon as it has its answer, compressed. Meanwhile one client asks the application, time and again,
for something that needs no pool. For each number of scrapers (default: 0 1 20 100) there is a line:
median and 99th percentile of these requests in milliseconds, the most threads and megabytes that
the application had, and how many scrapes were answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

import aiohttp
import psutil
import uvicorn
from fastapi import FastAPI

import poolscope
from benchmarks.scrape import Pools

SPAWN: Final = multiprocessing.get_context("spawn")


class Measured(NamedTuple):
    """What a number of scrapers has cost; times in seconds, memory in bytes."""

    scrapers: int
    median: float
    percentile_99: float
    threads: int
    memory: int
    scrapes: int


def serve(pools: int, server: str, addresses: Connection) -> None:
    """Run the application until the parent closes its end; send its URL and that of the metrics."""
    watched = Pools(pools)
    app = FastAPI()

    @app.get("/ping")
    async def ping() -> str:
        return "pong"

    app.add_route("/metrics", poolscope.make_asgi_app(watched.registry))
    config = uvicorn.Config(app, port=0, log_level="error", backlog=1024)
    running = uvicorn.Server(config)
    listening = config.bind_socket()
    url = metrics = f"http://127.0.0.1:{listening.getsockname()[1]}"
    if server == "thread":
        own, _ = poolscope.start_http_server(0, registry=watched.registry)
        metrics = f"http://127.0.0.1:{own.server_port}"
    addresses.send((url, metrics))
    threading.Thread(target=_wait_for_the_end, args=(addresses, running), daemon=True).start()
    running.run([listening])


def _wait_for_the_end(addresses: Connection, running: uvicorn.Server) -> None:
    with contextlib.suppress(EOFError):
        addresses.recv()
    running.should_exit = True


def scrape(url: str, scrapers: int, control: Connection) -> None:
    """Scrape until the parent says something; then send how many scrapes were answered."""
    control.send("ready")
    control.send(asyncio.run(_scrape(url, scrapers, control)))


async def _scrape(url: str, scrapers: int, control: Connection) -> int:
    answered = 0

    async def scrape_repeatedly(session: aiohttp.ClientSession) -> None:
        nonlocal answered
        while True:
            async with session.get(f"{url}/metrics") as response:
                await response.read()
                answered += response.status == 200

    async with aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=600.0),
    ) as session:
        tasks = [asyncio.create_task(scrape_repeatedly(session)) for _ in range(scrapers)]
        await asyncio.to_thread(control.recv)
        for task in tasks:
            task.cancel()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
    for error in errors:
        if not isinstance(error, asyncio.CancelledError):
            sys.stderr.write(f"a scraper has ended: {error!r}\n")
    return answered


async def _ask(url: str, seconds: float, look: Callable[[], None]) -> list[float]:
    """Return how long each request to the application took; look at it after each."""
    durations: list[float] = []
    async with aiohttp.ClientSession() as session:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or not durations:
            started = time.perf_counter()
            async with session.get(f"{url}/ping") as response:
                await response.read()
            durations.append(time.perf_counter() - started)
            look()
            await asyncio.sleep(0.005)
    return durations


def measure_scrapers(url: str, metrics: str, pid: int, scrapers: int, seconds: float) -> Measured:
    """Return what so many scrapers cost the application with this process id."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=scrape, args=(metrics, scrapers, theirs), daemon=True)
    process.start()
    ours.recv()
    application, threads, memory = psutil.Process(pid), [0], [0]

    def look() -> None:
        threads.append(application.num_threads())
        memory.append(application.memory_info().rss)

    durations = asyncio.run(_ask(url, seconds, look))
    ours.send("end")
    scrapes = ours.recv()
    process.join()
    high = statistics.quantiles([*durations, durations[-1]], n=100, method="inclusive")[98]
    return Measured(
        scrapers, statistics.median(durations), high, max(threads), max(memory), scrapes
    )


def measure(pools: int, numbers: list[int], seconds: float, server: str) -> list[Measured]:
    """Return what each number of scrapers costs."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(pools, server, theirs), daemon=True)
    process.start()
    try:
        url, metrics = ours.recv()
        pid: Any = process.pid
        return [measure_scrapers(url, metrics, pid, number, seconds) for number in numbers]
    finally:
        ours.send("end")
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pools", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--server", choices=("asgi", "thread"), default="asgi")
    parser.add_argument("scrapers", type=int, nargs="*", default=[0, 1, 20, 100])
    options = parser.parse_args()
    for each in measure(options.pools, options.scrapers, options.seconds, options.server):
        sys.stdout.write(
            f"{each.scrapers:4} scrapers: p50 {each.median * 1e3:7.1f} ms, "
            f"p99 {each.percentile_99 * 1e3:7.1f} ms, {each.threads:3} threads, "
            f"{each.memory / 2**20:6.0f} MiB, {each.scrapes:4} scrapes answered\n"
        )


if __name__ == "__main__":
    main()

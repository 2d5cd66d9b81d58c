"""
`watch()` of a pool that is in use: how long it takes, with other objects in memory.

Each kind of pool has a connection in use and an idle one when it is watched.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import aiohttp
import asyncpg

from benchmarks.aiohttp_cycle import server
from benchmarks.harness import run_measurement, with_loop
from benchmarks.sqlalchemy_cycle import engine
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches


def measure_watches(pool: Any, number: int) -> list[float]:
    """Watch and unwatch a pool several times; return the milliseconds of each watch."""
    watches = Watches(folder=Folder(None))
    times = []
    for _ in range(number + 1):
        started = time.perf_counter_ns()
        watch = watches.watch(pool, "orders", registry=None)
        times.append((time.perf_counter_ns() - started) / 1e6)
        watch.unwatch()
    return times[1:]  # the first one imports the adapter


async def of_sqlalchemy(number: int, _: str, how: str = "one") -> list[float]:
    pool = engine(how).pool
    connections = [pool.connect() for _ in range(2)]
    connections.pop().close()
    times = measure_watches(pool, number)
    connections.pop().close()
    pool.dispose()
    return times


async def of_asyncpg(number: int, dsn: str) -> list[float]:
    async with asyncpg.create_pool(dsn, min_size=2, max_size=2) as pool, pool.acquire():
        return measure_watches(pool, number)


async def of_aiohttp(number: int, _: str) -> list[float]:
    with server() as url:
        async with aiohttp.ClientSession() as session, session.get(url):
            async with session.get(url) as response:
                await response.read()
            return measure_watches(session, number)


KINDS: Final[dict[str, Callable[[int, str], Awaitable[list[float]]]]] = {
    "sqlalchemy": of_sqlalchemy,
    "sqlalchemy-async": partial(of_sqlalchemy, how="async"),
    "asyncpg": of_asyncpg,
    "aiohttp": of_aiohttp,
}


def measure(kind: str, number: int, others: int, dsn: str) -> list[float]:
    """Return the milliseconds of each of `number` watches, with `others` objects in memory."""
    kept: list[list[Any]] = [[] for _ in range(others)]
    times: list[float] = with_loop("asyncio", lambda: KINDS[kind](number, dsn))
    del kept
    return times


if __name__ == "__main__":
    run_measurement(measure)

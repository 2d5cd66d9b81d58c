"""
A pool of 5 with 200 callers, each of which holds a connection for a millisecond, again and again.

The callers are threads of a QueuePool, or tasks of an asyncpg pool. In a round, all callers hold
several connections. The results of a round, with and without a watch, are the throughput and the
99th percentile of the time that an acquire takes. Both are wall time.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from functools import partial
from typing import Any, Final

import asyncpg
from sqlalchemy.pool import QueuePool

from benchmarks.harness import run_measurement, with_loop
from benchmarks.sqlalchemy_cycle import pool_of
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches

SIZE: Final = 5
CALLERS: Final = 200
HOLDS_PER_CALLER: Final = 10
HOLD_SECONDS: Final = 0.001

Rounds = dict[str, dict[str, list[float]]]
"""By `throughput` (holds per second) and `p99` (seconds), then by variant: a value per round."""


def empty_rounds() -> Rounds:
    return {measure: {"bare": [], "poolscope": []} for measure in ("throughput", "p99")}


def add_round(rounds: Rounds, name: str, seconds: float, waits: list[float]) -> None:
    rounds["throughput"][name].append(len(waits) / seconds)
    rounds["p99"][name].append(statistics.quantiles(waits, n=100)[-1])


def order_of(number: int) -> tuple[str, str]:
    """Return the variants in the order of a round: each is first in every second round."""
    return ("bare", "poolscope") if number % 2 else ("poolscope", "bare")


def round_of_threads(pool: QueuePool) -> tuple[float, list[float]]:
    """Return how long the round took, and how long each acquire took, in seconds."""
    waits: list[float] = []
    start = threading.Barrier(CALLERS + 1)

    def call() -> None:
        start.wait()
        for _ in range(HOLDS_PER_CALLER):
            asked = time.perf_counter()
            connection = pool.connect()
            waits.append(time.perf_counter() - asked)
            time.sleep(HOLD_SECONDS)
            connection.close()

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    start.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started, waits


def measure_threads(seconds: float) -> Rounds:
    pools = {name: pool_of(SIZE, timeout=60.0) for name in ("bare", "poolscope")}
    Watches(folder=Folder(None)).watch(pools["poolscope"], registry=None)
    rounds, number = empty_rounds(), 0
    until = time.perf_counter() + seconds
    while number < 2 or time.perf_counter() < until:
        for name in order_of(number):
            add_round(rounds, name, *round_of_threads(pools[name]))
        number += 1
    return rounds


async def round_of_tasks(pool: Any) -> tuple[float, list[float]]:
    """Return how long the round took, and how long each acquire took, in seconds."""
    waits: list[float] = []

    async def call() -> None:
        for _ in range(HOLDS_PER_CALLER):
            asked = time.perf_counter()
            async with pool.acquire(timeout=60.0):
                waits.append(time.perf_counter() - asked)
                await asyncio.sleep(HOLD_SECONDS)

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return time.perf_counter() - started, waits


async def measure_tasks(dsn: str, seconds: float) -> Rounds:
    watches = Watches(folder=Folder(None))
    rounds, number = empty_rounds(), 0
    until = time.perf_counter() + seconds
    while number < 2 or time.perf_counter() < until:
        for name in order_of(number):
            # Each round has a new pool: a server process stays on its CPU, which may be busy.
            async with asyncpg.create_pool(dsn, min_size=SIZE, max_size=SIZE) as pool:
                if name == "poolscope":
                    watches.watch(pool, registry=None)
                add_round(rounds, name, *await round_of_tasks(pool))
        number += 1
    return rounds


def measure(kind: str, seconds: float, dsn: str = "") -> Rounds:
    """Return the results of all rounds; `kind` is `threads` or `tasks`."""
    if kind == "threads":
        return measure_threads(seconds)
    rounds: Rounds = with_loop("uvloop", partial(measure_tasks, dsn, seconds))
    return rounds


if __name__ == "__main__":
    run_measurement(measure)

"""
A pool of 5 with 200 callers, each of whom has a connection for a millisecond, again and again.

Threads at a QueuePool, and tasks at a pool of asyncpg. A round is many connections had by all, with
and without a watch; of each round the throughput, and the 99th percentile of the time from asking
to having one.
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

from benchmarks.harness import with_loop, work
from benchmarks.sqlalchemy_cycle import pool_of
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches

SIZE: Final = 5
CALLERS: Final = 200
EACH: Final = 10
HOLD_SECONDS: Final = 0.001

Rounds = dict[str, dict[str, list[float]]]
"""By `throughput` (a second) and `p99` (seconds), by variant: those of each round."""


def empty_rounds() -> Rounds:
    return {what: {"bare": [], "poolscope": []} for what in ("throughput", "p99")}


def note(rounds: Rounds, name: str, seconds: float, waits: list[float]) -> None:
    rounds["throughput"][name].append(len(waits) / seconds)
    rounds["p99"][name].append(statistics.quantiles(waits, n=100)[-1])


def in_turn(number: int) -> tuple[str, str]:
    return ("bare", "poolscope") if number % 2 else ("poolscope", "bare")


def round_of_threads(pool: QueuePool) -> tuple[float, list[float]]:
    """Return the seconds that it took, and each wait's."""
    waits: list[float] = []
    begin = threading.Barrier(CALLERS + 1)

    def call() -> None:
        begin.wait()
        for _ in range(EACH):
            asked = time.perf_counter()
            connection = pool.connect()
            waits.append(time.perf_counter() - asked)
            time.sleep(HOLD_SECONDS)
            connection.close()

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    begin.wait()
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
        for name in in_turn(number):
            note(rounds, name, *round_of_threads(pools[name]))
        number += 1
    return rounds


async def round_of_tasks(pool: Any) -> tuple[float, list[float]]:
    """Return the seconds that it took, and each wait's."""
    waits: list[float] = []

    async def call() -> None:
        for _ in range(EACH):
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
        for name in in_turn(number):
            # A new one each time, as its server processes stay on one CPU, which may be busy.
            async with asyncpg.create_pool(dsn, min_size=SIZE, max_size=SIZE) as pool:
                if name == "poolscope":
                    watches.watch(pool, registry=None)
                note(rounds, name, *await round_of_tasks(pool))
        number += 1
    return rounds


def measure(kind: str, seconds: float, dsn: str = "") -> Rounds:
    """`kind` is `threads` or `tasks`."""
    if kind == "threads":
        return measure_threads(seconds)
    rounds: Rounds = with_loop("uvloop", partial(measure_tasks, dsn, seconds))
    return rounds


if __name__ == "__main__":
    work(measure)

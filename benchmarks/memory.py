"""
The memory of a watched pool and of an open hold, and poolscope's share of it.

It is measured by tracemalloc, as what Python has allocated, and by the kernel, as the private
memory of the process, with more pools. There is no folder, so the numbers are in private memory.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sqlalchemy.pool import QueuePool

from benchmarks.harness import run_measurement
from benchmarks.sqlalchemy_cycle import pool_of
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches

POOL_SIZE: Final = 20


def make_pools(number: int, size: int = POOL_SIZE) -> list[QueuePool]:
    """Return pools without connections, with all that SQLAlchemy allocates at their first use."""
    pools = [pool_of(size) for _ in range(number)]
    for pool in pools:
        pool.connect().close()
        pool.dispose()
    return pools


def allocated(make: Callable[[], Any]) -> tuple[int, Any]:
    """Return the bytes that a call has allocated and not freed, and its result."""
    gc.collect()
    tracemalloc.start()
    result = make()
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size, result


def private_bytes() -> int:
    """Return the bytes of memory that this process shares with no other, by the kernel."""
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


def watch_all(pools: list[QueuePool]) -> Watches:
    watches = Watches(folder=Folder(None))
    for number, pool in enumerate(pools):
        watches.watch(pool, f"pool-{number}", registry=None)
    return watches


def measure_pools(number: int) -> dict[str, float]:
    """Return the bytes of a SQLAlchemy pool, and the bytes that a watch adds to it."""
    watch_all(make_pools(3))  # allocates what is needed only once
    pool, pools = allocated(lambda: make_pools(number))
    watched, watches = allocated(lambda: watch_all(pools))
    del watches
    return {"bare": pool / number, "poolscope": watched / number}


def measure_pools_privately(number: int) -> dict[str, float]:
    """Return the same, as the kernel counts it."""
    keep: list[Any] = [watch_all(make_pools(3))]
    before = private_bytes()
    keep.append(make_pools(number))
    between = private_bytes()
    keep.append(watch_all(keep[-1]))
    after = private_bytes()
    return {"bare": (between - before) / number, "poolscope": (after - between) / number}


def measure_holds(number: int, watched: bool) -> dict[str, float]:
    """
    Return the bytes of an open hold, when a separate task holds each connection.

    All connections were used before, so the pool and its watch know them already.
    """
    (pool,) = make_pools(1, number)
    watches = watch_all([pool]) if watched else None
    for connection in [pool.connect() for _ in range(number)]:
        connection.close()

    async def main() -> float:
        held: list[Any] = [None] * number
        begin, end = asyncio.Event(), asyncio.Event()
        acquired = asyncio.Semaphore(0)

        async def task(index: int) -> None:
            await begin.wait()
            held[index] = pool.connect()
            acquired.release()
            await end.wait()

        tasks = [asyncio.create_task(task(index)) for index in range(number)]
        await asyncio.sleep(0.01)
        gc.collect()
        tracemalloc.start()
        begin.set()
        for _ in tasks:
            await acquired.acquire()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        end.set()
        await asyncio.gather(*tasks)
        return size / number

    bytes_per_hold = asyncio.run(main())
    del watches
    return {"bytes": bytes_per_hold}


MEASURES: Final[dict[str, Callable[..., dict[str, float]]]] = {
    "pools": measure_pools,
    "private": measure_pools_privately,
    "holds": measure_holds,
}


def measure(what: str, **options: Any) -> dict[str, float]:
    return MEASURES[what](**options)


if __name__ == "__main__":
    run_measurement(measure)

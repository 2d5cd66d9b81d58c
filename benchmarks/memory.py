"""
Memory of a pool that is watched, and of a connection that is out: of which poolscope's is a part.

What Python has allocated by then, by tracemalloc; and the process's private memory, for which
there are more pools. All of private memory: no folder.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sqlalchemy.pool import QueuePool

from benchmarks.harness import work
from benchmarks.sqlalchemy_cycle import pool_of
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches

POOL_SIZE: Final = 20


def pools_of(number: int, size: int = POOL_SIZE) -> list[QueuePool]:
    """Return pools without connections, and with all that SQLAlchemy adds at their first use."""
    pools = [pool_of(size) for _ in range(number)]
    for pool in pools:
        pool.connect().close()
        pool.dispose()
    return pools


def allocated(make: Callable[[], Any]) -> tuple[int, Any]:
    """Return the bytes that are still allocated after a call, and what it has returned."""
    gc.collect()
    tracemalloc.start()
    made = make()
    gc.collect()
    now, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return now, made


def private_bytes() -> int:
    """Return what the kernel says that this process has for itself."""
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


def watch_all(pools: list[QueuePool]) -> Watches:
    watches = Watches(folder=Folder(None))
    for number, pool in enumerate(pools):
        watches.watch(pool, f"pool-{number}", registry=None)
    return watches


def of_pools(number: int) -> dict[str, float]:
    """Return the bytes of a pool of SQLAlchemy, and what is added by watching it."""
    watch_all(pools_of(3))  # what comes once, with the first
    pool, pools = allocated(lambda: pools_of(number))
    watched, watches = allocated(lambda: watch_all(pools))
    del watches
    return {"bare": pool / number, "poolscope": watched / number}


def of_pools_private(number: int) -> dict[str, float]:
    """Return the same, as the kernel sees it."""
    keep: list[Any] = [watch_all(pools_of(3))]
    before = private_bytes()
    keep.append(pools_of(number))
    between = private_bytes()
    keep.append(watch_all(keep[-1]))
    after = private_bytes()
    return {"bare": (between - before) / number, "poolscope": (after - between) / number}


def of_holds(number: int, watched: bool) -> dict[str, float]:
    """
    Return the bytes of a connection that is out, each with a task of its own.

    All have been out before, so that the pool and what watches it know the connections.
    """
    (pool,) = pools_of(1, number)
    watches = watch_all([pool]) if watched else None
    for connection in [pool.connect() for _ in range(number)]:
        connection.close()

    async def main() -> float:
        held: list[Any] = [None] * number
        begin, end = asyncio.Event(), asyncio.Event()
        having = asyncio.Semaphore(0)

        async def task(index: int) -> None:
            await begin.wait()
            held[index] = pool.connect()
            having.release()
            await end.wait()

        tasks = [asyncio.create_task(task(index)) for index in range(number)]
        await asyncio.sleep(0.01)
        gc.collect()
        tracemalloc.start()
        begin.set()
        for _ in tasks:
            await having.acquire()
        gc.collect()
        now, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        end.set()
        await asyncio.gather(*tasks)
        return now / number

    bytes_each = asyncio.run(main())
    del watches
    return {"bytes": bytes_each}


MEASURES: Final[dict[str, Callable[..., dict[str, float]]]] = {
    "pools": of_pools,
    "private": of_pools_private,
    "holds": of_holds,
}


def measure(what: str, **options: Any) -> dict[str, float]:
    return MEASURES[what](**options)


if __name__ == "__main__":
    work(measure)

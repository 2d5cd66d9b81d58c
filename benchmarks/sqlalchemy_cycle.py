"""
SQLAlchemy: a connection is checked out and in again, with a DBAPI connection that does nothing.

Of one caller, of 8 threads, or of an async engine.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from benchmarks import open_telemetry
from benchmarks.harness import (
    Timings,
    Variant,
    async_cycles,
    cycles,
    interleave,
    interleave_async,
    nothing,
    work,
)
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches

THREADS: Final = 8

Run = Callable[[int], Awaitable[None] | None]


class Connection:
    """What a driver returns, as far as a pool has to do with it."""

    def rollback(self) -> None: ...
    def commit(self) -> None: ...
    def close(self) -> None: ...
    def terminate(self) -> None: ...


def engine(how: str = "one") -> sqlalchemy.Engine:
    is_async = how == "async"
    made: sqlalchemy.Engine = sqlalchemy.create_engine(
        "postgresql+asyncpg://" if is_async else "sqlite://",
        creator=Connection,
        poolclass=AsyncAdaptedQueuePool if is_async else QueuePool,
        pool_size=THREADS,
        # It would ask the connection what server it is.
        _initialize=False,
    )
    return made


def pool_of(size: int, **options: Any) -> QueuePool:
    """Return a pool without overflow whose connections do nothing."""
    make: Any = Connection
    return QueuePool(make, pool_size=size, max_overflow=0, **options)


def listen(engine: sqlalchemy.Engine) -> None:
    """Put the two listeners in that any tool needs which goes by events, and which do nothing."""

    def checkout(connection: object, record: object, proxy: object) -> None: ...

    def checkin(connection: object, record: object) -> None: ...

    event.listen(engine, "checkout", checkout)
    event.listen(engine, "checkin", checkin)


def count(engine: sqlalchemy.Engine) -> None:
    """Keep four metrics, as most people would write it."""
    registry = CollectorRegistry()
    gauge = partial(Gauge, labelnames=["pool"], registry=registry)
    in_use, idle = gauge("pool_in_use", "In use"), gauge("pool_idle", "Idle")
    checkouts = Counter("pool_checkouts", "Checkouts", ["pool"], registry=registry)
    held = Histogram("pool_held_seconds", "Held", ["pool"], registry=registry)

    @event.listens_for(engine, "checkout")
    def checkout(connection: object, record: Any, proxy: object) -> None:
        record.info["checked_out"] = time.perf_counter()
        in_use.labels(pool="orders").inc()
        idle.labels(pool="orders").dec()
        checkouts.labels(pool="orders").inc()

    @event.listens_for(engine, "checkin")
    def checkin(connection: object, record: Any) -> None:
        in_use.labels(pool="orders").dec()
        idle.labels(pool="orders").inc()
        began = record.info.pop("checked_out", None)
        if began is not None:
            held.labels(pool="orders").observe(time.perf_counter() - began)


def of_one(engine: sqlalchemy.Engine) -> Run:
    pool = engine.pool
    return cycles(lambda: pool.connect().close())


def of_threads(threads: ThreadPoolExecutor, engine: sqlalchemy.Engine) -> Run:
    one = of_one(engine)

    def run(number: int) -> None:
        for done in [threads.submit(one, number // THREADS) for _ in range(THREADS)]:
            done.result()

    return run


def of_async(engine: sqlalchemy.Engine) -> Run:
    asynchronous = AsyncEngine(engine)

    async def cycle() -> None:
        async with asynchronous.connect():
            pass

    return async_cycles(cycle)


def variants(how: str, folder: Path, run: Callable[[sqlalchemy.Engine], Run]) -> list[Variant]:
    made = {
        name: engine(how)
        for name in ("bare", "listeners", "poolscope", "no-sites", "mapped", "prometheus")
    }
    listen(made["listeners"])
    count(made["prometheus"])
    private, shared = Watches(folder=Folder(None)), Watches(folder=Folder(folder))
    private.watch(made["poolscope"], "poolscope", registry=None)
    private.watch(made["no-sites"], "no-sites", registry=None, call_sites=False)
    shared.watch(made["mapped"], "mapped", registry=None)
    found = [Variant(name, run(engine)) for name, engine in made.items()]
    if open_telemetry.available():
        instrumented = engine(how)
        around = open_telemetry.instrument_engine(instrumented)
        # Only what goes through `Engine.connect` has to do with what is wrapped around it.
        begin, end = around if how == "async" else (nothing, nothing)
        found.append(Variant("opentelemetry", run(instrumented), begin, end))
    return found


def measure(how: str, seconds: float) -> Timings:
    """`how` is `one`, `threads` or `async`."""
    with tempfile.TemporaryDirectory() as parent, ThreadPoolExecutor(THREADS) as threads:
        runs: dict[str, Callable[[sqlalchemy.Engine], Run]] = {
            "one": of_one,
            "threads": partial(of_threads, threads),
            "async": of_async,
        }
        made = variants(how, Path(parent) / "pools", runs[how])
        if how == "async":
            return asyncio.run(interleave_async(made, seconds))
        return interleave(made, seconds, 25 * THREADS if how == "threads" else 20)


if __name__ == "__main__":
    work(measure)

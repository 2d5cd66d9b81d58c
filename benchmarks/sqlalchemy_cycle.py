"""
SQLAlchemy: a checkout and checkin, with a DBAPI connection that does nothing.

There is one caller, or 8 threads, or a task that uses an async engine.
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

import poolscope
from benchmarks import open_telemetry
from benchmarks.harness import (
    Timings,
    Variant,
    async_cycles,
    cycles,
    interleave,
    interleave_async,
    nothing,
    run_measurement,
)
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches

THREADS: Final = 8

Run = Callable[[int], Awaitable[None] | None]


class Connection:
    """A DBAPI connection, with the methods that a pool calls."""

    def rollback(self) -> None: ...
    def commit(self) -> None: ...
    def close(self) -> None: ...
    def terminate(self) -> None: ...


def engine(how: str = "one", size: int = THREADS) -> sqlalchemy.Engine:
    is_async = how == "async"
    engine: sqlalchemy.Engine = sqlalchemy.create_engine(
        "postgresql+asyncpg://" if is_async else "sqlite://",
        creator=Connection,
        poolclass=AsyncAdaptedQueuePool if is_async else QueuePool,
        pool_size=size,
        max_overflow=0 if size == 1 else 10,
        # SQLAlchemy would ask the connection for the version of its server.
        _initialize=False,
    )
    return engine


def pool_of(size: int, **options: Any) -> QueuePool:
    """Return a pool without overflow whose connections do nothing."""
    make: Any = Connection
    return QueuePool(make, pool_size=size, max_overflow=0, **options)


def listen(engine: sqlalchemy.Engine) -> None:
    """Register two empty listeners: every tool that uses events needs at least these."""

    def checkout(connection: object, record: object, proxy: object) -> None: ...

    def checkin(connection: object, record: object) -> None: ...

    event.listen(engine, "checkout", checkout)
    event.listen(engine, "checkin", checkin)


def count(engine: sqlalchemy.Engine) -> None:
    """Update four metrics of prometheus_client, as most people would write it."""
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
        started = record.info.pop("checked_out", None)
        if started is not None:
            held.labels(pool="orders").observe(time.perf_counter() - started)


def run_in_one_thread(engine: sqlalchemy.Engine) -> Run:
    pool = engine.pool
    return cycles(lambda: pool.connect().close())


def run_in_threads(threads: ThreadPoolExecutor, engine: sqlalchemy.Engine) -> Run:
    run_once = run_in_one_thread(engine)

    def run(number: int) -> None:
        for done in [threads.submit(run_once, number // THREADS) for _ in range(THREADS)]:
            done.result()

    return run


def run_in_a_task(engine: sqlalchemy.Engine) -> Run:
    asynchronous = AsyncEngine(engine)

    async def cycle() -> None:
        async with asynchronous.connect():
            pass

    return async_cycles(cycle)


def in_an_operation() -> tuple[Callable[[], None], Callable[[], None]]:
    """Return what begins and ends an operation around a round."""
    operation = poolscope.operation("GET /orders/{id}")
    return operation.__enter__, partial(operation.__exit__, None, None, None)


def make_variants(how: str, folder: Path, run: Callable[[sqlalchemy.Engine], Run]) -> list[Variant]:
    engines = {
        name: engine(how)
        for name in ("bare", "listeners", "poolscope", "no-sites", "mapped", "prometheus")
    }
    if how != "threads":
        # Each use makes the pool full, and no longer full.
        engines["at-limit"] = engine(how, size=1)
        # Threads that have started before an operation are not in it.
        engines["operation"] = engine(how)
    listen(engines["listeners"])
    count(engines["prometheus"])
    private, shared = Watches(folder=Folder(None)), Watches(folder=Folder(folder))
    private.watch(engines["poolscope"], "poolscope", registry=None)
    private.watch(engines["no-sites"], "no-sites", registry=None, call_sites=False)
    shared.watch(engines["mapped"], "mapped", registry=None)
    for name in ("at-limit", "operation"):
        if name in engines:
            private.watch(engines[name], name, registry=None)
    variants = [
        Variant(name, run(engine), *(in_an_operation() if name == "operation" else ()))
        for name, engine in engines.items()
    ]
    if open_telemetry.available():
        instrumented = engine(how)
        wrapper = open_telemetry.instrument_engine(instrumented)
        # The other cycles call the pool, and not `Engine.connect`, which is wrapped.
        begin, end = wrapper if how == "async" else (nothing, nothing)
        variants.append(Variant("opentelemetry", run(instrumented), begin, end))
    return variants


def measure(how: str, seconds: float) -> Timings:
    """Return the timings of a cycle; `how` is `one`, `threads` or `async`."""
    with tempfile.TemporaryDirectory() as parent, ThreadPoolExecutor(THREADS) as threads:
        runs: dict[str, Callable[[sqlalchemy.Engine], Run]] = {
            "one": run_in_one_thread,
            "threads": partial(run_in_threads, threads),
            "async": run_in_a_task,
        }
        variants = make_variants(how, Path(parent) / "pools", runs[how])
        if how == "async":
            return asyncio.run(interleave_async(variants, seconds))
        return interleave(variants, seconds, 25 * THREADS if how == "threads" else 20)


if __name__ == "__main__":
    run_measurement(measure)

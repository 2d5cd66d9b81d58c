"""SQLAlchemy's classes of pools: their names, limits, configuration and connections."""

from __future__ import annotations

import math
import operator
import sys
import weakref
from asyncio import _get_running_loop
from collections.abc import Collection
from pathlib import PurePath
from typing import Any, Final

from sqlalchemy.engine import Engine
from sqlalchemy.pool import (
    AssertionPool,
    NullPool,
    Pool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
    base,
)
from sqlalchemy.util import queue as sqla_queue

from poolscope.readings.limits import Limits
from poolscope.readings.pool_config import PoolConfig
from poolscope.watching.pool_log import CLOSED_NOW, STAY_OPEN, Fate


def engine_of(target: object) -> Engine | None:
    asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
    if asyncio is not None and isinstance(target, asyncio.AsyncEngine):
        target = target.sync_engine
    return target if isinstance(target, Engine) else None


def pool_of(target: Any) -> Pool:
    engine = engine_of(target)
    return engine.pool if engine is not None else target


def default_name(target: object) -> str:
    """
    Return the logging name of the pool or the engine, if it has one.

    Else `DATABASE@HOST:PORT` of an engine, and the class of a bare pool.
    """
    engine = engine_of(target)
    for named in (pool_of(target), engine):
        name = getattr(named, "logging_name", None)
        if name:
            return str(name)
    if engine is None:
        return type(target).__name__
    url = engine.url
    database = PurePath(url.database or "").name or url.get_backend_name()
    port = f":{url.port}" if url.port else ""
    return f"{database}@{url.host}{port}" if url.host else database


driver_loop: Final = operator.attrgetter("dbapi_connection.driver_connection._loop")
"""
The event loop to which the driver's connection of a record belongs, which asyncpg names so. The
connections of psycopg belong to none, and work in any loop.
"""


def is_of_other_loop(record: Any) -> bool:
    """Whether the record's connection belongs to another event loop than the running one."""
    return driver_loop(record) is not _get_running_loop()


def is_bound_to_a_loop(record: Any) -> bool:
    """Whether the record's connection can be used in one event loop only."""
    try:
        return driver_loop(record) is not None
    except AttributeError:
        return False


def limits_of(pool: Pool) -> Limits:
    if isinstance(pool, QueuePool):
        size = pool.size() or math.inf
        unlimited = pool._max_overflow < 0
        return Limits(math.inf if unlimited else size + pool._max_overflow, size, 0)
    if isinstance(pool, NullPool):
        return Limits(math.inf, 0, 0)
    if isinstance(pool, SingletonThreadPool):
        # One connection for each thread. Those beyond its size are closed at some later time.
        return Limits(math.inf, pool.size, 0)
    if isinstance(pool, StaticPool):
        # One connection, which any number of callers hold at the same time.
        return Limits(math.inf, 1, 0)
    if isinstance(pool, AssertionPool):
        return Limits(1, 1, 0)
    return Limits(math.inf, math.inf, 0)


def driver_connection(pool: Pool, connection: Any) -> Any:
    """Return the driver's own connection; None if an application's wrapper does not tell."""
    try:
        return pool._dialect.get_driver_connection(connection)
    except AttributeError:
        return None


# Checked with SQLAlchemy 2.0.0, 2.0.58 and 2.1.9:
#   QueuePool._pool, ._overflow; Queue._qsize(), which qsize() calls with the queue's lock
def checked_out(pool: QueuePool) -> int:
    """Return how many connections the pool counts as out: `checkedout()`, but it never waits."""
    queue: Any = pool._pool
    free = queue._qsize() if isinstance(queue, sqla_queue.Queue) else queue.qsize()
    out: int = queue.maxsize - free + pool._overflow
    return out


def counts_slots(pool: Pool) -> bool:
    """Whether `checkedout()` is exact; without a limit, threads overwrite each other's count."""
    return isinstance(pool, QueuePool) and pool._max_overflow >= 0


def config_of(pool: Pool) -> PoolConfig:
    # The dialect of a bare pool is a stub that has no name.
    dialect = getattr(pool._dialect, "name", "")
    return PoolConfig(
        bounded=isinstance(pool, QueuePool),
        limit=limits_of(pool).limit,
        database=dialect not in ("", "sqlite"),
        pooled=not isinstance(pool, NullPool),
        pings=pool._pre_ping,
        recycle=pool._recycle if pool._recycle >= 0 else math.inf,
        # The classes that SQLAlchemy chooses for, or advises with, a database in memory.
        survives_fork=dialect == "sqlite" and isinstance(pool, (SingletonThreadPool, StaticPool)),
    )


def fate_of_connections(pool: Pool) -> Fate:
    """Return what `dispose` does to connections in use."""
    if isinstance(pool, (StaticPool, SingletonThreadPool, AssertionPool)):
        return CLOSED_NOW
    return STAY_OPEN


def existing_records(pool: Pool) -> list[Any]:
    """
    Return the records of connections that were open before the watch, idle or in use.

    An attempt in flight has none: its record is counted when the attempt ends. Those that are idle
    in a pool of a class that is not SQLAlchemy's are counted when they are first used.
    """
    # By its id, as one record of a StaticPool may be in use several times.
    records = {
        id(record): record
        for record in (*_kept_records(pool), *_records_in_use(pool))
        if record.dbapi_connection is not None
    }
    return list(records.values())


# Checked with SQLAlchemy 2.0.0, 2.0.58, 2.1.0 and 2.1.9:
#   QueuePool._pool: Queue.queue, or AsyncAdaptedQueue._queue, which is made at its first use
#   StaticPool.connection, which is made at its first use
#   SingletonThreadPool._all_conns, AssertionPool._conn, _ConnectionRecord.__pool
def _kept_records(pool: Pool) -> Collection[Any]:
    """Return the records that the pool itself refers to."""
    if isinstance(pool, QueuePool):
        queue: Any = pool._pool
        if isinstance(queue, sqla_queue.AsyncAdaptedQueue):
            queue = vars(queue).get("_queue")
            return list(queue._queue.copy()) if queue is not None else ()
        return list(queue.queue.copy())
    if isinstance(pool, StaticPool):
        return [vars(pool)["connection"]] if "connection" in vars(pool) else ()
    if isinstance(pool, SingletonThreadPool):
        return list(pool._all_conns.copy())
    if isinstance(pool, AssertionPool):
        return [pool._conn] if pool._conn is not None else ()
    return ()


def _records_in_use(pool: Pool) -> list[Any]:
    """
    Return the records of connections in use.

    No pool refers to them, but SQLAlchemy keeps each of the process for the moment at which its
    caller is collected: SQLAlchemy 2.0 in a dictionary, 2.1 as the argument of a finalizer. What
    it takes to look through them does not depend on what else is in memory.
    """
    kept = getattr(base, "_strong_ref_connection_records", None)
    if kept is not None:
        records = list(kept.values())
    else:
        # CPython 3.11 to 3.14: finalize._registry, a dictionary whose values have func and args.
        registry: Any = vars(weakref.finalize)["_registry"]
        finalizers = list(registry.values())
        records = [info.args[1] for info in finalizers if info.func is base._finalize_fairy]
    # The mangled name of the private attribute `__pool`.
    return [record for record in records if record._ConnectionRecord__pool is pool]

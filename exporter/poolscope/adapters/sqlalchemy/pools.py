"""SQLAlchemy's classes of pools: their names, limits, configuration and connections."""

from __future__ import annotations

import gc
import math
import sys
from pathlib import PurePath
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import (
    AssertionPool,
    NullPool,
    Pool,
    QueuePool,
    SingletonThreadPool,
    StaticPool,
)
from sqlalchemy.pool.base import _ConnectionRecord

from poolscope.readings.limits import Limits
from poolscope.readings.pool_config import PoolConfig


def engine_of(target: object) -> Engine | None:
    asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
    if asyncio is not None and isinstance(target, asyncio.AsyncEngine):
        target = target.sync_engine
    return target if isinstance(target, Engine) else None


def pool_of(target: Any) -> Pool:
    engine = engine_of(target)
    return engine.pool if engine is not None else target


def default_name(target: object) -> str:
    """Return `DATABASE@HOST:PORT` of an engine, or the logging name or the class of a pool."""
    engine = engine_of(target)
    if engine is None:
        return getattr(target, "logging_name", None) or type(target).__name__
    url = engine.url
    database = PurePath(url.database or "").name or url.get_backend_name()
    port = f":{url.port}" if url.port else ""
    return f"{database}@{url.host}{port}" if url.host else database


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


def existing_records(pool: Pool, scan: bool) -> list[Any]:
    """
    Return the records of connections that were open before the watch, idle or in use.

    No pool keeps a list of the records in use, so they are searched for among all objects, unless
    the pool has certainly opened none. A NullPool cannot tell; it is searched only if `scan`.
    """
    if isinstance(pool, QueuePool):
        untouched = pool.checkedin() == 0 and pool.checkedout() == 0
    elif isinstance(pool, StaticPool):
        untouched = "connection" not in vars(pool)
    elif isinstance(pool, SingletonThreadPool):
        untouched = not pool._all_conns
    elif isinstance(pool, AssertionPool):
        untouched = pool._conn is None
    else:
        untouched = not scan
    if untouched:
        return []
    return [
        record
        for record in gc.get_objects()
        if type(record) is _ConnectionRecord
        # The mangled name of the private attribute `__pool` (2.0.0 to 2.1.9).
        and getattr(record, "_ConnectionRecord__pool", None) is pool
        and record.dbapi_connection is not None
    ]

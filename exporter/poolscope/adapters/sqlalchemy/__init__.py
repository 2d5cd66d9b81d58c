"""
SQLAlchemy: engines (sync and async) and bare pools.

`Pool.connect` is where an attempt begins and ends, `_do_get` and `_do_return_conn` are where a
connection record leaves and enters the pool, whatever class of pool it is and however the record
comes back: closed, detached, invalidated, or collected. These are put over on the one pool object,
as is what callers wait in (`queues`); events tell of closing and invalidation.

A connection is identified by its record, which is SQLAlchemy's slot: it outlives reconnects.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy
from sqlalchemy.pool import Pool

from poolscope.adapters import versions
from poolscope.adapters.sqlalchemy.hooks import EngineHooks, hooks_by_pool
from poolscope.adapters.sqlalchemy.pools import (
    engine_of,
    name_of,
    pool_of,
)
from poolscope.watching.watched_pool import WatchedPool

KIND: Final = "sqlalchemy"


def check_version() -> None:
    versions.require("SQLAlchemy", sqlalchemy.__version__, "2.0")


def accepts(target: object) -> bool:
    return isinstance(target, Pool) or engine_of(target) is not None


def check_open(target: object) -> None:
    """A SQLAlchemy pool cannot be closed: after `dispose` it goes on."""


def find(target: object) -> WatchedPool | None:
    hooks = hooks_by_pool.get(pool_of(target))
    return hooks.watched if hooks is not None else None


def default_name(target: object) -> str:
    return name_of(target)


def hook(target: object, watched: WatchedPool) -> EngineHooks:
    return EngineHooks(pool_of(target), watched)

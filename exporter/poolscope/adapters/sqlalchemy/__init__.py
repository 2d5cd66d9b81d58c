"""
SQLAlchemy: engines (sync and async) and bare pools.

An attempt begins and ends in `Pool.connect`. A connection record leaves the pool in `_do_get` and
returns in `_do_return_conn`, in every class of pool, and whether the record was closed, detached,
invalidated, or collected. These methods call the hooks (`classes`), and so does the one in which
callers wait (`queues`); events report closing and invalidation.

A connection is identified by its record, which is SQLAlchemy's slot: it outlives reconnects.
"""

from __future__ import annotations

import inspect
from types import FrameType
from typing import Final

import sqlalchemy
from sqlalchemy.engine import URL, create
from sqlalchemy.pool import Pool

from poolscope.adapters import versions
from poolscope.adapters.sqlalchemy.closing import close as close
from poolscope.adapters.sqlalchemy.closing import close_in_loop as close_in_loop
from poolscope.adapters.sqlalchemy.closing import needs_loop as needs_loop
from poolscope.adapters.sqlalchemy.hooks import EngineHooks, hooks_by_pool
from poolscope.adapters.sqlalchemy.pools import default_name as default_name
from poolscope.adapters.sqlalchemy.pools import engine_of, pool_of
from poolscope.watching.watched_pool import WatchedPool

KIND: Final = "sqlalchemy"

_MAKERS: Final = frozenset({inspect.unwrap(create.create_engine).__code__})
"""The code of what makes a pool for an engine."""


def check_version() -> None:
    versions.require("SQLAlchemy", sqlalchemy.__version__, "2.0")


def accepts(target: object) -> bool:
    return isinstance(target, Pool) or engine_of(target) is not None


def check_open(target: object) -> None:
    """A SQLAlchemy pool cannot be closed: after `dispose` it opens new connections."""


def find(target: object) -> WatchedPool | None:
    hooks = hooks_by_pool.get(pool_of(target))
    return hooks.watched if hooks is not None else None


def is_pool(made: object, maker: FrameType) -> bool:
    """An engine; or a pool that is not being made for an engine, or in the place of another one."""
    if not isinstance(made, Pool):
        parts = getattr(made, "pool", None), getattr(made, "url", None)
        return isinstance(parts[0], Pool) and isinstance(
            parts[1], URL
        )  # tests make engines of mocks
    frame: FrameType | None = maker
    while frame is not None and frame.f_code.co_name == "__init__":  # of a subclass
        frame = frame.f_back
    return frame is None or (frame.f_code not in _MAKERS and frame.f_code.co_name != "recreate")


def name_of_both(target: object, before: str) -> str:
    """An engine knows what its pool connects to, which a pool alone does not."""
    return default_name(target) if before == type(pool_of(target)).__name__ else before


def hook(target: object, watched: WatchedPool) -> EngineHooks:
    return EngineHooks(pool_of(target), watched)

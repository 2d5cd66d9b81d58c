"""
asyncpg: a pool before or after it is opened.

Attempts begin in the pool and in its connection holders. Both have only slots, so hooks are found
by the id of the pool.

A connection is identified by the asyncpg `Connection`; its holder is a slot of the pool.
"""

from __future__ import annotations

from types import FrameType
from typing import Any, Final

import asyncpg
import asyncpg.pool

from poolscope.adapters import versions
from poolscope.adapters.asyncpg.closing import close_in_loop as close_in_loop
from poolscope.adapters.asyncpg.closing import needs_loop as needs_loop
from poolscope.adapters.asyncpg.hooks import PoolHooks
from poolscope.adapters.asyncpg.pools import default_name as default_name
from poolscope.adapters.asyncpg.recording import hooks_by_pool_id
from poolscope.adapters.classes import own_class
from poolscope.watching.watched_pool import WatchedPool

KIND: Final = "asyncpg"


def check_version() -> None:
    versions.require("asyncpg", asyncpg.__version__, "0.29")


def accepts(target: object) -> bool:
    return isinstance(target, asyncpg.pool.Pool)


def check_open(target: Any) -> None:
    if target._closed:
        raise ValueError("this asyncpg pool is closed; watch it before it is")


def find(target: object) -> WatchedPool | None:
    hooks = hooks_by_pool_id.get(id(target))
    if hooks is None:
        return None
    if type(target) is own_class(target):
        # They are those of a pool that was here before, whose end an exception has interrupted.
        hooks.collected()
        return None
    return hooks.watched


def is_pool(made: object, maker: FrameType) -> bool:
    return isinstance(made, asyncpg.pool.Pool)


def name_of_both(target: object, before: str) -> str:
    return before


def hook(target: Any, watched: WatchedPool) -> PoolHooks:
    return PoolHooks(target, watched)

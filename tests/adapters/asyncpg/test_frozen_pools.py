"""asyncpg: a pool that `gc.freeze()` has hidden from the garbage collector, as servers do."""

from __future__ import annotations

import gc
from typing import Any

import asyncpg
import pytest

from poolscope.adapters.classes import own_class
from poolscope.watching.watches import Watches


def is_covered(target: Any) -> bool:
    return type(target) is not own_class(target)


async def test_the_hooks_leave_a_frozen_pool(watches: Watches, postgres: Any) -> None:
    async with asyncpg.create_pool(postgres.dsn, min_size=1, max_size=2) as pool:
        watch = watches.watch(pool, registry=None)
        assert is_covered(pool)
        gc.freeze()
        try:
            watch.unwatch()
        finally:
            gc.unfreeze()
        assert not is_covered(pool)
        assert not any(map(is_covered, pool._holders))
        async with pool.acquire() as connection:
            assert 1 == await connection.fetchval("SELECT 1")


async def test_what_else_is_in_memory_is_not_searched(
    watches: Watches, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncpg.create_pool(postgres.dsn, min_size=1, max_size=2) as pool:
        watch = watches.watch(pool, registry=None)
        searches: list[None] = []

        def get_objects() -> list[Any]:
            searches.append(None)
            return [pool]

        monkeypatch.setattr(gc, "get_objects", get_objects)
        watch.unwatch()
        assert [] == searches
        assert not is_covered(pool)

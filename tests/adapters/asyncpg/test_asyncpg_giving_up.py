"""Callers of an asyncpg pool that have waited, and then fail: have they given up waiting?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import eventually


def outcome(watch: Watch) -> tuple[int, int, int, int]:
    seen = watch.snapshot()
    return seen.waited, seen.gave_up, seen.cancelled, seen.failed


@pytest.mark.parametrize("method", ["execute", "fetch", "fetchval", "fetchrow"])
async def test_a_deadline_around_a_method_of_the_pool(
    pools: Any, watches: Watches, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    pool = await pools(max_size=1)
    watch = watches.watch(pool, "orders", registry=None)
    async with pool.acquire():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await getattr(pool, method)("SELECT 1")
    assert (1, 1, 1, 0) == outcome(watch)
    assert ["timeout"] == [record.poolscope["event"] for record in caplog.records]  # type: ignore[attr-defined]  # an extra


async def test_a_caller_whose_connection_fails_in_setup_has_not_given_up(
    pools: Any, watches: Watches
) -> None:
    fails = False

    async def setup(_: object) -> None:
        if fails:
            raise ZeroDivisionError

    pool = await pools(max_size=1, setup=setup)
    watch = watches.watch(pool, "orders", registry=None)
    async with pool.acquire():
        waiter = asyncio.ensure_future(pool.acquire())
        await eventually(1, lambda: watch.snapshot().waiting)
        fails = True
    with pytest.raises(ZeroDivisionError):
        await waiter
    assert (1, 0, 0, 1) == outcome(watch)

"""asyncpg: which references to a connection in use show that it can still be returned."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import asyncpg
import pytest

from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import eventually


def lost(watch: Watch) -> tuple[int, int]:
    """Return how many connections are in use, and how many of them are abandoned."""
    gc.collect()
    now = watch.snapshot()
    return now.in_use, now.abandoned


@pytest.fixture
async def pool(pools: Any) -> Any:
    return await pools()


@pytest.fixture
def watch(pool: Any, watches: Watches) -> Watch:
    return watches.watch(pool, registry=None)


async def test_a_connection_with_a_listener_is_not_lost(pool: Any, watch: Watch) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def listen() -> None:
        connection = await pool.acquire()
        await connection.add_listener("orders", lambda connection, *_: heard.set_result(connection))

    await listen()
    assert (1, 0) == lost(watch)
    await pool.execute("NOTIFY orders")
    connection = await heard
    assert (1, 0) == lost(watch)
    with pytest.warns(asyncpg.InterfaceWarning, match="active notification listener"):
        await pool.release(connection)
    assert (0, 0) == lost(watch)


async def test_a_connection_with_a_query_in_flight_is_not_lost(pool: Any, watch: Watch) -> None:
    async def query() -> None:
        async with pool.acquire() as connection:
            await connection.execute("SELECT pg_sleep(60)")

    tasks = [asyncio.create_task(query()), asyncio.create_task(pool.fetch("SELECT pg_sleep(60)"))]
    await eventually(2, lambda: watch.snapshot().in_use)
    assert (2, 0) == lost(watch)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await eventually((0, 0), lambda: lost(watch))


async def test_a_connection_that_is_being_returned_is_not_lost_though_its_caller_has_ended(
    pools: Any, watches: Watches
) -> None:
    reached, opened = asyncio.Event(), asyncio.Event()

    class Slow(asyncpg.Connection):  # type: ignore[misc]  # it has no types
        async def reset(self, *, timeout: float | None = None) -> None:
            reached.set()
            await opened.wait()
            await super().reset(timeout=timeout)

    pool = await pools(connection_class=Slow)
    watch = watches.watch(pool, registry=None)

    async def use() -> None:
        async with pool.acquire() as connection:
            await connection.execute("SELECT 1")

    caller = asyncio.create_task(use())
    await reached.wait()
    caller.cancel()
    await asyncio.wait([caller])
    del caller
    assert (1, 0) == lost(watch)
    opened.set()
    await eventually((0, 0), lambda: lost(watch))


async def test_a_lost_connection_is_found_only_when_it_is_checked(pool: Any, watch: Watch) -> None:
    await pool.acquire()
    assert [False] == [holder.abandoned for holder in watch._pool.ledgers[0].holders()]
    assert [True] == [hold.abandoned for hold in watch.holders()]

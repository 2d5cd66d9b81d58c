"""asyncpg: a connection that listens for notifications is held on purpose."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncpg
import pytest

import poolscope
from poolscope import Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches


@pytest.fixture
async def pool(pools: Any) -> Any:
    return await pools()


@pytest.fixture
def watch(pool: Any, watches: Watches) -> Watch:
    return watches.watch(pool, leak_after=60.0, registry=None)


def holds(watch: Watch) -> list[tuple[bool, bool]]:
    """Return for each hold whether it is on purpose, and overdue."""
    return [(hold.on_purpose, hold.overdue) for hold in watch.holders()]


def ignore(*_: object) -> None:
    """A callback."""


async def test_a_connection_is_held_on_purpose_while_it_listens(
    pool: Any, watch: Watch, clock: FakeClock
) -> None:
    async with pool.acquire() as connection:
        await connection.add_listener("orders", ignore)
        await connection.add_listener("carts", ignore)
        clock.advance(3600.0)
        assert [(True, False)] == holds(watch)
        # The same task uses the pool meanwhile.
        await pool.execute("NOTIFY orders")
        await connection.remove_listener("orders", ignore)
        clock.advance(3600.0)
        assert [(True, False)] == holds(watch)
        await connection.remove_listener("carts", ignore)
        assert [(False, False)] == holds(watch)
        clock.advance(61.0)
        assert [(False, True)] == holds(watch)
        await connection.add_listener("orders", ignore)
        assert [(True, False)] == holds(watch)
        await connection.remove_listener("orders", ignore)
    now = watch.snapshot()
    assert (0, 0, 1) == (now.overdue, now.nested, now.leaks_overdue)
    assert "nested-acquire" not in {finding.rule for finding in watch.findings()}


async def test_a_listener_that_ends_as_it_should_is_never_overdue(
    pool: Any, watch: Watch, clock: FakeClock
) -> None:
    async with pool.acquire() as connection:
        await connection.add_listener("orders", ignore)
        clock.advance(3600.0)
        await connection.remove_listener("orders", ignore)
        assert 0 == watch.snapshot().overdue
    now = watch.snapshot()
    assert (0, 0, 0) == (now.in_use, now.leaks_overdue, now.leaks_recovered)


async def test_who_gets_the_connection_next_is_not_on_purpose(
    pool: Any, watch: Watch, clock: FakeClock
) -> None:
    with pytest.warns(asyncpg.InterfaceWarning, match="active notification listener"):
        async with pool.acquire() as connection:
            await connection.add_listener("orders", ignore)
    async with pool.acquire():
        clock.advance(61.0)
        assert [(False, True)] == holds(watch)


async def test_a_connection_that_is_reset_no_longer_listens(
    pool: Any, watch: Watch, clock: FakeClock
) -> None:
    async with pool.acquire() as connection:
        await connection.add_listener("orders", ignore)
        await connection.reset()
        assert [(False, False)] == holds(watch)


async def test_one_that_listens_when_the_watch_begins(
    pool: Any, watches: Watches, clock: FakeClock
) -> None:
    async with pool.acquire() as connection:
        await connection.add_listener("orders", ignore)
        watch = watches.watch(pool, leak_after=60.0, registry=None)
        clock.advance(61.0)
        assert [(True, False)] == holds(watch)
        await connection.remove_listener("orders", ignore)
        assert [(False, False)] == holds(watch)


@pytest.mark.parametrize("callback", ["init", "setup"])
async def test_one_that_listens_before_its_caller_has_it(
    pools: Any, watches: Watches, clock: FakeClock, callback: str
) -> None:
    async def listen(connection: Any) -> None:
        await connection.add_listener("orders", ignore)

    pool = await pools(min_size=0, **{callback: listen})
    watch = watches.watch(pool, leak_after=60.0, registry=None)
    connection = await pool.acquire()
    assert [(True, False)] == holds(watch)
    await connection.remove_listener("orders", ignore)
    await pool.release(connection)


async def test_what_the_caller_said_stays_when_it_no_longer_listens(
    pool: Any, watch: Watch, clock: FakeClock
) -> None:
    with poolscope.held_on_purpose():
        connection = await pool.acquire()
    await connection.add_listener("orders", ignore)
    await connection.remove_listener("orders", ignore)
    clock.advance(61.0)
    assert [(True, False)] == holds(watch)
    await pool.release(connection)


async def test_notifications_arrive_and_nothing_is_left_after_the_watch(
    pool: Any, watch: Watch
) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    def hear(connection: Any, process: int, channel: str, payload: str) -> None:
        heard.put_nowait((channel, payload))

    async with pool.acquire() as connection:
        await connection.add_listener("orders", hear)
        await pool.execute("NOTIFY orders, 'seven'")
        assert ("orders", "seven") == await heard.get()
        watch.unwatch()
        assert dict is type(connection._con._listeners)
        await pool.execute("NOTIFY orders, 'eight'")
        assert ("orders", "eight") == await heard.get()
        await connection.remove_listener("orders", hear)
        with contextlib.suppress(KeyError):
            await connection.remove_listener("orders", hear)

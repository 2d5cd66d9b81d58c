"""asyncpg: one test for each way in which counting up and down would go wrong."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import eventually

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

VERSION = tuple(int(part) for part in asyncpg.__version__.split(".")[:2])

keeps_floor = pytest.mark.skipif(VERSION < (0, 32), reason="asyncpg keeps a floor since 0.32")


class Gate:
    """A callback of a pool that blocks until the gate is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        self.connection: Any = None

    async def __call__(self, connection: Any) -> None:
        self.connection = connection
        self.reached.set()
        await self.opened.wait()


def state(watch: Watch) -> tuple[int, int, int, int]:
    """Return in use, idle, opening and waiting."""
    snapshot = watch.snapshot()
    return snapshot.in_use, snapshot.idle, snapshot.opening, snapshot.waiting


async def hang_up(postgres: EmbeddedPostgres, connection: Any) -> None:
    """Make the server terminate a connection, and wait until the client knows."""
    control = await asyncpg.connect(postgres.dsn)
    await control.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
    await control.close()
    await eventually(True, connection.is_closed)


class TestWhatAsyncpgDoesNotSay:
    async def test_waiting_callers_are_counted(self, pools: Any, watches: Watches) -> None:
        pool = await pools(max_size=1)
        watch = watches.watch(pool, registry=None)
        out = await pool.acquire()
        callers = [asyncio.create_task(pool._acquire(None)) for _ in range(3)]
        await eventually((1, 0, 0, 3), lambda: state(watch))
        await pool.release(out)
        for left, caller in zip((2, 1, 0), callers, strict=True):
            connection = await caller
            assert (1, 0, 0, left) == state(watch)
            await pool.release(connection)
        assert (0, 1, 0, 0) == state(watch)
        assert (4, 3) == (watch.snapshot().acquired, watch.snapshot().waited)

    async def test_a_caller_that_is_cancelled_while_it_waits(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = await pools(max_size=1)
        watch = watches.watch(pool, registry=None)
        async with pool.acquire():
            caller = asyncio.create_task(pool._acquire(None))
            await eventually((1, 0, 0, 1), lambda: state(watch))
            caller.cancel()
            await eventually((1, 0, 0, 0), lambda: state(watch))
        assert (1, 1) == (watch.snapshot().acquired, watch.snapshot().cancelled)

    async def test_a_caller_that_is_cancelled_when_it_is_served(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = await pools(max_size=1)
        watch = watches.watch(pool, registry=None)
        out = await pool.acquire()
        first = asyncio.create_task(pool._acquire(None))
        second = asyncio.create_task(pool._acquire(None))
        await eventually((1, 0, 0, 2), lambda: state(watch))
        pool._holders[0]._release()
        first.cancel()
        proxy = await second
        assert first.cancelled()
        assert (1, 0, 0, 0) == state(watch)
        await pool.release(out)
        await pool.release(proxy)
        assert (0, 1, 0, 0) == state(watch)

    async def test_a_connection_that_fails_while_it_is_opened(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = await pools()
        watch = watches.watch(pool, registry=None)
        caller = asyncio.create_task(pool._acquire(None))
        await asyncio.sleep(0)
        assert (0, 0, 1, 0) == state(watch)
        caller.cancel()
        await asyncio.wait([caller])
        assert (0, 0, 0, 0) == state(watch)
        assert (0, 1, 1) == (
            watch.snapshot().opened, watch.snapshot().open_failed, watch.snapshot().cancelled,
        )  # fmt: skip


class TestSlotsAndReferences:
    async def test_a_watched_pool_has_slots_only(self, pools: Any, watches: Watches) -> None:
        pool = pools()
        watches.watch(pool, registry=None)
        await pool
        for target in (pool, pool._holders[0]):
            with pytest.raises(AttributeError):
                target.anything = 1
        with pytest.raises(TypeError):
            weakref.ref(pool)

    async def test_a_dropped_connection_stays_in_use(self, pools: Any, watches: Watches) -> None:
        pool = await pools()
        watch = watches.watch(pool, registry=None)
        await pool.acquire()
        gc.collect()
        assert (1, 0, 0, 0) == state(watch)
        assert 1 == watch.snapshot().abandoned

    async def test_a_watch_holds_no_reference_to_a_connection_in_use(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = pools()
        watch = watches.watch(pool, registry=None)
        await pool
        watched = await pool.acquire()
        other = await (await pools()).acquire()
        # This count tells whether the application still holds a reference.
        assert sys.getrefcount(other) == sys.getrefcount(watched)
        assert (1, 0, 0, 0) == state(watch)


class TestGoneBeforeTheCallerHasIt:
    @pytest.mark.parametrize("how", ["close", "terminate", "hang up"])
    async def test_a_connection_is_lost_in_setup(
        self, pools: Any, watches: Watches, postgres: EmbeddedPostgres, how: str
    ) -> None:
        gate = Gate()
        pool = await pools(setup=gate)
        watch = watches.watch(pool, registry=None)
        caller = asyncio.create_task(pool._acquire(None))
        await gate.reached.wait()
        assert (1, 0, 0, 0) == state(watch)
        if how == "close":
            await pool.close()
        elif how == "terminate":
            pool.terminate()
        else:
            await hang_up(postgres, gate.connection)
        assert (0, 0, 0, 0) == state(watch)
        gate.opened.set()
        # asyncpg gives the connection to the caller nevertheless.
        assert (await caller).is_closed()
        assert (0, 0, 0, 0) == state(watch)
        assert (1, 1, 1) == (
            watch.snapshot().acquired, watch.snapshot().opened, watch.snapshot().closed,
        )  # fmt: skip

    async def test_a_connection_is_lost_in_init(
        self, pools: Any, watches: Watches, postgres: EmbeddedPostgres
    ) -> None:
        gate = Gate()
        pool = await pools(init=gate)
        watch = watches.watch(pool, registry=None)
        caller = asyncio.create_task(pool._acquire(None))
        await gate.reached.wait()
        assert (0, 0, 1, 0) == state(watch)
        await hang_up(postgres, gate.connection)
        gate.opened.set()
        # Before 0.32 the caller gets the connection nevertheless.
        await asyncio.wait([caller])
        assert (VERSION >= (0, 32)) == (caller.exception() is not None)
        assert (0, 0, 0, 0) == state(watch)
        assert watch.snapshot().opened == watch.snapshot().closed

    async def test_a_closed_pool_still_connects(self, pools: Any, watches: Watches) -> None:
        gate = Gate()
        pool = await pools(init=gate)
        watch = watches.watch(pool, registry=None)
        caller = asyncio.create_task(pool._acquire(None))
        await gate.reached.wait()
        await pool.close()
        assert (0, 0, 1, 0) == state(watch)
        gate.opened.set()
        await asyncio.wait([caller])
        # Before 0.32 the caller gets it, and the pool is closed.
        assert (int(VERSION < (0, 32)), 0, 0, 0) == state(watch)
        assert caller.exception() is not None or not caller.result().is_closed()


class TestWatchedInTheMidst:
    async def test_a_watch_begins_while_the_pool_connects(
        self, pools: Any, watches: Watches
    ) -> None:
        gate = Gate()
        pool = await pools(init=gate)
        caller = asyncio.create_task(pool._acquire(None))
        await gate.reached.wait()
        watch = watches.watch(pool, registry=None)
        gate.opened.set()
        connection = await caller
        await pool.release(connection)
        assert (0, 1, 0, 0) == state(watch)
        await pool.close()
        assert (0, 0, 0, 0) == state(watch)
        assert (1, 1) == (watch.snapshot().opened, watch.snapshot().closed)


@keeps_floor
class TestTheFloor:
    async def test_more_connections_are_opened_first_than_are_kept(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = pools(min_size=1, init_size=2)
        watch = watches.watch(pool, registry=None)
        await pool
        assert (0, 2, 0, 0) == state(watch)
        assert (1, 2) == (watch.snapshot().idle_floor, watch.snapshot().opened)

    async def test_a_lost_connection_is_opened_again(
        self, pools: Any, watches: Watches, postgres: EmbeddedPostgres
    ) -> None:
        pool = await pools(min_size=1)
        watch = watches.watch(pool, registry=None)
        await hang_up(postgres, pool._holders[-1]._con)
        await eventually((0, 1, 0, 0), lambda: state(watch))
        async with pool.acquire():
            assert (1, 0, 0, 0) == state(watch)
        # It was opened before the caller asked.
        assert (2, 1, 1) == (
            watch.snapshot().opened, watch.snapshot().closed, watch.snapshot().reused,
        )  # fmt: skip

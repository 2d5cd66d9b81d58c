"""asyncpg: opening, set-up, cancellation, and servers that close connections."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from poolscope import Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.ports import closed_port
from support.waiting import eventually

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres


class Failing:
    """A callback of a pool that fails, or never ends, when the test tells it to."""

    def __init__(self) -> None:
        self.does: str = "nothing"
        self.reached = 0

    async def __call__(self, connection: Any) -> None:
        self.reached += 1
        if self.does == "fail":
            raise ZeroDivisionError
        if self.does == "hang":
            await asyncio.Event().wait()


def compare(watch: Watch, pool: Any) -> tuple[int, int]:
    """Return in use and idle, after comparing them with the pool itself."""
    snapshot = watch.snapshot()
    assert pool.get_size() == snapshot.in_use + snapshot.idle == snapshot.opened - snapshot.closed
    assert pool.get_idle_size() == snapshot.idle
    return snapshot.in_use, snapshot.idle


def attempts(watch: Watch) -> tuple[int, int, int, int]:
    """Return how many attempts succeeded, timed out, were cancelled, and failed."""
    snapshot = watch.snapshot()
    return snapshot.acquired, snapshot.timed_out, snapshot.cancelled, snapshot.failed


async def terminate_backend(postgres: EmbeddedPostgres, pid: int) -> None:
    """Make the server terminate a connection."""
    control = await asyncpg.connect(postgres.dsn)
    await control.execute("SELECT pg_terminate_backend($1, 10000)", pid)
    await control.close()


class TestOpening:
    @pytest.mark.parametrize("before", [True, False])
    async def test_connections_that_the_pool_opens_first_are_counted(
        self, pools: Any, watches: Watches, before: bool
    ) -> None:
        pool = pools(min_size=3, max_size=5)
        if before:
            watch = watches.watch(pool, registry=None)
            await pool
        else:
            await pool
            watch = watches.watch(pool, registry=None)
        assert (0, 3) == compare(watch, pool)
        snapshot = watch.snapshot()
        assert (5.0, 5.0, 3) == (snapshot.limit, snapshot.idle_limit, snapshot.idle_floor)
        assert (3, 0, 0) == (snapshot.opened, snapshot.acquired, snapshot.in_use_peak)

    async def test_a_pool_that_cannot_open_has_failed_attempts_to_open(
        self, watches: Watches
    ) -> None:
        pool = asyncpg.create_pool(
            f"postgres://u@127.0.0.1:{closed_port()}/d", min_size=1, max_size=2
        )
        watch = watches.watch(pool, registry=None)
        with pytest.raises(OSError, match="Connect call failed"):
            await pool
        snapshot = watch.snapshot()
        assert (0, 1, 0, 0) == (
            snapshot.opened, snapshot.open_failed, snapshot.opening, snapshot.idle,
        )  # fmt: skip

    async def test_asking_a_pool_that_is_not_open_is_an_error(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = pools()
        watch = watches.watch(pool, registry=None)
        with pytest.raises(asyncpg.InterfaceError, match="pool is not initialized"):
            await pool.acquire()
        assert (0, 0, 0, 1) == attempts(watch)

    async def test_a_watched_pool_has_the_same_names_and_attributes(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = pools()
        before = type(pool).__name__, type(pool).__module__, repr(pool).split(" at ")[0]
        watch = watches.watch(pool, registry=None)
        after = type(pool).__name__, type(pool).__module__, repr(pool).split(" at ")[0]
        assert before == after
        assert isinstance(pool, asyncpg.Pool)
        await pool
        holder = type(pool._holders[0])
        watch.unwatch()
        assert (asyncpg.Pool, holder.__base__, list) == (
            type(pool), type(pool._holders[0]), type(pool._holders),
        )  # fmt: skip

    async def test_a_subclass_of_the_applications_own_is_watched(
        self, postgres: EmbeddedPostgres, watches: Watches
    ) -> None:
        class Own(asyncpg.Pool):  # type: ignore[misc]  # asyncpg has no types
            def acquire(self, *, timeout: float | None = 5.0) -> Any:
                self.asked = True
                return super().acquire(timeout=timeout)

        from unittest import mock

        with mock.patch("asyncpg.pool.Pool", Own):
            pool = asyncpg.create_pool(postgres.dsn, min_size=0, max_size=1)
        watch = watches.watch(pool, registry=None)
        await pool
        assert 1 == await pool.fetchval("SELECT 1")
        assert pool.asked
        assert (0, 1) == compare(watch, pool)
        await pool.close()


class TestSetUpAndReset:
    @pytest.fixture
    def callback(self) -> Failing:
        return Failing()

    @pytest.mark.parametrize("name", ["init", "setup"])
    async def test_a_callback_that_fails(
        self, pools: Any, watches: Watches, callback: Failing, name: str
    ) -> None:
        pool = await pools(**{name: callback})
        watch = watches.watch(pool, registry=None)
        callback.does = "fail"
        with pytest.raises(ZeroDivisionError):
            await pool.acquire()
        assert (0, 0) == compare(watch, pool)
        assert (0, 0, 0, 1) == attempts(watch)
        callback.does = "nothing"
        async with pool.acquire():
            assert (1, 0) == compare(watch, pool)
        assert (0, 1) == compare(watch, pool)

    async def test_a_setup_that_fails_with_a_connection_that_was_open(
        self, pools: Any, watches: Watches, callback: Failing
    ) -> None:
        pool = await pools(setup=callback)
        watch = watches.watch(pool, registry=None)
        async with pool.acquire():
            pass
        callback.does = "fail"
        with pytest.raises(ZeroDivisionError):
            await pool.acquire()
        assert (0, 0) == compare(watch, pool)
        assert (1, 0, 0, 1) == attempts(watch)

    async def test_a_setup_that_acquires_from_another_pool(
        self, pools: Any, watches: Watches
    ) -> None:
        other = await pools(min_size=1)
        other_watch = watches.watch(other, registry=None)

        async def look_up(connection: Any) -> None:
            await other.fetchval("SELECT 1", timeout=60.0)

        pool = await pools(setup=look_up)
        watch = watches.watch(pool, registry=None)
        for _ in range(2):
            async with pool.acquire(timeout=60.0):
                assert (1, 0) == compare(watch, pool)
        assert (2, 0, 0, 0) == attempts(watch) == attempts(other_watch)
        assert (0, 1) == compare(other_watch, other)

    async def test_cancelled_during_init(
        self, pools: Any, watches: Watches, callback: Failing
    ) -> None:
        pool = await pools(init=callback)
        watch = watches.watch(pool, registry=None)
        await self.cancel_in(callback, pool, (0, 0, 1), watch)
        assert (1, 0) == (watch.snapshot().open_failed, watch.snapshot().opened)

    async def test_cancelled_during_setup(
        self, pools: Any, watches: Watches, callback: Failing
    ) -> None:
        pool = await pools(setup=callback)
        watch = watches.watch(pool, registry=None)
        # asyncpg counts the connection as idle then, but no other caller can get it.
        await self.cancel_in(callback, pool, (1, 0, 0), watch)
        assert (0, 1, 1) == (
            watch.snapshot().open_failed, watch.snapshot().opened, watch.snapshot().closed,
        )  # fmt: skip

    async def test_an_idle_connection_is_in_use_while_it_is_set_up(
        self, pools: Any, watches: Watches, callback: Failing
    ) -> None:
        pool = await pools(setup=callback)
        watch = watches.watch(pool, registry=None)
        async with pool.acquire():
            pass
        callback.does = "hang"
        acquiring = asyncio.create_task(pool._acquire(None))
        await eventually(2, lambda: callback.reached)
        assert (1, 0) == (watch.snapshot().in_use, watch.snapshot().idle)
        acquiring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await acquiring
        assert (0, 0) == compare(watch, pool)

    async def cancel_in(
        self, callback: Failing, pool: Any, meanwhile: tuple[int, int, int], watch: Watch
    ) -> None:
        callback.does = "hang"
        acquiring = asyncio.create_task(pool._acquire(None))
        await eventually(1, lambda: callback.reached)
        snapshot = watch.snapshot()
        assert meanwhile == (snapshot.in_use, snapshot.idle, snapshot.opening)
        acquiring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await acquiring
        assert (0, 0) == compare(watch, pool)
        assert (0, 0, 1, 0) == attempts(watch)

    async def test_timed_out_during_setup(
        self, pools: Any, watches: Watches, callback: Failing
    ) -> None:
        pool = await pools(setup=callback, min_size=1)
        watch = watches.watch(pool, registry=None)
        callback.does = "hang"
        turns = 0
        while not callback.reached:
            turns += 1
            with pytest.raises(TimeoutError):
                await pool.acquire(timeout=0.01 * turns)
        assert (0, 0) == compare(watch, pool)
        assert (0, turns, 0, 0) == attempts(watch)

    async def test_a_release_that_is_cancelled_still_releases(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = await pools()
        watch = watches.watch(pool, registry=None)
        connection = await pool.acquire()
        releasing = asyncio.create_task(pool.release(connection))
        await asyncio.sleep(0)
        assert (1, 0) == compare(watch, pool)
        releasing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await releasing
        await eventually(0, lambda: watch.snapshot().in_use)
        assert (0, 1) == compare(watch, pool)


class TestConnectionsThatGo:
    async def test_the_server_closes_a_connection_in_use(
        self, pools: Any, watches: Watches, postgres: EmbeddedPostgres
    ) -> None:
        pool = await pools(max_size=1)
        watch = watches.watch(pool, registry=None)
        connection = await pool.acquire()
        await terminate_backend(postgres, connection.get_server_pid())
        await eventually(0, lambda: watch.snapshot().in_use)
        # The holder is free, though the application still has the proxy.
        assert (0, 0) == compare(watch, pool)
        other = await pool.acquire()
        assert (1, 0) == compare(watch, pool)
        await pool.release(connection)
        assert (1, 0) == compare(watch, pool)
        await pool.release(other)
        assert (0, 1) == compare(watch, pool)

    async def test_the_server_closes_an_idle_connection(
        self, pools: Any, watches: Watches, postgres: EmbeddedPostgres
    ) -> None:
        pool = await pools()
        watch = watches.watch(pool, registry=None)
        async with pool.acquire() as connection:
            pid = connection.get_server_pid()
        await terminate_backend(postgres, pid)
        await eventually(0, lambda: watch.snapshot().idle)
        assert (0, 0) == compare(watch, pool)
        assert 1 == await pool.fetchval("SELECT 1")
        assert (0, 1) == compare(watch, pool)
        assert (2, 1) == (watch.snapshot().opened, watch.snapshot().closed)
        assert (2, 0) == (watch.snapshot().acquired, watch.snapshot().reused)

    async def test_connections_that_expire_are_replaced(self, pools: Any, watches: Watches) -> None:
        pool = await pools()
        watch = watches.watch(pool, registry=None)
        async with pool.acquire():
            await pool.expire_connections()
        assert (0, 0) == compare(watch, pool)
        async with pool.acquire():
            pass
        await pool.expire_connections()
        async with pool.acquire():
            assert (1, 0) == compare(watch, pool)
        assert 3 == watch.snapshot().opened

    async def test_a_connection_that_the_application_closes(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = await pools()
        watch = watches.watch(pool, registry=None)
        connection = await pool.acquire()
        await connection.close()
        assert (0, 0) == compare(watch, pool)
        await pool.release(connection)
        assert (0, 0) == compare(watch, pool)

    async def test_a_connection_that_was_used_often_enough(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = await pools(max_queries=1)
        watch = watches.watch(pool, registry=None)
        for turn in range(1, 4):
            assert 1 == await pool.fetchval("SELECT 1")
            assert (0, 0) == compare(watch, pool)
            assert (turn, turn) == (watch.snapshot().opened, watch.snapshot().closed)

    async def test_a_connection_that_is_idle_for_too_long(
        self, pools: Any, watches: Watches
    ) -> None:
        pool = await pools(max_inactive_connection_lifetime=0.01)
        watch = watches.watch(pool, registry=None)
        assert 1 == await pool.fetchval("SELECT 1")
        await eventually(0, pool.get_size)
        assert (0, 0) == compare(watch, pool)


class TestTheEnd:
    async def test_closing_waits_for_connections_in_use(self, pools: Any, watches: Watches) -> None:
        pool = await pools()
        watch = watches.watch(pool, registry=None)
        connection = await pool.acquire()
        closing = asyncio.create_task(pool.close())
        await eventually(True, pool.is_closing)
        assert 1 == watch.snapshot().instances
        assert (1, 0) == compare(watch, pool)
        with pytest.raises(asyncpg.InterfaceError, match="closing"):
            await pool.acquire()
        await pool.release(connection)
        await closing
        assert (0, 0) == compare(watch, pool)
        assert (1, 0, 0, 1) == attempts(watch)
        assert (0, 0.0) == (watch.snapshot().instances, watch.snapshot().limit)

    async def test_terminating_with_connections_in_use(
        self, pools: Any, watches: Watches, clock: FakeClock
    ) -> None:
        pool = await pools()
        watch = watches.watch(pool, registry=None)
        out, idle = await pool.acquire(), await pool.acquire()
        await pool.release(idle)
        clock.advance(3.0)
        pool.terminate()
        snapshot = watch.snapshot()
        assert (0, 0, 0, 2) == (
            snapshot.in_use, snapshot.idle, snapshot.instances, snapshot.closed,
        )  # fmt: skip
        assert 3.0 == snapshot.in_use_seconds
        await pool.release(out)
        assert snapshot == watch.snapshot()

    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    async def test_the_connections_of_a_dropped_pool_are_closed(
        self, postgres: EmbeddedPostgres, watches: Watches
    ) -> None:
        # With the default lifetime a timer of the event loop keeps the pool for that long.
        pool = await asyncpg.create_pool(
            postgres.dsn, min_size=2, max_size=2, max_inactive_connection_lifetime=0
        )
        watch = watches.watch(pool, registry=None)
        del pool
        gc.collect()
        await asyncio.sleep(0)
        snapshot = watch.snapshot()
        assert (0, 0, 2, 2) == (
            snapshot.instances, snapshot.idle, snapshot.opened, snapshot.closed,
        )  # fmt: skip

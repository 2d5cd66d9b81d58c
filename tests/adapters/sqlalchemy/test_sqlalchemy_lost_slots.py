"""
SQLAlchemy 2.0.44 to 2.0.54 lose the slot of an attempt whose ping is cancelled: closing the
connection is cancelled, too, and then nothing returns the record to the pool.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from poolscope.adapters.missing_slots import LOST_AFTER
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.bytecodes import STEP, at_bytecode, in_a_thread
from support.waiting import until

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres


@pytest.fixture
def loses_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SQLAlchemy forget the record of an attempt that fails, as it did in those versions."""
    if tuple(map(int, sqlalchemy.__version__.split(".")[:3])) < (2, 0, 44):
        pytest.skip("earlier versions have no such fault, and fail in other ways with it")

    def forget(self: Any, err: BaseException, _fairy_was_created: bool = True) -> None:
        self.invalidate(e=err)
        raise err

    monkeypatch.setattr(sqlalchemy.pool.base._ConnectionRecord, "_checkin_failed", forget)


@pytest.fixture
async def engine(postgres: EmbeddedPostgres) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(
        postgres.sqlalchemy_url("asyncpg"), pool_size=2, max_overflow=0, pool_pre_ping=True
    )
    yield engine
    await engine.dispose()


@pytest.mark.usefixtures("loses_slots")
async def test_the_line_whose_ping_was_cancelled_is_named(
    engine: AsyncEngine,
    watches: Watches,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with engine.connect():
        pass
    watch = watches.watch(engine, "orders", registry=None)
    pool: Any = engine.sync_engine.pool

    def cancelled(*args: object) -> bool:
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(engine.sync_engine.dialect, "do_ping", cancelled)
        with pytest.raises(asyncio.CancelledError) as caught:
            await engine.connect()
    assert (1, 0) == (pool.checkedout(), watch.snapshot().in_use)
    clock.advance(LOST_AFTER)
    seen = watch.snapshot()
    assert (1, 1, 0, 0) == (seen.in_use, seen.abandoned, seen.idle, seen.opened - seen.closed)
    (hold,) = watch.holders()
    assert hold.site is not None
    assert hold.site.endswith("in test_the_line_whose_ping_was_cancelled_is_named")
    assert [] == [finding.rule for finding in watch.findings() if finding.rule == "abandoned"]

    # The traceback is what keeps the slot from being found.
    del caught
    until(lambda: gc.collect() is not None and pool.checkedout() == 0, "the slot is found")
    assert (0, 0) == (watch.snapshot().in_use, watch.snapshot().abandoned)


@pytest.mark.usefixtures("loses_slots")
def test_a_listener_of_a_threaded_pool_that_fails(
    sqlite: Callable[..., sqlalchemy.Engine], watches: Watches, clock: FakeClock
) -> None:
    engine = sqlite(pool_size=2, max_overflow=0)

    def fail(*args: object) -> None:
        raise ZeroDivisionError

    watch = watches.watch(engine, "orders", registry=None)
    event.listen(engine, "checkout", fail)
    with pytest.raises(ZeroDivisionError) as caught:
        engine.connect()
    pool: Any = engine.pool
    lost = pool.checkedout()
    clock.advance(LOST_AFTER)
    assert lost == watch.snapshot().in_use == len(watch.holders())
    assert caught is not None


def test_a_pool_without_a_limit_is_not_compared(
    sqlite: Callable[..., sqlalchemy.Engine], watches: Watches, clock: FakeClock
) -> None:
    """Threads that change its count at the same time overwrite what the other has written."""
    engine = sqlite(pool_size=1, max_overflow=-1)
    watch = watches.watch(engine, "orders", registry=None)
    engine.connect().close()
    pool: Any = engine.pool
    pool._inc_overflow()
    for _ in range(3):
        assert 0 == watch.snapshot().in_use
        clock.advance(LOST_AFTER)


def test_a_connection_that_is_being_closed_has_its_slot(
    sqlite: Callable[..., sqlalchemy.Engine],
    watches: Watches,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = sqlite(pool_size=1, max_overflow=1)
    watch = watches.watch(engine, "orders", registry=None)
    held = [engine.connect() for _ in range(2)]
    seen, close = [], engine.dialect.do_close

    def look(connection: Any) -> None:
        for _ in range(3):
            seen.append(watch.snapshot().in_use)
            clock.advance(LOST_AFTER)
        close(connection)

    with monkeypatch.context() as patched:
        patched.setattr(engine.dialect, "do_close", look)  # takes its time
        for connection in held:
            connection.close()
    assert [0, 0, 0] == seen
    assert 0 == watch.snapshot().in_use


@pytest.mark.parametrize("by", ["another thread", "a signal handler"])
def test_a_thread_that_does_not_run_for_long_has_lost_nothing(
    by: str, sqlite: Callable[..., sqlalchemy.Engine], watches: Watches, clock: FakeClock
) -> None:
    """It has stopped after the pool has counted its slot as out, or before it does not any more."""
    pool = sqlite(pool_size=1, max_overflow=0).pool
    pool.connect().close()
    watch = watches.watch(pool, registry=None)

    def look_for_long() -> None:
        for _ in range(3):
            watch.snapshot()
            clock.advance(2 * LOST_AFTER)

    action = look_for_long if by == "a signal handler" else in_a_thread(look_for_long)
    for number in itertools.count(1, STEP):
        with at_bytecode(number, action, let_in=True) as tracer:
            pool.connect().close()
        if tracer.is_beyond_the_last:
            break
        assert (0, 0) == (watch.snapshot().leaks_abandoned, watch.snapshot().in_use), tracer.where
    assert number > 10

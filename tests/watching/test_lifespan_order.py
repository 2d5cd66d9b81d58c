"""`poolscope.lifespan`: the order, and what is raised at its start and at its end."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import asyncpg
import prometheus_client
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

import poolscope
from poolscope.watching.lifespans import Lifespan
from poolscope.watching.watches import Watches

Engine = sqlalchemy.Engine


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a registry of its own, in which its pools are shown."""
    monkeypatch.setattr(prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry())


class FailingError(Exception):
    """What closing a pool raises here."""


class Interruption(BaseException):
    """What a signal handler may raise."""


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The engines that were disposed of, in this order."""
    disposed: list[Any] = []
    dispose = Engine.dispose

    def note(self: Engine, close: bool = True) -> None:
        disposed.append(self)
        dispose(self, close)

    monkeypatch.setattr(Engine, "dispose", note)
    return disposed


def fail_with(engine: Engine, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine's next closing raise an error."""

    def dispose(close: bool = True) -> None:
        monkeypatch.delattr(engine, "dispose")
        raise error

    monkeypatch.setattr(engine, "dispose", dispose)


def make(watches: Watches, *pools: Any, timeout: Any = 10.0, **named: Any) -> Lifespan:
    return Lifespan(watches, pools, named, timeout)


def both(lifespan: Callable[[], Lifespan]) -> list[Any]:
    """Return how the block is written, without and with `async`."""

    async def with_async(block: Callable[[], None]) -> None:
        async with lifespan():
            block()

    async def without(block: Callable[[], None]) -> None:
        with lifespan():
            block()

    return [without, with_async]


def fail() -> None:
    raise ZeroDivisionError


def in_block() -> None:
    """What the block of a test does, if it does nothing."""


class TestOrder:
    async def test_the_last_one_is_closed_first(
        self, watches: Watches, sqlite: Any, closed: list[Any]
    ) -> None:
        first, second, third = sqlite(), sqlite(), sqlite()
        for block in both(lambda: make(watches, first, second=second, third=third)):
            await block(lambda: closed.append("block"))
            assert ["block", third, second, first] == closed
            closed.clear()

    def test_the_block_gets_the_watches(self, watches: Watches, sqlite: Any) -> None:
        engine = sqlite(pool_logging_name="own")
        with make(watches, engine, other=sqlite()) as found:
            assert ["own", "other"] == [watch.name for watch in found]
            assert watches.watch(engine) is found[0]

    def test_a_pool_that_is_watched_with_other_options_keeps_them(
        self, watches: Watches, sqlite: Any, clock: Any
    ) -> None:
        engine = sqlite()
        watch = watches.watch(engine, "orders", leak_after=5.0, registry=None)
        with make(watches, orders=engine) as found, engine.connect():
            assert [watch] == list(found)
            clock.advance(6.0)
            assert 1 == watch.snapshot().overdue

    async def test_a_pool_of_asyncpg_that_was_never_opened(self, watches: Watches) -> None:
        pool = asyncpg.create_pool("postgresql://nowhere.invalid/x", min_size=0)
        async with make(watches, orders=pool) as (watch,):
            pass
        assert 0 == watch.snapshot().in_use

    def test_the_public_function(self, sqlite: Any, closed: list[Any]) -> None:
        first, second = sqlite(), sqlite()
        with poolscope.lifespan(first, orders=second, timeout=1) as found:
            assert "orders" == found[1].name
        assert [second, first] == closed
        for watch in found:
            watch.unwatch()


class TestStart:
    @pytest.mark.parametrize("how", [0, 1], ids=["with", "async with"])
    async def test_an_object_that_is_no_pool(self, watches: Watches, sqlite: Any, how: int) -> None:
        block = both(lambda: make(watches, sqlite(), orders="postgresql://secret@host/db"))[how]
        with pytest.raises(TypeError, match="cannot watch an object of type str; supported are"):
            await block(in_block)
        assert [] == watches.snapshots()

    def test_a_pool_that_needs_an_event_loop(self, watches: Watches, sqlite: Any) -> None:
        engine = create_async_engine("postgresql+asyncpg://h/d")
        for target in (engine, engine.sync_engine, engine.pool):
            with (
                pytest.raises(
                    TypeError,
                    match=re.escape(
                        "the sqlalchemy pool 'orders' is closed in an event loop; write "
                        "`async with poolscope.lifespan(...)`"
                    ),
                ),
                make(watches, sqlite(), orders=target),
            ):
                pytest.fail("the block has begun")
        assert [] == watches.snapshots()

    @pytest.mark.parametrize("how", [0, 1], ids=["with", "async with"])
    async def test_all_are_watched_or_none(
        self, watches: Watches, sqlite: Any, closed: list[Any], how: int
    ) -> None:
        """One engine cannot have two names, which is seen when it has the first one."""
        engine, before = sqlite(), sqlite()
        kept = watches.watch(before, "before", registry=None)
        block = both(lambda: make(watches, before, a=engine, b=engine))[how]
        with pytest.raises(ValueError, match="already watched as 'a', and cannot be watched as"):
            await block(in_block)
        assert ([kept.snapshot()], []) == (watches.snapshots(), closed)

    @pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "10", True])
    def test_a_time_limit_that_is_none(self, watches: Watches, sqlite: Any, timeout: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="timeout must be "):
            make(watches, sqlite(), timeout=timeout)

    def test_a_block_in_itself(self, watches: Watches, sqlite: Any) -> None:
        twice = make(watches, sqlite())
        with twice, pytest.raises(RuntimeError, match="has begun already"), twice:
            pytest.fail("the block has begun")


@pytest.mark.parametrize("how", [0, 1], ids=["with", "async with"])
class TestErrorsOfClosing:
    async def test_all_are_closed_and_the_first_error_is_raised(
        self,
        watches: Watches,
        sqlite: Any,
        closed: list[Any],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        how: int,
    ) -> None:
        first, second, third = sqlite(), sqlite(), sqlite()
        errors = FailingError("of the third"), FailingError("of the second")
        fail_with(third, errors[0], monkeypatch)
        fail_with(second, errors[1], monkeypatch)
        with pytest.raises(FailingError, match="of the third") as raised:
            await both(lambda: make(watches, first, second=second, third=third))[how](in_block)
        note = "pool 'second' (sqlalchemy): closing it has failed: FailingError: of the second"
        assert (errors[0], [note], [first]) == (raised.value, raised.value.__notes__, closed)
        assert [
            ("pool 'third' (sqlalchemy): closing it has failed", errors[0]),
            ("pool 'second' (sqlalchemy): closing it has failed", errors[1]),
        ] == [(line.getMessage(), line.exc_info and line.exc_info[1]) for line in caplog.records]

    async def test_what_the_block_raises_is_raised(
        self, watches: Watches, sqlite: Any, monkeypatch: pytest.MonkeyPatch, how: int
    ) -> None:
        engine = sqlite()
        fail_with(engine, FailingError("at the end"), monkeypatch)
        with pytest.raises(ZeroDivisionError) as raised:
            await both(lambda: make(watches, orders=engine))[how](fail)
        assert [
            "pool 'orders' (sqlalchemy): closing it has failed: FailingError: at the end"
        ] == raised.value.__notes__

    async def test_an_interruption_is_raised_before_all_others(
        self,
        watches: Watches,
        sqlite: Any,
        closed: list[Any],
        monkeypatch: pytest.MonkeyPatch,
        how: int,
    ) -> None:
        first, second, third = sqlite(), sqlite(), sqlite()
        fail_with(third, FailingError("at the end"), monkeypatch)
        fail_with(second, Interruption(), monkeypatch)
        with pytest.raises(Interruption) as raised:
            await both(lambda: make(watches, first, second=second, third=third))[how](in_block)
        assert 1 == len(raised.value.__notes__)
        assert [second, first] == closed  # what was interrupted is tried again

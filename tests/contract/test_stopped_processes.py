"""A process that did not run is not to blame for its holds: for every kind of pool."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.process.pauses import BEATS, Pauses
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches


@pytest.fixture
def watches(clock: FakeClock) -> Watches:
    """Watches of a process that uses no CPU time: what is missed is a pause."""
    return Watches(clock, pauses=Pauses(clock, lambda: 0.0))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches, registry: CollectorRegistry) -> Watch:
    return watches.watch(pool.target, "pool", leak_after=5.0, registry=registry)


def is_looked_at(watch: Watch, clock: FakeClock, times: int = BEATS + 1) -> None:
    for _ in range(times):
        clock.advance(0.1)
        watch.snapshot()


def leaks(watch: Watch) -> tuple[int, int, int]:
    """Return how many holds are overdue, have ever been, and were returned after that."""
    now = watch.snapshot()
    return now.overdue, now.leaks_overdue, now.leaks_recovered


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    records: list[Any] = [record for record in caplog.records if hasattr(record, "poolscope")]
    return [record.poolscope["event"] for record in records]


async def test_a_pause_is_not_a_hold(
    pool: PoolUnderTest,
    watch: Watch,
    registry: CollectorRegistry,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def overdue() -> Any:
        labels = {"pool": "pool", "kind": pool.kind, "reason": "overdue"}
        return registry.get_sample_value("connpool_leaked", labels)

    is_looked_at(watch, clock)
    held = [await pool.acquire() for _ in range(2)]
    clock.advance(20.0)
    assert ((0, 0, 0), []) == (leaks(watch), logged(caplog))
    assert [False, False] == [hold.overdue for hold in watch.holders()]
    assert [20.0, 20.0] == [hold.held_seconds for hold in watch.holders()]
    assert 0.0 == overdue()
    # What is held on is overdue once the process has run for as long.
    await pool.release(held.pop())
    for _ in range(48):
        clock.advance(0.1)
        assert (0, 0, 0) == leaks(watch)
    clock.advance(0.3)
    assert ((1, 1, 0), ["overdue"]) == (leaks(watch), logged(caplog))
    await pool.release(held.pop())
    assert (0, 1, 1) == leaks(watch)


async def test_what_is_returned_at_once_after_a_pause_was_not_overdue(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    is_looked_at(watch, clock)
    held = await pool.acquire()
    clock.advance(20.0)
    await pool.release(held)
    assert ((0, 0, 0), []) == (leaks(watch), logged(caplog))
    assert 20.0 == watch.snapshot().in_use_seconds


async def test_what_was_overdue_before_a_pause_still_is(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    held = await pool.acquire()
    clock.advance(5.5)
    is_looked_at(watch, clock)
    clock.advance(20.0)
    assert ((1, 1, 0), ["overdue"]) == (leaks(watch), logged(caplog))
    await pool.release(held)
    assert (0, 1, 1) == leaks(watch)


async def test_a_process_that_only_sleeps_has_overdue_holds(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    """Nothing tells it from one that was stopped, so it counts."""
    held = await pool.acquire()
    clock.advance(20.0)
    assert (1, 1, 0) == leaks(watch)
    await pool.release(held)


async def test_holds_over_many_pauses_become_overdue_by_the_time_between(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    is_looked_at(watch, clock)
    first = await pool.acquire()
    for number in range(5):
        clock.advance(20.0 * 3.0**number)  # each is longer than what is usual by then
        watch.snapshot()
        is_looked_at(watch, clock)
        assert (0, 0, 0) == leaks(watch)
    second = await pool.acquire()
    is_looked_at(watch, clock, 45)
    assert [True, False] == [hold.overdue for hold in watch.holders()]
    assert (1, 1, 0) == leaks(watch)
    for held in (first, second):
        await pool.release(held)

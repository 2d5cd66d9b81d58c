"""Holders are ordered by age, the longest hold first, whatever the order of acquiring."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest

from poolscope.callsites.borrower import UNKNOWN_BORROWER
from poolscope.ledger.hold_records import MAX_LEAK_EVENTS
from poolscope.ledger.ledger import Ledger
from poolscope.readings.holders import Hold
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches


def ages(holds: Iterable[Hold]) -> list[float]:
    return [hold.held_seconds for hold in holds]


def test_of_one_pool(clock: FakeClock) -> None:
    ledger = Ledger(Limits(9, 9, 0), clock)
    for key, since in (("b", 2.0), ("c", 1.0), ("a", 3.0)):
        ledger.served(key, clock() - since, clock() - since)
    assert [3.0, 2.0, 1.0] == [holder.held_seconds for holder in ledger.holders()]


def test_of_pools_of_one_watch(watches: Watches, clock: FakeClock, sqlite: Any) -> None:
    engine = sqlite()
    watch = watches.watch(engine, registry=None)
    before = engine.pool
    engine.dispose()
    with engine.connect():
        clock.advance(2.0)
        late = before.connect()
        clock.advance(1.0)
        assert [3.0, 1.0] == ages(watch.holders())
        late.close()
    before.dispose()


def test_of_all_pools(watches: Watches, clock: FakeClock, sqlite: Any) -> None:
    engines = [sqlite() for _ in range(3)]
    for number, engine in enumerate(engines):
        watches.watch(engine, f"pool-{number}", registry=None)
    held = []
    for number in (1, 2, 0):
        held.append(engines[number].connect())
        clock.advance(1.0)
    assert [("pool-1", 3.0), ("pool-2", 2.0), ("pool-0", 1.0)] == [
        (hold.pool, hold.held_seconds) for hold in watches.holders()
    ]
    for connection in held:
        connection.close()


def test_the_repr_of_a_watch_names_its_pool(watches: Watches, sqlite: Any) -> None:
    engine = sqlite()
    watch = watches.watch(engine, "orders", registry=None)
    assert "<poolscope.Watch 'orders' (sqlalchemy)>" == repr(watch)


def test_the_last_leak_events_are_kept_when_nobody_logs_them(
    clock: FakeClock,
) -> None:
    ledger = Ledger(Limits(math.inf, math.inf, 0), clock, leak_after=0.5)
    for number in range(MAX_LEAK_EVENTS + 5):
        ledger.served(number, clock() - number, clock() - number, UNKNOWN_BORROWER)
    clock.advance(1.0)
    ledger.check_overdue(clock())
    expected = [float(number + 1) for number in range(5, MAX_LEAK_EVENTS + 5)]
    assert expected == [event.held_seconds for event in ledger.leak_events]


@pytest.mark.parametrize("waiting", [1, 3])
def test_the_peak_of_waiting_callers_is_exact(clock: FakeClock, waiting: int) -> None:
    ledger = Ledger(Limits(1, 1, 0), clock)
    for number in range(waiting):
        ledger.waiting(number, clock())
    for number in range(waiting):
        ledger.stopped_waiting(number, clock())
    assert (0, waiting) == (ledger.read().waiting, ledger.read().waiting_peak)

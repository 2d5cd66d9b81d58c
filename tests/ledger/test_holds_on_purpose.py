"""A hold that begins or ends to be held on purpose while it lasts."""

from __future__ import annotations

import pytest

import poolscope
from poolscope.ledger.ledger import Ledger
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from support.segments import who


@pytest.fixture
def ledger(clock: FakeClock) -> Ledger:
    return Ledger(Limits(3, 3, 0), clock, 5.0)


def leaks(ledger: Ledger) -> tuple[float, float, float]:
    """Return how many are overdue, ever were, and were returned after that."""
    now = ledger.read()
    return now.overdue, now.leaks_overdue, now.leaks_recovered


def holds(ledger: Ledger) -> list[tuple[bool, bool]]:
    """Return for each hold whether it is on purpose, and overdue."""
    return [(holder.on_purpose, holder.overdue) for holder in ledger.holders()]


def serve(ledger: Ledger, clock: FakeClock, key: str = "a", owner: str = "Task-1") -> None:
    ledger.served(key, clock(), clock(), who("use", owner))


def events(ledger: Ledger, clock: FakeClock) -> list[str]:
    """Return what the log has to report, once."""
    ledger.check_overdue(clock())
    reported: list[str] = [leak.event for leak in ledger.leak_events]
    ledger.leak_events.clear()
    return reported


def test_it_is_not_overdue_while_it_is_on_purpose(ledger: Ledger, clock: FakeClock) -> None:
    serve(ledger, clock)
    ledger.purpose_changed("a", clock(), True)
    clock.advance(100.0)
    assert [(True, False)] == holds(ledger)
    assert (0, 0, 0) == leaks(ledger)
    assert [] == events(ledger, clock)
    ledger.returned("a", clock())
    assert (0, 0, 0) == leaks(ledger)
    assert 100.0 == ledger.read().in_use_seconds


def test_its_age_counts_again_from_when_it_no_longer_is(ledger: Ledger, clock: FakeClock) -> None:
    serve(ledger, clock)
    ledger.purpose_changed("a", clock(), True)
    clock.advance(100.0)
    ledger.purpose_changed("a", clock(), False)
    clock.advance(5.0)
    assert [(False, False)] == holds(ledger)
    assert [] == events(ledger, clock)
    clock.advance(0.5)
    assert [(False, True)] == holds(ledger)
    assert (1, 1, 0) == leaks(ledger)
    assert ["overdue"] == events(ledger, clock)
    assert [] == events(ledger, clock)
    ledger.returned("a", clock())
    assert (0, 1, 1) == leaks(ledger)
    assert ["recovered"] == events(ledger, clock)


def test_one_that_was_overdue_before_has_been_for_ever(ledger: Ledger, clock: FakeClock) -> None:
    serve(ledger, clock)
    clock.advance(6.0)
    assert (1, 1, 0) == leaks(ledger)
    ledger.purpose_changed("a", clock(), True)
    assert (0, 1, 0) == leaks(ledger)
    ledger.returned("a", clock())
    assert (0, 1, 0) == leaks(ledger)


def test_to_say_it_twice_changes_nothing(ledger: Ledger, clock: FakeClock) -> None:
    serve(ledger, clock)
    serve(ledger, clock, "b")
    for on_purpose in (True, True, False, False):
        ledger.purpose_changed("a", clock(), on_purpose)
    assert [(False, False)] * 2 == holds(ledger)
    assert [2] == list(ledger.holds.holds_by_borrower.values())
    ledger.returned("a", clock())
    ledger.purpose_changed("a", clock(), True)  # of one that is not in use
    ledger.returned("b", clock())
    assert ({}, {}) == (ledger.holds.holds_by_borrower, ledger.holds.purposes)


def test_what_the_caller_said_stays_so(ledger: Ledger, clock: FakeClock) -> None:
    with poolscope.held_on_purpose():
        serve(ledger, clock)
    ledger.purpose_changed("a", clock(), True)
    ledger.purpose_changed("a", clock(), False)
    assert [(True, False)] == holds(ledger)
    ledger.returned("a", clock())
    serve(ledger, clock)
    assert [(False, False)] == holds(ledger)


def test_it_is_no_partner_of_nesting_while_it_is_on_purpose(
    ledger: Ledger, clock: FakeClock
) -> None:
    serve(ledger, clock)
    for nested, on_purpose in ((0, True), (1, False)):
        ledger.purpose_changed("a", clock(), on_purpose)
        ledger.asked(who("use"), clock())
        assert nested == ledger.read().nested
    ledger.asked(who("use"), clock(), on_purpose=True)
    with poolscope.held_on_purpose():
        ledger.asked(who("use"), clock())
    assert 1 == ledger.read().nested


def test_one_that_is_lost_is_abandoned(ledger: Ledger, clock: FakeClock) -> None:
    holder = [object()]
    with poolscope.held_on_purpose():
        ledger.served("a", clock(), clock(), who("use"), lambda: holder[0] if holder else None)
    ledger.purpose_changed("a", clock(), True)
    holder.clear()
    ledger.returned("a", clock())
    now = ledger.read()
    assert (0, 1) == (now.in_use, now.leaks_abandoned)

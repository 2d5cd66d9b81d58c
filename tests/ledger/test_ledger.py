"""The events of a ledger: gauges, counters, sums of seconds, histograms and slots."""

from __future__ import annotations

import math

import pytest

from poolscope.callsites.borrower import Borrower
from poolscope.ledger import cells
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.ledger.state import MAX_HOLD_SLOTS
from poolscope.readings.buckets import ACQUIRE_BUCKETS, HOLD_BUCKETS
from poolscope.readings.limits import Limits
from poolscope.readings.reading import Histogram, Reading, sum_readings
from poolscope.testing import FakeClock
from support.histograms import count_of


def gauges(reading: Reading) -> tuple[float, float, float, float]:
    return reading.in_use, reading.idle, reading.opening, reading.waiting


def observed(bounds: tuple[float, ...], *seconds: float) -> Histogram:
    """Return the histogram of these observations, computed the slow and obvious way."""
    counts = [0.0] * (len(bounds) + 1)
    for second in seconds:
        counts[sum(bound < second for bound in bounds)] += 1
    return *counts, sum(seconds)


def test_a_connection_is_opened_held_returned_and_closed(ledger: Ledger, clock: FakeClock) -> None:
    ledger.opening("attempt", clock())
    assert (0, 0, 1, 0) == gauges(ledger.read())
    ledger.opened("attempt", "a", clock(), 0.2, True)
    assert (1, 0, 0, 0) == gauges(ledger.read())
    ledger.served("a", clock(), clock() - 0.25, reused=False)
    clock.advance(4.0)
    assert 4.0 == ledger.read().oldest_hold_seconds
    ledger.returned("a", clock())
    assert (0, 1, 0, 0) == gauges(ledger.read())
    ledger.closed("a", clock())

    reading = ledger.read()
    assert (0, 0, 0, 0) == gauges(reading)
    assert (1, 1, 1, 0, 4.0) == (
        reading.acquired, reading.opened, reading.closed, reading.reused, reading.in_use_seconds,
    )  # fmt: skip
    assert observed(HOLD_BUCKETS, 4.0) == reading.hold_seconds
    assert observed(ACQUIRE_BUCKETS, 0.25) == reading.acquire_seconds


@pytest.mark.parametrize("event", ["returned", "closed", "stopped_waiting", "open_failed"])
def test_ending_what_did_not_begin_changes_nothing(
    ledger: Ledger, clock: FakeClock, event: str
) -> None:
    ledger.adopted("a", clock(), True)
    ledger.served("a", clock(), clock())
    ledger.returned("a", clock())
    before = ledger.read()

    if event == "returned":
        ledger.returned("a", clock())
    elif event == "open_failed":
        ledger.open_failed("never", clock(), 1.0)
    else:
        getattr(ledger, event)("never", clock())
    assert before == ledger.read()


def test_beginning_twice_counts_once(ledger: Ledger, clock: FakeClock) -> None:
    for _ in range(3):
        ledger.taken("a", clock())
        ledger.waiting("caller", clock())
        ledger.opening("attempt", clock())
    assert (1, 0, 1, 1) == gauges(ledger.read())
    assert 1 == ledger.read().opened


def test_a_connection_that_another_caller_takes_over_has_one_hold_after_the_other(
    ledger: Ledger, clock: FakeClock
) -> None:
    ledger.served("a", clock(), clock())
    clock.advance(1.0)
    ledger.served("a", clock(), clock())
    clock.advance(2.0)
    ledger.returned("a", clock())
    assert observed(HOLD_BUCKETS, 1.0, 2.0) == ledger.read().hold_seconds


def test_closing_a_connection_in_use_ends_its_hold(ledger: Ledger, clock: FakeClock) -> None:
    ledger.served("a", clock(), clock())
    clock.advance(1.0)
    ledger.closed("a", clock())
    reading = ledger.read()
    assert (0, 0, 0, 0) == gauges(reading)
    assert observed(HOLD_BUCKETS, 1.0) == reading.hold_seconds


def test_sums_of_seconds_are_weighted_by_time(ledger: Ledger, clock: FakeClock) -> None:
    ledger.served("a", clock(), clock())
    clock.advance(1.0)
    ledger.served("b", clock(), clock())
    ledger.waiting("caller", clock())
    clock.advance(2.0)
    ledger.returned("a", clock())
    clock.advance(4.0)
    reading = ledger.read()
    assert (1 * 1.0 + 2 * 2.0 + 1 * 4.0, 6.0, 2.0) == (
        reading.in_use_seconds, reading.waiting_seconds, reading.saturated_seconds,
    )  # fmt: skip
    ledger.stopped_waiting("caller", clock())
    clock.advance(1.0)
    assert 6.0 == ledger.read().waiting_seconds


def test_waiting_seconds_include_waits_that_have_ended(ledger: Ledger, clock: FakeClock) -> None:
    ledger.waiting("caller", clock())
    clock.advance(2.0)
    ledger.stopped_waiting("caller", clock())
    assert 2.0 == ledger.read().waiting_seconds


def test_a_pool_stays_saturated_while_callers_wait(ledger: Ledger, clock: FakeClock) -> None:
    """While callers wait, each connection that is returned goes to one of them at once."""
    for key in "ab":
        ledger.served(key, clock(), clock())
    ledger.waiting("caller", clock())
    clock.advance(2.0)
    assert ledger.end("a", clock())
    clock.advance(0.5)
    who = Borrower(None, 0, "other", "Task-1")
    assert ledger.begin("a", clock(), ALWAYS_HELD, 2, who) is None
    assert 2.5 == ledger.read().saturated_seconds
    ledger.stopped_waiting("caller", clock())
    clock.advance(1.0)
    assert ledger.end("a", clock())
    clock.advance(1.0)
    assert 3.5 == ledger.read().saturated_seconds
    assert 2 == ledger.read().in_use_peak


def test_a_connection_that_is_being_opened_takes_a_slot(ledger: Ledger, clock: FakeClock) -> None:
    ledger.served("a", clock(), clock())
    ledger.opening("attempt", clock())
    clock.advance(3.0)
    assert 3.0 == ledger.read().saturated_seconds


def test_a_pool_without_a_limit_is_never_saturated(clock: FakeClock) -> None:
    ledger = Ledger(Limits(math.inf, math.inf, 0), clock)
    for key in range(50):
        ledger.served(key, clock(), clock())
    clock.advance(9.0)
    reading = ledger.read()
    assert (50, math.inf, 0.0) == (reading.in_use, reading.limit, reading.saturated_seconds)


def test_a_clock_that_steps_back_lowers_no_sum(ledger: Ledger, clock: FakeClock) -> None:
    ledger.served("a", clock(), clock())
    clock.advance(5.0)
    ledger.served("b", clock(), clock())
    assert 5.0 == ledger.read().in_use_seconds
    clock.advance(-3.0)
    ledger.returned("b", clock())
    assert 5.0 == ledger.read().in_use_seconds
    assert observed(HOLD_BUCKETS, 0.0) == ledger.read().hold_seconds


def test_holds_and_waits_beyond_the_slots_are_counted_too(clock: FakeClock) -> None:
    ledger = Ledger(Limits(math.inf, math.inf, 0), clock)
    many = MAX_HOLD_SLOTS + cells.WAIT_SLOTS + 10
    for key in range(many):
        ledger.served(key, clock(), clock())
        ledger.waiting(key, clock())
        clock.advance(1.0)
    reading = ledger.read()
    assert (many, many) == (reading.in_use, reading.waiting)

    for key in range(many - 1):
        ledger.returned(key, clock())
        ledger.stopped_waiting(key, clock())
    reading = ledger.read()
    assert (1, 1) == (reading.in_use, reading.waiting)
    assert (1.0, 1.0) == (reading.oldest_hold_seconds, reading.oldest_wait_seconds)
    assert many - 1 == count_of(reading.hold_seconds)

    ledger.served("again", clock(), clock())
    clock.advance(5.0)
    ledger.returned(many - 1, clock())
    assert 5.0 == ledger.read().oldest_hold_seconds


def test_a_retired_ledger_has_no_limit_but_still_has_its_open_connections(
    ledger: Ledger, clock: FakeClock
) -> None:
    ledger.served("a", clock(), clock())
    ledger.retired(clock())
    reading = ledger.read()
    assert (1, 0, 0, 0) == (reading.in_use, reading.limit, reading.idle_limit, reading.instances)
    ledger.emptied(clock())
    assert Reading().live is ledger.read().live is False
    assert (1, 1, 0) == (ledger.read().opened, ledger.read().closed, ledger.read().in_use_peak)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.0001, 0.00010001, 1.0, 60.0, 60.1, 1e9])
def test_an_observation_is_in_the_bucket_whose_bound_it_does_not_exceed(
    ledger: Ledger, seconds: float
) -> None:
    ledger.finished(cells.ERROR, seconds, None)
    assert observed(ACQUIRE_BUCKETS, seconds) == ledger.read().acquire_seconds


def test_readings_of_two_pools_add_up(clock: FakeClock) -> None:
    one = Reading(in_use=1, limit=5, in_use_peak=4, oldest_hold_seconds=3.0, acquired=7)
    two = Reading(in_use=2, limit=math.inf, in_use_peak=2, oldest_hold_seconds=9.0, acquired=1)
    expected = Reading(in_use=3, limit=math.inf, in_use_peak=6, oldest_hold_seconds=9.0, acquired=8)
    assert expected == sum_readings([one, two])
    assert Reading(acquired=8) == sum_readings([one, two]).counters_only()
    assert (Reading(), one) == (sum_readings([]), sum_readings([one]))

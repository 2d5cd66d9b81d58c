"""The ledger by itself: sets, sums over time, peaks, slots, and what comes in between."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from poolscope.callsites.borrower import UNKNOWN_BORROWER, Borrower
from poolscope.ledger import cells
from poolscope.ledger.holds import ALWAYS_HELD
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.state import MAX_HOLD_SLOTS
from poolscope.readings.buckets import ACQUIRE_BUCKETS, HOLD_BUCKETS
from poolscope.readings.limits import Limits
from poolscope.readings.reading import Histogram, Reading, sum_readings
from poolscope.testing import FakeClock
from support.histograms import count_of


@pytest.fixture
def ledger(clock: FakeClock) -> Ledger:
    return Ledger(Limits(limit=2, idle_limit=2, idle_floor=0), clock)


def gauges(reading: Reading) -> tuple[float, float, float, float]:
    return reading.in_use, reading.idle, reading.opening, reading.waiting


def observed(bounds: tuple[float, ...], *seconds: float) -> Histogram:
    """Return the histogram of these observations, the slow and obvious way."""
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
def test_what_did_not_begin_cannot_end(ledger: Ledger, clock: FakeClock, event: str) -> None:
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


def test_what_has_begun_does_not_begin_again(ledger: Ledger, clock: FakeClock) -> None:
    for _ in range(3):
        ledger.taken("a", clock())
        ledger.waiting("caller", clock())
        ledger.opening("attempt", clock())
    assert (1, 0, 1, 1) == gauges(ledger.read())
    assert 1 == ledger.read().opened


def test_a_connection_that_is_shared_is_one_hold_after_the_other(
    ledger: Ledger, clock: FakeClock
) -> None:
    ledger.served("a", clock(), clock())
    clock.advance(1.0)
    ledger.served("a", clock(), clock())
    clock.advance(2.0)
    ledger.returned("a", clock())
    assert observed(HOLD_BUCKETS, 1.0, 2.0) == ledger.read().hold_seconds


def test_a_connection_that_is_lost_while_it_is_out_ends_its_hold(
    ledger: Ledger, clock: FakeClock
) -> None:
    ledger.served("a", clock(), clock())
    clock.advance(1.0)
    ledger.closed("a", clock())
    reading = ledger.read()
    assert (0, 0, 0, 0) == gauges(reading)
    assert observed(HOLD_BUCKETS, 1.0) == reading.hold_seconds


def test_sums_are_of_what_was_at_every_moment(ledger: Ledger, clock: FakeClock) -> None:
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


def test_time_in_the_queue_is_there_when_it_has_ended(ledger: Ledger, clock: FakeClock) -> None:
    ledger.waiting("caller", clock())
    clock.advance(2.0)
    ledger.stopped_waiting("caller", clock())
    assert 2.0 == ledger.read().waiting_seconds


def test_a_slot_that_is_taken_at_once_was_never_free(ledger: Ledger, clock: FakeClock) -> None:
    """While callers wait, each connection that comes back goes to one of them."""
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


def test_connections_that_are_being_opened_take_a_slot(ledger: Ledger, clock: FakeClock) -> None:
    ledger.served("a", clock(), clock())
    ledger.opening("attempt", clock())
    clock.advance(3.0)
    assert 3.0 == ledger.read().saturated_seconds


def test_without_a_limit_it_is_never_saturated(clock: FakeClock) -> None:
    ledger = Ledger(Limits(math.inf, math.inf, 0), clock)
    for key in range(50):
        ledger.served(key, clock(), clock())
    clock.advance(9.0)
    reading = ledger.read()
    assert (50, math.inf, 0.0) == (reading.in_use, reading.limit, reading.saturated_seconds)


def test_a_clock_that_steps_back_takes_nothing_away(ledger: Ledger, clock: FakeClock) -> None:
    ledger.served("a", clock(), clock())
    clock.advance(5.0)
    ledger.served("b", clock(), clock())
    assert 5.0 == ledger.read().in_use_seconds
    clock.advance(-3.0)
    ledger.returned("b", clock())
    assert 5.0 == ledger.read().in_use_seconds
    assert observed(HOLD_BUCKETS, 0.0) == ledger.read().hold_seconds


class TestPeaks:
    """The highest value of at least the last 60 and at most the last 120 seconds."""

    def peak_after(self, ledger: Ledger, clock: FakeClock, seconds: float) -> float:
        clock.advance(seconds)
        return ledger.read().in_use_peak

    def burst(self, ledger: Ledger, clock: FakeClock) -> None:
        for key in "ab":
            ledger.served(key, clock(), clock())
        for key in "ab":
            ledger.returned(key, clock())

    def test_a_burst_is_seen_for_a_minute_whoever_reads(
        self, ledger: Ledger, clock: FakeClock
    ) -> None:
        clock.advance(59.0)
        self.burst(ledger, clock)
        assert [2, 2, 2] == [self.peak_after(ledger, clock, 20.0) for _ in range(3)]
        assert 0 == self.peak_after(ledger, clock, 61.0)

    def test_a_burst_is_forgotten_after_two_minutes_at_the_latest(
        self, ledger: Ledger, clock: FakeClock
    ) -> None:
        self.burst(ledger, clock)
        assert 2 == self.peak_after(ledger, clock, 119.0)
        assert 0 == self.peak_after(ledger, clock, 1.0)

    def test_events_rotate_the_windows_as_readings_do(
        self, ledger: Ledger, clock: FakeClock
    ) -> None:
        self.burst(ledger, clock)
        clock.advance(61.0)
        ledger.served("a", clock(), clock())
        assert 2 == ledger.read().in_use_peak
        ledger.returned("a", clock())
        assert 1 == self.peak_after(ledger, clock, 60.0)

    def test_what_stays_the_same_for_long_is_a_peak_too(
        self, ledger: Ledger, clock: FakeClock
    ) -> None:
        ledger.served("a", clock(), clock())
        ledger.waiting("caller", clock())
        clock.advance(1000.0)
        ledger.returned("a", clock())
        ledger.stopped_waiting("caller", clock())
        assert (1, 1) == (ledger.read().in_use_peak, ledger.read().waiting_peak)


def test_more_holds_and_waits_than_slots_are_counted_all_the_same(clock: FakeClock) -> None:
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


def test_a_retired_ledger_has_no_limit_and_no_instance_but_what_is_left(
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


class Finaliser:
    """Returns a connection when it is finalised."""

    def __init__(self, ledger: Ledger, key: Any) -> None:
        self.ledger, self.key = ledger, key

    def __del__(self) -> None:
        self.ledger.returned(self.key, self.ledger.clock())


def test_events_that_a_finaliser_brings_into_the_recorder_are_neither_lost_nor_stuck(
    clock: FakeClock,
) -> None:
    ledger = Ledger(Limits(math.inf, math.inf, 0), clock)
    lost: list[Finaliser] = []
    interrupted = []

    class Key:
        """Is hashed inside the recorder, and has a finaliser run there."""

        def __init__(self, number: int) -> None:
            self.number = number

        def __hash__(self) -> int:
            if lost:
                interrupted.append(lost.pop())
                interrupted.clear()
            return self.number

    total = 200
    for number in range(total):
        ledger.served(f"lost {number}", clock(), clock())
        lost.append(Finaliser(ledger, f"lost {number}"))
        key = Key(number)
        ledger.served(key, clock(), clock())
        assert not lost
        ledger.returned(key, clock())
    reading = ledger.read()
    assert (0, 2 * total) == (reading.in_use, reading.idle)
    assert 2 * total == count_of(reading.hold_seconds)


def test_who_returns_it_while_others_are_counted_may_let_go_of_it_at_once(
    ledger: Ledger, clock: FakeClock
) -> None:
    there: list[int] = [1]
    with ledger.reading_lock():  # another thread has the lock
        ledger.served("a", clock(), clock(), holder_ref=lambda: there[0] if there else None)
        ledger.returned("a", clock())
        there.clear()
    assert (1, 0, 0) == (
        count_of(ledger.read().hold_seconds), ledger.read().leaks_abandoned, ledger.read().in_use,
    )  # fmt: skip


@pytest.mark.parametrize("served_before", [True, False], ids=["served before", "served meanwhile"])
@pytest.mark.parametrize("end", ["returned", "closed"])
def test_who_drops_it_while_others_are_counted_is_named(
    ledger: Ledger, clock: FakeClock, served_before: bool, end: str
) -> None:
    """Another thread makes numbers just now, and the one before has returned the connection."""
    there: list[int] = [1]
    drops: tuple[Any, ...] = (
        "a",
        clock(),
        clock(),
        UNKNOWN_BORROWER,
        lambda: there[0] if there else None,
    )
    if served_before:
        ledger.served(*drops)
    with ledger.reading_lock():
        if not served_before:
            ledger.served("a", clock(), clock())
            ledger.returned("a", clock())
            ledger.served(*drops)
        there.clear()
        getattr(ledger, end)("a", clock())
        if end == "returned":
            ledger.served("a", clock(), clock())
    assert 1 == ledger.read().leaks_abandoned
    assert [False] * (end == "returned") == [holder.abandoned for holder in ledger.holders()]


def test_who_has_it_by_the_time_that_it_is_closed_has_not_dropped_it(
    ledger: Ledger, clock: FakeClock
) -> None:
    def let_go() -> int | None:
        if between:
            return 1
        between.append(1)
        ledger.returned("a", clock())
        ledger.served("a", clock(), clock())
        return None

    between: list[int] = []
    ledger.served("a", clock(), clock(), holder_ref=let_go)
    with ledger.reading_lock():  # another thread has the lock
        ledger.closed("a", clock())
    assert between
    assert (2, 0) == (count_of(ledger.read().hold_seconds), ledger.read().leaks_abandoned)


def test_a_reader_that_interrupts_a_recorder_does_not_wait_for_ever(
    ledger: Ledger, clock: FakeClock
) -> None:
    readings = []

    class Key:
        def __hash__(self) -> int:
            readings.append(ledger.read())
            return 1

    ledger.served("a", clock(), clock())
    ledger.served(Key(), clock(), clock())
    assert 1 == readings[0].in_use
    assert 2 == ledger.read().in_use


def test_no_event_is_lost_between_threads(clock: FakeClock) -> None:
    ledger = Ledger(Limits(math.inf, math.inf, 0), clock)
    threads, rounds = 8, 500
    start = threading.Barrier(threads)

    def use(number: int) -> None:
        start.wait()
        for turn in range(rounds):
            key = (number, turn)
            ledger.served(key, clock(), clock() - 0.001, reused=False)
            ledger.waiting(key, clock())
            ledger.stopped_waiting(key, clock())
            ledger.returned(key, clock())
            ledger.closed(key, clock())

    running = [threading.Thread(target=use, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    reading = ledger.read()
    total = threads * rounds
    assert (0, 0, 0, 0) == gauges(reading)
    assert (total, total, total) == (reading.acquired, reading.opened, reading.closed)
    assert total == count_of(reading.hold_seconds) == count_of(reading.acquire_seconds)


def test_readings_of_two_pools_add_up(clock: FakeClock) -> None:
    one = Reading(in_use=1, limit=5, in_use_peak=4, oldest_hold_seconds=3.0, acquired=7)
    two = Reading(in_use=2, limit=math.inf, in_use_peak=2, oldest_hold_seconds=9.0, acquired=1)
    expected = Reading(in_use=3, limit=math.inf, in_use_peak=6, oldest_hold_seconds=9.0, acquired=8)
    assert expected == sum_readings([one, two])
    assert Reading(acquired=8) == sum_readings([one, two]).counters_only()
    assert (Reading(), one) == (sum_readings([]), sum_readings([one]))

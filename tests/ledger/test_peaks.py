"""The peaks: the highest value of at least the last 60 and at most the last 120 seconds."""

from __future__ import annotations

from poolscope.ledger.ledger import Ledger
from poolscope.testing import FakeClock


def peak_after(ledger: Ledger, clock: FakeClock, seconds: float) -> float:
    clock.advance(seconds)
    return ledger.read().in_use_peak


def burst(ledger: Ledger, clock: FakeClock) -> None:
    for key in "ab":
        ledger.served(key, clock(), clock())
    for key in "ab":
        ledger.returned(key, clock())


def test_a_burst_is_a_peak_for_a_minute_however_many_read_it(
    ledger: Ledger, clock: FakeClock
) -> None:
    clock.advance(59.0)
    burst(ledger, clock)
    assert [2, 2, 2] == [peak_after(ledger, clock, 20.0) for _ in range(3)]
    assert 0 == peak_after(ledger, clock, 61.0)


def test_a_burst_is_forgotten_after_two_minutes_at_the_latest(
    ledger: Ledger, clock: FakeClock
) -> None:
    burst(ledger, clock)
    assert 2 == peak_after(ledger, clock, 119.0)
    assert 0 == peak_after(ledger, clock, 1.0)


def test_events_rotate_the_windows_as_readings_do(ledger: Ledger, clock: FakeClock) -> None:
    burst(ledger, clock)
    clock.advance(61.0)
    ledger.served("a", clock(), clock())
    assert 2 == ledger.read().in_use_peak
    ledger.returned("a", clock())
    assert 1 == peak_after(ledger, clock, 60.0)


def test_a_value_that_does_not_change_for_long_is_a_peak_too(
    ledger: Ledger, clock: FakeClock
) -> None:
    ledger.served("a", clock(), clock())
    ledger.waiting("caller", clock())
    clock.advance(1000.0)
    ledger.returned("a", clock())
    ledger.stopped_waiting("caller", clock())
    assert (1, 1) == (ledger.read().in_use_peak, ledger.read().waiting_peak)

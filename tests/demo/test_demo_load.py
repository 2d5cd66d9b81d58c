"""The load of the demo: how many requests, and when."""

from __future__ import annotations

import math

import pytest

from poolscope.demo.load import BURST_SECONDS, STREAMS, SWING_SECONDS, Load, Stream, steady

STREAM = Stream("orders", "POST", "orders", low=10, high=40, burst=100, burst_at=1.0)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.99, False),
        (1.0, True),
        (0.99 + BURST_SECONDS, True),
        (1.0 + BURST_SECONDS, False),
        (1.0 + SWING_SECONDS, True),
    ],
)
def test_a_stream_has_a_burst_once_in_each_swing(seconds: float, expected: bool) -> None:
    assert expected == STREAM.in_burst(seconds)
    assert expected == (STREAM.rate(seconds) == STREAM.burst)


def test_between_bursts_a_stream_swings_between_low_and_high() -> None:
    rates = [STREAM.rate(tenth / 10) for tenth in range(10 * int(SWING_SECONDS))]
    calm = [rate for rate in rates if rate != STREAM.burst]
    assert min(calm) >= STREAM.low
    assert max(calm) == pytest.approx(STREAM.high)
    assert STREAM.rate(1.0 + SWING_SECONDS / 2) == pytest.approx(STREAM.high)


def test_a_stream_without_bursts_has_none() -> None:
    steady = Stream("billing", "GET", "quote", low=1, high=1)
    assert {(False, 1.0)} == {
        (steady.in_burst(second), steady.rate(second)) for second in range(int(SWING_SECONDS))
    }


def test_each_pool_has_a_burst_and_no_two_at_a_time() -> None:
    bursts = [
        [stream.pool for stream in STREAMS if stream.in_burst(tenth / 10)]
        for tenth in range(10 * int(SWING_SECONDS))
    ]
    assert {"orders", "billing", "reports", "upstream"} == {name for at in bursts for name in at}
    assert 1 == max(map(len, bursts))
    assert [] == Load("http://127.0.0.1:1/").bursts()


def test_requests_that_come_at_random_come_at_their_rate() -> None:
    (stream,) = steady({"orders": 20.0})
    assert ("orders", "POST", "orders", {20.0}) == (
        stream.pool,
        stream.method,
        stream.path,
        {stream.rate(second) for second in range(int(SWING_SECONDS))},
    )
    gaps = [stream.gap() for _ in range(20_000)]
    assert sum(gaps) / len(gaps) == pytest.approx(1.0, rel=0.1)
    shorter = sum(gap < 1.0 for gap in gaps) / len(gaps)
    assert shorter == pytest.approx(1 - math.exp(-1), rel=0.1)
    assert {1.0} == {STREAM.gap() for _ in range(100)}

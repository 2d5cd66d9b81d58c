"""Thresholds: which are valid, and the errors for those that are not."""

from __future__ import annotations

import math
from typing import Any, Final

import pytest

from poolscope.mixin.thresholds import BurnRate, ThresholdError, Thresholds, seconds

BAD: Final[list[tuple[dict[str, Any], str]]] = [
    ({"waiting": (-1.0, 1.0)}, "waiting: -1.0 must be 0 or more"),
    ({"waiting": (1.0, math.nan)}, "waiting: nan must be 0 or more"),
    ({"waiting": (1.0, math.inf)}, "waiting: inf is never reached"),
    ({"utilization": (0.8, 1.5)}, "utilization: 1.5 must be a share between 0 and 1"),
    ({"utilization": (0.8, 1.0)}, "utilization: 1.0 is never exceeded; it must be below 1"),
    (
        {"timeouts": (0.2, 0.1)},
        "timeouts: in (0.2, 0.1), the critical threshold is reached before the warning",
    ),
    (
        {"reuse": (0.5, 0.9)},
        "reuse: in (0.5, 0.9), the critical threshold is reached before the warning",
    ),
    ({"reuse": (0.5, 0.0)}, "reuse: 0.0 must be more than 0"),
    ({"invalidation_ratio": -0.1}, "invalidation_ratio: -0.1 must be 0 or more"),
    ({"dns_failures": 2.0}, "dns_failures: 2.0 must be a share between 0 and 1"),
    ({"events": 0.0}, "events: 0.0 must be more than 0"),
    (
        {"acquire_seconds": (0.1, 1.5)},
        (
            "acquire_seconds: 1.5 is not a bucket bound of the histogram; the bounds are 1e-05, "
            "5e-05, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30, 60"
        ),
    ),
    ({"window": "five"}, "window: 'five' is not a duration, such as 90s, 5m or 1h30m"),
    ({"window": ""}, "window: '' is not a duration, such as 90s, 5m or 1h30m"),
    ({"window": "0s"}, "window: 0s must be more than 0"),
    ({"page_after": "5 m"}, "page_after: '5 m' is not a duration, such as 90s, 5m or 1h30m"),
    ({"page_after": "-5m"}, "page_after: '-5m' is not a duration, such as 90s, 5m or 1h30m"),
    (
        {"absent_after": "5m"},
        "absent_after: 5m must be longer than exporter_after, which is 5m",
    ),
    ({"fast_burn": BurnRate(14.4, "5m", "1h")}, "fast_burn: 1h must be shorter than 5m"),
    (
        {"fast_burn": BurnRate(14.4, "1h", "x")},
        "fast_burn: 'x' is not a duration, such as 90s, 5m or 1h30m",
    ),
    (
        {"objective": 0.9},
        (
            "fast_burn: 14.4 times the budget of 0.1 is not a share between 0 and 1, so that "
            "the alert would fire always or never"
        ),
    ),
]


@pytest.mark.parametrize(("fields", "message"), BAD)
def test_an_invalid_threshold_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ThresholdError) as raised:
        Thresholds(**fields)
    assert message == str(raised.value)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("1d", 86_400), ("1w2d", 777_600), ("0s", 0)],
)
def test_durations_are_those_of_prometheus(duration: str, expected: float) -> None:
    assert expected == seconds(duration)

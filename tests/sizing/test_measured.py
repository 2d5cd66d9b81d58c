"""What follows from the numbers alone."""

from __future__ import annotations

import math
import random

import pytest

from poolscope.readings.buckets import HOLD_BUCKETS
from poolscope.sizing.measured import Durations, Measured, knee

BOUNDS = (0.01, 0.05, 0.1, math.inf)


def measured(**changes: object) -> Measured:
    numbers = {
        "pool": "orders",
        "kind": "sqlalchemy",
        "seconds": 300.0,
        "in_use_seconds": 1800.0,
        "attempts": 36_000.0,
        "acquired": 36_000.0,
        "waited": 0.0,
        "gave_up": 0.0,
        "nested": 0.0,
        "holds": Durations(),
        "waits": Durations(BOUNDS, (0, 0, 0, 0), 0.0),
        "limit": 60.0,
        "instances": 4.0,
    }
    return Measured(**{**numbers, **changes})  # type: ignore[arg-type] # their types are those


def test_littles_law() -> None:
    found = measured()
    assert (0.05, 120.0, 6.0, 15.0) == (found.hold, found.rate, found.load, found.size)


def test_callers_that_gave_up_are_part_of_the_load() -> None:
    assert 12.0 == pytest.approx(measured(gave_up=36_000.0).load)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, (0.01, 0.05)), (0.5, (0.01, 0.05)), (0.9, (0.05, 0.1))]
)
def test_a_quantile_is_in_a_bucket(share: float, expected: tuple[float, float]) -> None:
    assert expected == Durations(BOUNDS, (0, 50, 50, 0), 5.0).range_of_quantile(share)


def test_few_callers_that_wait_are_not_the_slowest_of_all() -> None:
    waits = Durations(BOUNDS, (10, 0, 0, 0), 0.05)
    assert (0.0, 0.0) == measured(waits=waits).wait_range()
    assert (0.0, 0.01) == measured(acquired=500.0, waits=waits).wait_range()
    many = Durations(BOUNDS, (0, 300, 100, 0), 9.0)
    assert (0.05, 0.1) == measured(acquired=1000.0, waits=many).wait_range()


def durations(values: list[float]) -> Durations:
    bounds = (*HOLD_BUCKETS, math.inf)
    counts = [0] * len(bounds)
    for value in values:
        counts[next(i for i, bound in enumerate(bounds) if value <= bound)] += 1
    return Durations(bounds, tuple(counts), sum(values))


@pytest.mark.parametrize(("variation", "found"), [(0.25, 1.1), (1.0, 1.5), (4.0, 4.7)])
def test_the_variation_is_found_in_the_buckets(variation: float, found: float) -> None:
    """Wide buckets show more of it than there is, which is on the safe side."""
    source, spread = random.Random(7), math.sqrt(math.log(1 + variation))  # noqa: S311 - for numbers
    values = [source.lognormvariate(math.log(0.05) - spread**2 / 2, spread) for _ in range(50_000)]
    assert found == pytest.approx(durations(values).variation(), rel=0.2)


def test_without_durations_they_count_as_exponential() -> None:
    assert 1.0 == Durations().variation()


def test_a_knee_is_where_holds_grow_with_the_load() -> None:
    found = knee([(load, 0.03 + 0.005 * load) for load in (4.0, 6.0, 8.0, 9.0, 10.0, 12.0)])
    assert found is not None
    assert (0.005, 1.0) == pytest.approx((found.slope, found.fit))
    assert [4.0, 0.05, 12.0, 0.09] == pytest.approx([*found.least, *found.most])


@pytest.mark.parametrize(
    "loads",
    [
        [],
        [(4.0, 0.05), (12.0, 0.2)],
        [(float(load), 0.05) for load in range(10)],
        [(4.0, float(hold)) for hold in range(10)],
        [(float(load), 0.05 - 0.001 * load) for load in range(10)],
        [(float(load), 0.05 + 0.05 * (load % 2)) for load in range(10)],
    ],
)
def test_no_knee(loads: list[tuple[float, float]]) -> None:
    assert knee(loads) is None

"""The queueing model against known values, its laws, and a simulation."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolscope.sizing.queueing import mean_wait, probability_of_waiting, wait_quantile


@pytest.mark.parametrize(
    ("size", "load", "expected"),
    [(10, 8.0, 0.4092), (5, 4.0, 0.5541), (1, 0.5, 0.5), (1, 0.0, 0.0), (3, 3.0, 1.0), (2, 9.0, 1)],
)
def test_the_probability_of_waiting(size: int, load: float, expected: float) -> None:
    assert expected == round(probability_of_waiting(size, load), 4)


def test_it_is_the_textbook_sum() -> None:
    """C = (a^c / c!) (c / (c - a)) / (sum of a^k / k! for k < c, + the same)."""
    for size, load in itertools.product(range(1, 30), (0.1, 1.0, 7.5, 20.0)):
        if load < size:
            last = load**size / math.factorial(size) * size / (size - load)
            before = sum(load**k / math.factorial(k) for k in range(size))
            assert probability_of_waiting(size, load) == pytest.approx(last / (before + last))


def test_a_large_pool_neither_overflows_nor_waits() -> None:
    assert 0.0 <= probability_of_waiting(5000, 4000.0) < 1e-20
    assert 0.0 < probability_of_waiting(5000, 4990.0) < 1.0


@pytest.mark.parametrize(("size", "load"), [(0, 1.0), (-1, 0.0), (1, -0.1), (1, math.nan)])
def test_what_is_no_pool(size: int, load: float) -> None:
    with pytest.raises(ValueError, match="no pool has"):
        probability_of_waiting(size, load)


SIZES = st.integers(min_value=1, max_value=200)
LOADS = st.floats(min_value=0.0, max_value=220.0)


@given(SIZES, LOADS)
def test_a_larger_pool_never_waits_longer(size: int, load: float) -> None:
    smaller, larger = size, size + 1
    assert probability_of_waiting(smaller, load) >= probability_of_waiting(larger, load)
    assert mean_wait(smaller, load, 0.05) >= mean_wait(larger, load, 0.05)
    assert wait_quantile(smaller, load, 0.05) >= wait_quantile(larger, load, 0.05)


@given(SIZES, LOADS, st.floats(min_value=0.0, max_value=10.0))
def test_more_load_never_waits_less(size: int, load: float, more: float) -> None:
    tolerance, heavier = 1 + 1e-12, load + more
    waiting = probability_of_waiting(size, load)
    assert waiting <= probability_of_waiting(size, heavier) * tolerance
    assert mean_wait(size, load, 0.05) <= mean_wait(size, heavier, 0.05) * tolerance
    assert wait_quantile(size, load, 0.05) <= wait_quantile(size, heavier, 0.05) * tolerance


@given(SIZES, LOADS)
def test_a_probability_is_one(size: int, load: float) -> None:
    assert 0.0 <= probability_of_waiting(size, load) <= 1.0


def simulated_waits(size: int, rate: float, holds: Iterator[float], callers: int) -> list[float]:
    """Return the waits of callers that come at random, first come first served, sorted."""
    random_source = random.Random(size)  # noqa: S311 - for numbers
    free_at = [0.0] * size
    now, waits = 0.0, []
    for _ in range(callers):
        now += random_source.expovariate(rate)
        free = heapq.heappop(free_at)
        begins = max(now, free)
        waits.append(begins - now)
        heapq.heappush(free_at, begins + next(holds))
    return sorted(waits[callers // 10 :])


def exponential(mean: float, seed: int) -> Iterator[float]:
    source = random.Random(seed)  # noqa: S311 - for numbers
    while True:
        yield source.expovariate(1 / mean)


def lognormal(mean: float, variation: float, seed: int) -> Iterator[float]:
    source, spread = random.Random(seed), math.sqrt(math.log(1 + variation))  # noqa: S311 - for numbers
    while True:
        yield source.lognormvariate(math.log(mean) - spread**2 / 2, spread)


@pytest.mark.parametrize("size", [8, 10, 12])
def test_exponential_holds_wait_as_in_a_simulation(size: int) -> None:
    rate, hold = 120.0, 0.05
    waits = simulated_waits(size, rate, exponential(hold, 7), 400_000)
    load = rate * hold
    assert mean_wait(size, load, hold) == pytest.approx(sum(waits) / len(waits), rel=0.1)
    waited = sum(wait > 0 for wait in waits) / len(waits)
    assert probability_of_waiting(size, load) == pytest.approx(waited, rel=0.1)
    quantile = waits[int(0.99 * len(waits))]
    assert wait_quantile(size, load, hold) == pytest.approx(quantile, rel=0.1)


@pytest.mark.parametrize("size", [8, 10, 12])
@pytest.mark.parametrize("of", [sum, lambda waits: waits[int(0.99 * len(waits))] * len(waits)])
def test_lognormal_holds_wait_no_longer_than_the_model_says(
    size: int, of: Callable[[list[float]], float]
) -> None:
    rate, hold, variation = 120.0, 0.05, 4.0
    waits = simulated_waits(size, rate, lognormal(hold, variation, 7), 400_000)
    load = rate * hold
    simulated = of(waits) / len(waits)
    modelled = (mean_wait if of is sum else wait_quantile)(size, load, hold, variation=variation)
    assert simulated <= modelled <= 3 * simulated

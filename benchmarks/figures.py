"""What is made of timings: medians over the rounds, and how far they go apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

BLOCKS: Final = 5
"""Of rounds that follow each other; the spread is from the least to the greatest of theirs."""

Rounds = Mapping[str, Sequence[float]]
"""By variant, what was measured in each round."""


class Figure(NamedTuple):
    """A number, and the least and the greatest of parts of the same run."""

    value: float
    low: float
    high: float


class Bar(NamedTuple):
    """
    One sentence of what is to be reached.

    at_least: whether the limit is a lower one.
    """

    what: str
    figure: Figure
    limit: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        value = self.figure.value
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def clear(self) -> bool:
        """Whether every part of the run says the same."""
        _, low, high = self.figure
        return low > self.limit or high < self.limit


class Row(NamedTuple):
    """
    One variant of a benchmark, beside the one that all are compared with.

    unit: of `value` and `added`.
    times: how many times the base's value it is.
    """

    variant: str
    unit: str
    value: Figure
    added: float
    times: float


class Result(NamedTuple):
    """Of a benchmark: what was measured, and which bars it is about."""

    name: str
    title: str
    rows: list[Row]
    bars: list[Bar]
    notes: list[str]


def best(values: Sequence[float]) -> float:
    """
    Return the mean of the least tenth: what other work on the machine adds is not in it.

    Of runs beside other work it varies less than half as much as medians do.
    """
    return statistics.fmean(sorted(values)[: max(1, len(values) // 10)])


def added(rounds: Rounds, variant: str, base: str = "bare") -> float:
    """Return by how much more than the base's a variant's best is."""
    return best(rounds[variant]) - best(rounds[base])


def times(rounds: Rounds, variant: str, base: str = "bare") -> float:
    """Return how many times the base's a variant's is, in the middle of all rounds."""
    pairs = zip(rounds[variant], rounds[base], strict=True)
    return statistics.median(value / other for value, other in pairs)


def added_times(variant: str, other: str) -> Callable[[Rounds], float]:
    """
    Return a formula: how many times what another variant adds does this one add.

    Infinite where the other one's was lost in the noise, so that no bar is met by that.
    """

    def formula(rounds: Rounds) -> float:
        least = added(rounds, other)
        return added(rounds, variant) / least if least > 0.0 else math.inf

    return formula


def figure(rounds: Rounds, formula: Callable[[Rounds], float]) -> Figure:
    """Return what a formula makes of all rounds, and of each block of them."""
    number = min(len(values) for values in rounds.values())
    size = max(1, math.ceil(number / BLOCKS))
    parts = [
        formula({name: values[start : start + size] for name, values in rounds.items()})
        for start in range(0, number, size)
    ]
    whole = formula(rounds)
    return Figure(whole, min(whole, *parts), max(whole, *parts))


def figure_of(values: Sequence[float]) -> Figure:
    """Return the median of the same thing measured several times."""
    return Figure(statistics.median(values), min(values), max(values))


def rows(
    rounds: Rounds,
    unit: str,
    base: str = "bare",
    scale: float = 1.0,
    typical: Callable[[Sequence[float]], float] = best,
) -> list[Row]:
    """Return a row for each variant, the base first; `typical` makes one value of its rounds."""
    value = {name: scale * typical(values) for name, values in rounds.items()}
    return [
        Row(
            name,
            unit,
            scaled(figure({name: rounds[name]}, lambda part: typical(*part.values())), scale),
            value[name] - value[base],
            value[name] / value[base],
        )
        for name in sorted(rounds, key=lambda name: (name != base, value[name]))
    ]


def scaled(figure: Figure, scale: float) -> Figure:
    return Figure(*(number * scale for number in figure))


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return how time grows with size: 1.0 is in proportion, 2.0 with the square."""
    xs, ys = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    return statistics.linear_regression(xs, ys).slope

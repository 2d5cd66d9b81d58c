"""
What is made of timings: one number of each part of a run, the middle of these, and their spread.

A part is a process of its own where it can be. Each has something that stays as long as it lives,
as where its memory lies and on which CPU its server works, which no number of rounds evens out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

BLOCKS: Final = 5
"""Parts of what one process has measured."""

Rounds = Mapping[str, Sequence[float]]
"""By variant, what was measured in each round."""


class Figure(NamedTuple):
    """The middle, the least and the greatest of the parts of a run."""

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


def figure(parts: Sequence[Rounds], formula: Callable[[Rounds], float]) -> Figure:
    """Return what a formula makes of each part, and the middle of that."""
    return figure_of([formula(part) for part in parts])


def blocks(rounds: Rounds) -> list[Rounds]:
    """Return the parts of one process: rounds that follow each other."""
    number = min(len(values) for values in rounds.values())
    size = max(1, math.ceil(number / BLOCKS))
    return [
        {name: values[start : start + size] for name, values in rounds.items()}
        for start in range(0, number, size)
    ]


def figure_of(values: Sequence[float]) -> Figure:
    """Return the median of the same thing measured several times."""
    return Figure(statistics.median(values), min(values), max(values))


def rows(
    parts: Sequence[Rounds],
    unit: str,
    base: str = "bare",
    scale: float = 1.0,
    typical: Callable[[Sequence[float]], float] = best,
) -> list[Row]:
    """Return a row for each variant, the base first; `typical` makes one value of its rounds."""

    def row(name: str) -> Row:
        def value(part: Rounds) -> float:
            return typical(part[name]) * scale

        def more(part: Rounds) -> float:
            return (typical(part[name]) - typical(part[base])) * scale

        def ratio(part: Rounds) -> float:
            return typical(part[name]) / typical(part[base])

        more_, ratio_ = figure(parts, more).value, figure(parts, ratio).value
        return Row(name, unit, figure(parts, value), more_, ratio_)

    made = [row(name) for name in parts[0]]
    return sorted(made, key=lambda row: (row.variant != base, row.value.value))


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return how time grows with size: 1.0 is in proportion, 2.0 with the square."""
    xs, ys = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    return statistics.linear_regression(xs, ys).slope

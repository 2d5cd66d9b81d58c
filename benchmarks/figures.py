"""
Figures from timings: one value for each part of a run, their median, and their spread.

A part is a separate process where that is possible. Some conditions stay the same for the
life of a process, such as its memory layout and the CPU of its server; more rounds do not
even them out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

BLOCKS: Final = 5
"""How many parts the rounds of one process are divided into."""

Rounds = Mapping[str, Sequence[float]]
"""By variant, the value of each round."""


class Figure(NamedTuple):
    """The median, the minimum and the maximum over the parts of a run."""

    value: float
    low: float
    high: float


class Target(NamedTuple):
    """
    A figure, and the limit that it should meet.

    at_least: whether the limit is a lower limit.
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
        """Whether all parts of the run agree that it is met, or that it is not."""
        _, low, high = self.figure
        return low > self.limit or high < self.limit


class Row(NamedTuple):
    """
    One variant of a benchmark, compared with the base variant.

    unit: the unit of `value` and `added`.
    added: the value less that of the base.
    times: the value divided by that of the base.
    """

    variant: str
    unit: str
    value: Figure
    added: float
    times: float


class Result(NamedTuple):
    """What a benchmark has measured, and its targets."""

    name: str
    title: str
    rows: list[Row]
    targets: list[Target]
    notes: list[str]


def best(values: Sequence[float]) -> float:
    """
    Return the mean of the lowest tenth, to which other work on the machine adds nothing.

    On a busy machine it varies less than half as much as the median.
    """
    return statistics.fmean(sorted(values)[: max(1, len(values) // 10)])


def added(rounds: Rounds, variant: str, base: str = "bare") -> float:
    """Return the best value of a variant less that of the base."""
    return best(rounds[variant]) - best(rounds[base])


def times(rounds: Rounds, variant: str, base: str = "bare") -> float:
    """Return the median, over all rounds, of a variant's value divided by that of the base."""
    pairs = zip(rounds[variant], rounds[base], strict=True)
    return statistics.median(value / other for value, other in pairs)


def added_times(variant: str, other: str) -> Callable[[Rounds], float]:
    """
    Return a formula: what a variant adds, divided by what the other variant adds.

    It is infinite if the other one adds nothing measurable, so that no target is met by that.
    """

    def formula(rounds: Rounds) -> float:
        divisor = added(rounds, other)
        return added(rounds, variant) / divisor if divisor > 0.0 else math.inf

    return formula


def times_an_ordinary_use(parts: Sequence[Rounds], title: str) -> list[Target]:
    """Return the targets of other uses, at the pool's limit and in an operation, if measured."""
    return [
        Target(
            f"{title}: added {where}, times that of an ordinary use",
            figure(parts, added_times(variant, "poolscope")),
            limit,
        )
        for variant, where, limit in (
            ("at-limit", "at the pool's limit", 1.5),
            ("operation", "in an operation", 1.1),
        )
        if variant in parts[0]
    ]


def figure(parts: Sequence[Rounds], formula: Callable[[Rounds], float]) -> Figure:
    """Apply a formula to each part; return the figure of the results."""
    return figure_of([formula(part) for part in parts])


def blocks(rounds: Rounds) -> list[Rounds]:
    """Divide the rounds of one process into parts of consecutive rounds."""
    number = min(len(values) for values in rounds.values())
    size = max(1, math.ceil(number / BLOCKS))
    return [
        {name: values[start : start + size] for name, values in rounds.items()}
        for start in range(0, number, size)
    ]


def figure_of(values: Sequence[float]) -> Figure:
    """Return the figure of one quantity that was measured several times."""
    return Figure(statistics.median(values), min(values), max(values))


def rows(
    parts: Sequence[Rounds],
    unit: str,
    base: str = "bare",
    scale: float = 1.0,
    typical: Callable[[Sequence[float]], float] = best,
) -> list[Row]:
    """Return a row for each variant, the base first; `typical` reduces rounds to one value."""

    def row(name: str) -> Row:
        def value(part: Rounds) -> float:
            return typical(part[name]) * scale

        def more(part: Rounds) -> float:
            return (typical(part[name]) - typical(part[base])) * scale

        def ratio(part: Rounds) -> float:
            return typical(part[name]) / typical(part[base])

        more_, ratio_ = figure(parts, more).value, figure(parts, ratio).value
        return Row(name, unit, figure(parts, value), more_, ratio_)

    unsorted = [row(name) for name in parts[0]]
    return sorted(unsorted, key=lambda row: (row.variant != base, row.value.value))


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the power of the size that time grows with: 1.0 is linear, 2.0 is quadratic."""
    xs, ys = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    return statistics.linear_regression(xs, ys).slope

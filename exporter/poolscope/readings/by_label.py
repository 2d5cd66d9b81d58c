"""
Connections by the function that acquired them, or by what they are for: the operation.

The number of labels is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from poolscope.label_values import OTHER_LABEL
from poolscope.readings.labels import FirstLabels


class LabelReading(NamedTuple):
    """
    The connections that one function of the application has acquired, or that one operation had.

    in_use, overdue, abandoned: connections that it holds now, and how many of them look leaked.
    in_use_seconds: the time that it has held connections, summed over all of them.
    """

    label: str
    in_use: float
    in_use_seconds: float
    overdue: float
    abandoned: float = 0.0


class SharedLabels:
    """Sums by label over several pools of one name, including pools that no longer exist."""

    __slots__ = ("_ended", "_labels", "_last")

    def __init__(self, shown: int) -> None:
        """`shown`: how many labels there are, beside `OTHER_LABEL`."""
        self._labels = FirstLabels(shown, OTHER_LABEL)
        self._ended: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def add_ended(self, readings: Iterable[LabelReading]) -> None:
        """Add the seconds of a pool that no longer exists; they stay in all later sums."""
        for reading in readings:
            label = self._labels.label(reading.label)
            self._ended[label] = self._ended.get(label, 0.0) + reading.in_use_seconds

    def sums(
        self, readings: Iterable[tuple[str, float, float, float, float]]
    ) -> tuple[LabelReading, ...]:
        """Return the sums of these readings and of ended pools, by label; `other` comes last."""
        sums = {label: [0.0, seconds, 0.0, 0.0] for label, seconds in self._ended.items()}
        for label, in_use, seconds, overdue, abandoned in readings:
            sum_ = sums.get(label)
            if sum_ is None:
                sum_ = sums.setdefault(self._labels.label(label), [0.0, 0.0, 0.0, 0.0])
            sum_[0] += in_use
            sum_[1] += seconds
            sum_[2] += overdue
            sum_[3] += abandoned
        for label, sum_ in sums.items():
            # For the reason that `reading.Monotonic` gives.
            sum_[1] = self._last[label] = max(sum_[1], self._last.get(label, 0.0))
        return tuple(LabelReading(label, *sums[label]) for label in self._labels.in_order(sums))

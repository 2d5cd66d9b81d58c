"""
The numbers of a pool by label: by the function that acquired the connections, by what they are for
(the operation), or by host.

The number of labels is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import add
from typing import Any, Final, Generic, NamedTuple, TypeVar

from poolscope.label_values import OTHER_LABEL
from poolscope.readings.hosts import HostReading
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


R = TypeVar("R", LabelReading, HostReading)


class Kind(NamedTuple, Generic[R]):
    """
    What the numbers are of.

    make: makes a reading of a label and its numbers.
    counters: for each number whether it is a counter, which stays when its pool has ended.
    """

    make: Callable[..., R]
    counters: tuple[bool, ...]


HOLDS: Final = Kind(LabelReading, (False, True, False, False))
HOSTS: Final = Kind(HostReading, (False, False, False, False, True, True))


class SharedLabels(Generic[R]):
    """Sums by label over several pools of one name, including pools that no longer exist."""

    __slots__ = ("_ended", "_kind", "_labels", "_last")

    def __init__(self, shown: int, kind: Kind[R]) -> None:
        """`shown`: how many labels there are, beside `OTHER_LABEL`."""
        self._kind: Kind[R] = kind
        self._labels = FirstLabels(shown, OTHER_LABEL)
        self._ended: dict[str, list[float]] = {}
        self._last: dict[str, list[float]] = {}

    def add_ended(self, readings: Iterable[R]) -> None:
        """Add the counters of a pool that no longer exists; they stay in all later sums."""
        for reading in readings:
            label, *numbers = reading
            label = self._labels.label(label)
            counted = [
                number if counts else 0.0
                for number, counts in zip(numbers, self._kind.counters, strict=True)
            ]
            self._ended[label] = list(map(add, self._ended.get(label, self._nothing), counted))

    @property
    def _nothing(self) -> list[float]:
        return [0.0] * len(self._kind.counters)

    def sums(self, readings: Iterable[tuple[Any, ...]]) -> tuple[R, ...]:
        """
        Return the sums of these readings and of ended pools, by label; `other` comes last.

        readings: those of `kind.make`, or tuples of the same values.
        """
        sums = {label: numbers.copy() for label, numbers in self._ended.items()}
        nothing = self._nothing
        for name, *numbers in readings:
            label = name if name in sums else self._labels.label(name)
            sums[label] = list(map(add, sums.get(label, nothing), numbers))
        for label, numbers in sums.items():
            # For the reason that `reading.Monotonic` gives.
            last = self._last.get(label, nothing)
            for place, counts in enumerate(self._kind.counters):
                if counts:
                    numbers[place] = max(numbers[place], last[place])
            self._last[label] = numbers
        make = self._kind.make
        return tuple(make(label, *sums[label]) for label in self._labels.in_order(sums))

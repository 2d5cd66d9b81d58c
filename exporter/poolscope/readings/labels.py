"""Label values for some of many names, so that the number of time series is bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from poolscope.label_values import label_value

MAX_ENDED_NAMES: Final = 1000
"""
How many names without a live pool keep counters of their own, in a process and in the totals of the
exporter. If there are more, the counters of the name whose last pool ended first are added to those
of `OTHER_POOLS`. Names with a live pool are not limited.
"""
OTHER_POOLS: Final = "other"


class FirstLabels:
    """
    The first `count` names are labels of their own; all later names share the label `other`.

    A name keeps its label for ever, because a counter must not move to another label.
    """

    __slots__ = ("_count", "_other", "_own")

    def __init__(self, count: int, other: str) -> None:
        self._count = count
        self._other = other
        # A dictionary, because an empty set takes three times the memory.
        self._own: dict[str, None] = {}

    def label(self, name: str) -> str:
        """Return the label of a name, which is remembered if it is one of the first."""
        if name in self._own:
            return name
        name = label_value(name)
        if name in self._own:
            return name
        if name == self._other or len(self._own) >= self._count:
            return self._other
        self._own[name] = None
        return name

    def in_order(self, labels: Iterable[str]) -> list[str]:
        """Return the labels in alphabetical order, with `other` as the last one."""
        return sorted(labels, key=lambda label: (label == self._other, label))

"""Label values for some of many names, so that the number of time series is bounded."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from poolscope.label_values import label_value
from poolscope.readings.limits import Clock

MAX_ENDED_NAMES: Final = 1000
"""
How many names without a live pool keep counters of their own, in a process and in the totals of the
exporter. If there are more, the counters of the name whose last pool ended first are added to those
of `OTHER_POOLS`. Names with a live pool are not limited.
"""
OTHER_POOLS: Final = "other"

KEPT_SECONDS: Final = 3600.0
"""How long a name that strangers have chosen keeps its label after it was seen last."""


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


class SteadyLabels:
    """
    Labels for names that strangers choose anew at any time: at most `count` new ones in an hour.

    A name has a label for as long as it is seen, and `KEPT_SECONDS` more. Others that come get one
    if there is room.
    """

    def __init__(self, count: int, clock: Clock = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._seen: dict[str, float] = {}

    def look(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of the names that have labels; the first ones get one first."""
        now = self._clock()
        self._seen = {name: seen for name, seen in self._seen.items() if now - seen < KEPT_SECONDS}
        have = []
        for name in names:
            if name in self._seen or len(self._seen) < self._count:
                self._seen[name] = now
                have.append(name)
        return frozenset(have)

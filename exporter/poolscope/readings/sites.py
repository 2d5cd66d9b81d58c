"""Connections by the function that acquired them, for a bounded number of functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from poolscope.callsites.frames import OTHER_SITES, SHOWN_SITES
from poolscope.readings.labels import FirstLabels


class SiteReading(NamedTuple):
    """
    The connections that one function of the application has acquired.

    in_use, overdue, abandoned: connections that it holds now, and how many of them look leaked.
    in_use_seconds: the time that it has held connections, summed over all of them.
    """

    site: str
    in_use: float
    in_use_seconds: float
    overdue: float
    abandoned: float = 0.0


class SharedSites:
    """Sums by function over several pools of one name, including pools that no longer exist."""

    __slots__ = ("_ended", "_labels", "_last")

    def __init__(self) -> None:
        self._labels = FirstLabels(SHOWN_SITES, OTHER_SITES)
        self._ended: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def add_ended(self, readings: Iterable[SiteReading]) -> None:
        """Add the seconds of a pool that no longer exists; they stay in all later sums."""
        for reading in readings:
            label = self._labels.label(reading.site)
            self._ended[label] = self._ended.get(label, 0.0) + reading.in_use_seconds

    def sums(
        self, readings: Iterable[tuple[str, float, float, float, float]]
    ) -> tuple[SiteReading, ...]:
        """Return the sums of these readings and of ended pools, by function; `other` comes last."""
        sums = {label: [0.0, seconds, 0.0, 0.0] for label, seconds in self._ended.items()}
        for site, in_use, seconds, overdue, abandoned in readings:
            sum_ = sums.get(site)
            if sum_ is None:
                sum_ = sums.setdefault(self._labels.label(site), [0.0, 0.0, 0.0, 0.0])
            sum_[0] += in_use
            sum_[1] += seconds
            sum_[2] += overdue
            sum_[3] += abandoned
        for label, sum_ in sums.items():
            # For the reason that `reading.Monotonic` gives.
            sum_[1] = self._last[label] = max(sum_[1], self._last.get(label, 0.0))
        return tuple(SiteReading(label, *sums[label]) for label in self._labels.in_order(sums))

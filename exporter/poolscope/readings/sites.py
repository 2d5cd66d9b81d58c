"""What the functions of the application hold and have held, few enough of them to be labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from poolscope.callsites.frames import OTHER_SITES, SHOWN_SITES


class SiteReading(NamedTuple):
    """
    What the holds of one function are and were.

    in_use, overdue, abandoned: connections that it has now, and which of them are that.
    in_use_seconds: connection-seconds so far.
    """

    site: str
    in_use: float
    in_use_seconds: float
    overdue: float
    abandoned: float = 0.0


class SharedSites:
    """What several pools of one name have at each function, those that are gone included."""

    __slots__ = ("_ended", "_last")

    def __init__(self) -> None:
        self._ended: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def ended(self, readings: Iterable[SiteReading]) -> None:
        """Keep the seconds of a pool that is gone."""
        for reading in readings:
            label = self._name(reading.site)
            self._ended[label] = self._ended.get(label, 0.0) + reading.in_use_seconds

    def added(
        self, readings: Iterable[tuple[str, float, float, float, float]]
    ) -> tuple[SiteReading, ...]:
        """Return the sums of these readings and of what is gone, by name, all others last."""
        sums = {label: [0.0, seconds, 0.0, 0.0] for label, seconds in self._ended.items()}
        for site, in_use, seconds, overdue, abandoned in readings:
            sum_ = sums.get(site)
            if sum_ is None:
                sum_ = sums.setdefault(self._name(site), [0.0, 0.0, 0.0, 0.0])
            sum_[0] += in_use
            sum_[1] += seconds
            sum_[2] += overdue
            sum_[3] += abandoned
        for label, sum_ in sums.items():
            # As with `reading.Monotonic`.
            sum_[1] = self._last[label] = max(sum_[1], self._last.get(label, 0.0))
        labels = sorted(sums, key=lambda site: (site == OTHER_SITES, site))
        return tuple(SiteReading(label, *sums[label]) for label in labels)

    def _name(self, label: str) -> str:
        # Once shown, always shown: a counter must not move to another label.
        if label not in self._last and label != OTHER_SITES:
            if len(self._last) - (OTHER_SITES in self._last) >= SHOWN_SITES:
                return OTHER_SITES
            self._last[label] = 0.0
        return label

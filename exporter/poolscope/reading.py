"""What was read of one pool, and how readings of several pools add up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from poolscope.metrics import ACQUIRE_BUCKETS, DNS_BUCKETS, HOLD_BUCKETS, OPEN_BUCKETS


@dataclass(frozen=True, slots=True)
class Histogram:
    """
    Observations of a duration in seconds.

    `counts` has one entry for each bound of its family and one for everything beyond the last;
    they are not cumulative.
    """

    counts: tuple[float, ...]
    sum: float

    @property
    def count(self) -> float:
        return sum(self.counts)

    @staticmethod
    def total(histograms: Sequence[Histogram]) -> Histogram:
        """Return the sum of one or more of the same family."""
        columns = zip(*(histogram.counts for histogram in histograms), strict=True)
        return Histogram(tuple(map(sum, columns)), sum(h.sum for h in histograms))


def empty(bounds: tuple[float, ...]) -> Histogram:
    """Return a histogram without observations."""
    return Histogram((0.0,) * (len(bounds) + 1), 0.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """
    One consistent reading of a pool, or the sum of several.

    Gauges are as of the moment of reading; durations and ages are in seconds; everything from
    `acquired` on is a counter that never falls. `watched_seconds` is since when, and `most_in_use`
    the most that ever were, both only for findings.
    """

    in_use: float = 0.0
    idle: float = 0.0
    opening: float = 0.0
    waiting: float = 0.0
    limit: float = 0.0
    idle_limit: float = 0.0
    idle_floor: float = 0.0
    overdue: float = 0.0
    abandoned: float = 0.0
    in_use_peak: float = 0.0
    waiting_peak: float = 0.0
    oldest_hold_seconds: float = 0.0
    oldest_wait_seconds: float = 0.0
    instances: float = 0.0
    watched_seconds: float = 0.0
    most_in_use: float = 0.0

    acquired: float = 0.0
    timed_out: float = 0.0
    cancelled: float = 0.0
    failed: float = 0.0
    waited: float = 0.0
    reused: float = 0.0
    opened: float = 0.0
    open_failed: float = 0.0
    closed: float = 0.0
    invalidated_hard: float = 0.0
    invalidated_soft: float = 0.0
    nested: float = 0.0
    leaks_overdue: float = 0.0
    leaks_abandoned: float = 0.0
    leaks_recovered: float = 0.0
    dns_hits: float = 0.0
    dns_misses: float = 0.0
    dns_errors: float = 0.0
    in_use_seconds: float = 0.0
    waiting_seconds: float = 0.0
    saturated_seconds: float = 0.0
    acquire_seconds: Histogram = empty(ACQUIRE_BUCKETS)
    queue_seconds: Histogram = empty(ACQUIRE_BUCKETS)
    open_seconds: Histogram = empty(OPEN_BUCKETS)
    hold_seconds: Histogram = empty(HOLD_BUCKETS)
    dns_seconds: Histogram = empty(DNS_BUCKETS)

    def ended(self) -> Reading:
        """Return what stays of a pool that is gone: its counters; its gauges are 0."""
        gone: dict[str, Any] = dict.fromkeys(_GAUGES, 0.0)
        return dataclasses.replace(self, **gone)

    @property
    def live(self) -> bool:
        """Whether there is anything behind the gauges: a pool, or connections that outlive it."""
        return bool(self.instances or self.in_use or self.idle or self.opening or self.waiting)


_FIELDS: Final = tuple(field.name for field in dataclasses.fields(Reading))
_GAUGES: Final = _FIELDS[: _FIELDS.index("acquired")]
_AGES: Final = frozenset({"oldest_hold_seconds", "oldest_wait_seconds", "watched_seconds"})
_values: Final = attrgetter(*_FIELDS)


def total(readings: Sequence[Reading]) -> Reading:
    """
    Return the sum of pools; of none, an empty reading.

    Ages are the greatest of all. Peaks add up to an upper bound: the pools need not have had
    theirs at the same moment.
    """
    if len(readings) == 1:
        return readings[0]
    merged: list[Any] = []
    for name, column in zip(_FIELDS, zip(*map(_values, readings), strict=True), strict=False):
        if name in _AGES:
            merged.append(max(column))
        elif isinstance(column[0], Histogram):
            merged.append(Histogram.total(column))
        else:
            merged.append(sum(column))
    return Reading(*merged)

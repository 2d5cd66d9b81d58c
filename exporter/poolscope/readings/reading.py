"""What was read of one pool, and how readings of several pools add up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from poolscope.readings.buckets import ACQUIRE_BUCKETS, DNS_BUCKETS, HOLD_BUCKETS, OPEN_BUCKETS

Histogram = tuple[float, ...]
"""
Observations of a duration: how many up to each bound of its family and how many beyond the last,
not cumulative; then the sum of all, in seconds.

A plain tuple: the garbage collector looks once into one that has only numbers, and then never.
"""


def empty(bounds: tuple[float, ...]) -> Histogram:
    """Return a histogram without observations."""
    return (0.0,) * (len(bounds) + 2)


def count_of(histogram: Histogram) -> float:
    """Return how many observations there are."""
    return sum(histogram[:-1])


class Reading(NamedTuple):
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
        return Reading._make([*_NO_GAUGES, *self[GAUGES:]])

    def values(self) -> list[float]:
        """Return all numbers in the order of the fields, of a histogram its counts and its sum."""
        values: list[Any] = [*self[:SCALARS]]
        histograms: Any = self[SCALARS:]
        for histogram in histograms:
            values += histogram
        return values

    @classmethod
    def of(cls, values: Sequence[float]) -> Reading:
        """Return the reading that has these `values`."""
        fields: list[Any] = [*values[:SCALARS]]
        start = SCALARS
        for size in _SIZES:
            fields.append(tuple(values[start : start + size]))
            start += size
        return cls._make(fields)

    @property
    def live(self) -> bool:
        """Whether there is anything behind the gauges: a pool, or connections that outlive it."""
        return bool(self.instances or self.in_use or self.idle or self.opening or self.waiting)


EMPTY_READING: Final = Reading()
_FIELDS: Final = Reading._fields
SCALARS: Final = _FIELDS.index("acquire_seconds")
GAUGES: Final = _FIELDS.index("acquired")
"""How many numbers come before the histograms, and how many of them are gauges."""

IN_USE: Final = _FIELDS.index("in_use")
OPENING: Final = _FIELDS.index("opening")
LIMIT: Final = _FIELDS.index("limit")
OVERDUE: Final = _FIELDS.index("overdue")
ABANDONED: Final = _FIELDS.index("abandoned")
_NO_GAUGES: Final = (0.0,) * GAUGES
_AGES: Final = tuple(
    map(_FIELDS.index, ("oldest_hold_seconds", "oldest_wait_seconds", "watched_seconds"))
)
_histograms: Final[Any] = EMPTY_READING[SCALARS:]
_SIZES: Final = tuple(map(len, _histograms))
_SECONDS: Final = (
    *map(_FIELDS.index, ("in_use_seconds", "waiting_seconds", "saturated_seconds")),
    *(SCALARS + end - 1 for end in accumulate(_SIZES)),
)
_NO_SECONDS: Final = [0.0] * len(_SECONDS)


class Monotonic:
    """
    Keeps sums of seconds from falling, which Prometheus would take for a process that began anew.

    What lasts is added up to the moment of reading, and what has ended up to its end, which may
    have been a little earlier though it is known only now; and the last digit of a sum depends on
    the order of what is added.
    """

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds = _NO_SECONDS

    def clamp(self, values: list[float]) -> list[float]:
        """Return the values of a reading, with no sum less than it was."""
        self._seconds = list(map(max, self._seconds, [values[place] for place in _SECONDS]))
        for place, seconds in zip(_SECONDS, self._seconds, strict=True):
            values[place] = seconds
        return values


def total(readings: Sequence[Reading]) -> Reading:
    """Return the sum of pools, as `add` adds them up; of none, an empty reading."""
    if len(readings) == 1:
        return readings[0]
    return (
        Reading.of(add([reading.values() for reading in readings])) if readings else EMPTY_READING
    )


def add(rows: Sequence[Sequence[float]]) -> list[float]:
    """
    Return the sums of the values of one or more readings.

    Ages are the greatest of all. Peaks add up to an upper bound: the pools need not have had
    theirs at the same moment.
    """
    sums: list[float] = list(map(sum, zip(*rows, strict=True)))
    for place in _AGES:
        sums[place] = max(row[place] for row in rows)
    return sums

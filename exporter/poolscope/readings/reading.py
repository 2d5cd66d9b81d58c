"""The numbers of one pool at one moment, and the sums of several pools."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from poolscope.readings.buckets import ACQUIRE_BUCKETS, DNS_BUCKETS, HOLD_BUCKETS, OPEN_BUCKETS

Histogram = tuple[float, ...]
"""
Observations of a duration: the count of each bucket of its family, not cumulative, then the count
beyond the last bound, then the sum of all observations in seconds.

It is a plain tuple because the garbage collector stops tracking a tuple of numbers.
"""


def empty(bounds: tuple[float, ...]) -> Histogram:
    """Return a histogram without observations."""
    return (0.0,) * (len(bounds) + 2)


class Reading(NamedTuple):
    """
    One consistent reading of a pool, or the sum of several.

    The fields before `acquired` are gauges at the moment of reading; the fields from `acquired` on
    are counters, which never decrease. Durations and ages are in seconds. Only findings use
    `watched_seconds`, the age of the watch, `most_in_use`, the maximum since it began, and
    `held_across`: how many holds were open across a request by HTTP, and their seconds meanwhile.
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
    gave_up: float = 0.0
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
    held_across: float = 0.0
    held_across_seconds: float = 0.0
    acquire_seconds: Histogram = empty(ACQUIRE_BUCKETS)
    queue_seconds: Histogram = empty(ACQUIRE_BUCKETS)
    open_seconds: Histogram = empty(OPEN_BUCKETS)
    hold_seconds: Histogram = empty(HOLD_BUCKETS)
    dns_seconds: Histogram = empty(DNS_BUCKETS)

    def counters_only(self) -> Reading:
        """
        Return the reading with its gauges set to 0, as it counts once the pool is gone.

        What it still had open counts as closed: nobody else would count that.
        """
        gone = Reading._make([*_NO_GAUGES, *self[GAUGES:]])
        return gone if gone.closed >= gone.opened else gone._replace(closed=gone.opened)

    def values(self) -> list[float]:
        """Return all numbers in the order of the fields, those of histograms one by one."""
        values: list[Any] = [*self[:SCALARS]]
        histograms: Any = self[SCALARS:]
        for histogram in histograms:
            values += histogram
        return values

    @classmethod
    def of(cls, values: Sequence[float]) -> Reading:
        """Return the reading that has these `values`: the inverse of `values`."""
        fields: list[Any] = [*values[:SCALARS]]
        start = SCALARS
        for size in _SIZES:
            fields.append(tuple(values[start : start + size]))
            start += size
        return cls._make(fields)

    @property
    def is_used(self) -> bool:
        """Whether anybody has asked for a connection."""
        ended = self.acquired, self.timed_out, self.cancelled, self.failed
        return any((*ended, self.in_use, self.opening, self.waiting))

    @property
    def live(self) -> bool:
        """Whether a pool exists, or connections or callers that have outlived it."""
        return bool(self.instances or self.in_use or self.idle or self.opening or self.waiting)


EMPTY_READING: Final = Reading()
_FIELDS: Final = Reading._fields
SCALARS: Final = _FIELDS.index("acquire_seconds")
GAUGES: Final = _FIELDS.index("acquired")
"""The number of fields before the histograms, and how many of those are gauges."""

IN_USE: Final = _FIELDS.index("in_use")
OPENING: Final = _FIELDS.index("opening")
LIMIT: Final = _FIELDS.index("limit")
INSTANCES: Final = _FIELDS.index("instances")
WATCHED_SECONDS: Final = _FIELDS.index("watched_seconds")
WAITED: Final = _FIELDS.index("waited")
SATURATED_SECONDS: Final = _FIELDS.index("saturated_seconds")
_NO_GAUGES: Final = (0.0,) * GAUGES
_AGES: Final = tuple(
    map(_FIELDS.index, ("oldest_hold_seconds", "oldest_wait_seconds", "watched_seconds"))
)
_histograms: Final[Any] = EMPTY_READING[SCALARS:]
_SIZES: Final = tuple(map(len, _histograms))
_CLAMPED: Final = (
    _FIELDS.index("leaks_overdue"),
    *map(_FIELDS.index, ("in_use_seconds", "waiting_seconds", "saturated_seconds")),
    _FIELDS.index("held_across_seconds"),
    *(SCALARS + end - 1 for end in accumulate(_SIZES)),
)
_NOTHING_YET: Final = [0.0] * len(_CLAMPED)


class Monotonic:
    """
    Keeps counters from decreasing, which Prometheus would take for a restart.

    A sum of seconds can decrease for two reasons: a hold that is still open counts up to the moment
    of reading, but its end, which is recorded later, may lie before that moment; and the last digit
    of a sum of floats depends on the order of its terms. The count of overdue holds can if a reader
    comes after a pause of the process, before that is known.
    """

    __slots__ = ("_shown",)

    def __init__(self) -> None:
        self._shown = _NOTHING_YET

    def clamp(self, values: list[float]) -> list[float]:
        """Raise each such counter in `values` to what it was last time; return `values`."""
        self._shown = list(map(max, self._shown, [values[place] for place in _CLAMPED]))
        for place, seconds in zip(_CLAMPED, self._shown, strict=True):
            values[place] = seconds
        return values


def sum_readings(readings: Sequence[Reading]) -> Reading:
    """Return the sum of readings, as `sum_values` adds them; an empty reading for none."""
    if not readings:
        return EMPTY_READING
    if len(readings) == 1:
        return readings[0]
    return Reading.of(sum_values([reading.values() for reading in readings]))


def sum_values(rows: Sequence[Sequence[float]]) -> list[float]:
    """
    Return the sums of the values of one or more readings.

    Of ages it returns the maximum. The sum of peaks is an upper bound, because the pools may have
    peaked at different moments.
    """
    sums: list[float] = list(map(sum, zip(*rows, strict=True)))
    for place in _AGES:
        sums[place] = max(row[place] for row in rows)
    return sums

"""The last minutes of each pool, for a live page that was opened only now."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

from poolscope.fleet.fleet import FleetView, Key
from poolscope.readings.limits import Clock

HISTORY_SECONDS: Final = 600.0
"""How far back the history goes."""

SAMPLE_INTERVAL: Final = 4.0
"""Seconds from one sample to the next, at least."""


class _Sums(NamedTuple):
    """Totals of a pool: connection-seconds, seconds that callers waited, and timeouts."""

    in_use_seconds: float
    waiting_seconds: float
    timed_out: float


class _Interval(NamedTuple):
    """Mean numbers of connections and callers between two samples, and the timeouts there."""

    in_use: float
    waiting: float
    timed_out: float


@dataclass(frozen=True, slots=True)
class _Sample:
    """`at` is when it was taken; `intervals` are those since the sample before."""

    at: float
    sums: dict[Key, _Sums]
    intervals: dict[Key, _Interval]


class History:
    """
    Samples of each pool over the last minutes.

    The means come from time-weighted sums, so a burst between two samples is not lost. Times are
    readings of `clock`, in seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[_Sample] = deque()

    def record(self, view: FleetView) -> None:
        """Take a sample of a view, if the last one is old enough."""
        now = self._clock()
        last = self._samples[-1] if self._samples else None
        if last is not None and now - last.at < SAMPLE_INTERVAL:
            return
        sums: dict[Key, _Sums] = {}
        intervals: dict[Key, _Interval] = {}
        for report in view.reports:
            key, reading = (report.pool, report.kind), report.reading
            after = _Sums(reading.in_use_seconds, reading.waiting_seconds, reading.timed_out)
            before = last.sums.get(key) if last is not None else None
            sums[key] = after
            if last is None or before is None:
                intervals[key] = _Interval(reading.in_use, reading.waiting, 0.0)
            else:
                intervals[key] = _between(before, after, now - last.at)
        self._samples.append(_Sample(now, sums, intervals))
        while now - self._samples[0].at > HISTORY_SECONDS:
            self._samples.popleft()

    def columns(self, key: Key) -> dict[str, list[float]]:
        """Return one list per column, oldest first; `seconds_ago` is when each interval ended."""
        now = self._clock()
        # A copy, because another thread takes samples.
        samples = tuple(self._samples)
        known = [(now - s.at, *s.intervals[key]) for s in samples if key in s.intervals]
        columns = list(zip(*known, strict=True)) or [(), (), (), ()]
        return {
            "seconds_ago": [round(age, 1) for age in columns[0]],
            "in_use": list(columns[1]),
            "waiting": list(columns[2]),
            "timed_out": [round(count) for count in columns[3]],
        }


def _between(before: _Sums, after: _Sums, seconds: float) -> _Interval:
    """Return the interval between two samples; a sum that fell counts as 0."""
    return _Interval(
        in_use=_mean(after.in_use_seconds - before.in_use_seconds, seconds),
        waiting=_mean(after.waiting_seconds - before.waiting_seconds, seconds),
        timed_out=max(0.0, after.timed_out - before.timed_out),
    )


def _mean(total: float, seconds: float) -> float:
    return max(0.0, round(total / seconds, 2))

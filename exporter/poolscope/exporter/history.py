"""The last minutes of each pool, so that a page that is opened now shows what led here."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from operator import sub
from typing import Final

from poolscope.fleet.fleet import Key, View
from poolscope.ledger.state import Clock

HISTORY_SECONDS: Final = 600.0
SAMPLE_INTERVAL: Final = 4.0
"""Seconds: how far back it goes, and how far apart what it keeps is at least."""


Three = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class _Sample:
    """
    What has happened to each pool since the sample before.

    sums: the connection-seconds, waiter-seconds and time-outs so far, that it is made of.
    changes: the means of connections in use and of callers waiting, and how many timed out.
    """

    at: float
    sums: dict[Key, Three]
    changes: dict[Key, Three]


class History:
    """
    Means between looks at the fleet.

    They come of time-weighted sums, so that a burst between two looks is not missed. Times are
    readings of `clock`, in seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[_Sample] = deque()

    def record(self, view: View) -> None:
        """Keep what this look has seen, if it is time to."""
        now = self._clock()
        last = self._samples[-1] if self._samples else None
        if last is not None and now - last.at < SAMPLE_INTERVAL:
            return
        sums: dict[Key, Three] = {}
        changes: dict[Key, Three] = {}
        for report in view.reports:
            key, reading = (report.pool, report.kind), report.reading
            sums[key] = reading.in_use_seconds, reading.waiting_seconds, reading.timed_out
            if last is not None and key in last.sums:
                in_use, waiting, timed_out = map(sub, sums[key], last.sums[key])
                passed = now - last.at
                changes[key] = _mean(in_use, passed), _mean(waiting, passed), max(0.0, timed_out)
            else:
                changes[key] = reading.in_use, reading.waiting, 0.0
        self._samples.append(_Sample(now, sums, changes))
        while now - self._samples[0].at > HISTORY_SECONDS:
            self._samples.popleft()

    def columns(self, key: Key) -> dict[str, list[float]]:
        """Return columns, the oldest first; `seconds_ago` is when each interval has ended."""
        now = self._clock()
        # A copy, as looks are taken in another thread.
        samples = tuple(self._samples)
        known = [(now - s.at, *s.changes[key]) for s in samples if key in s.changes]
        columns = list(zip(*known, strict=True)) or [(), (), (), ()]
        return {
            "seconds_ago": [round(age, 1) for age in columns[0]],
            "in_use": list(columns[1]),
            "waiting": list(columns[2]),
            "timed_out": list(columns[3]),
        }


def _mean(sum_: float, seconds: float) -> float:
    return max(0.0, round(sum_ / seconds, 2))

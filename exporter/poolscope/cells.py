"""
The layout of a ledger's cells, and what a reader makes of them.

Every number of a pool is a float64 in one flat block, so that it can as well lie in a file that
another process maps. Only this module knows which cell is which.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from poolscope.metrics import ACQUIRE_BUCKETS, DNS_BUCKETS, HOLD_BUCKETS, OPEN_BUCKETS
from poolscope.reading import Histogram, Reading

PEAK_WINDOW: Final = 60.0
"""Seconds. Peaks live in the current and the previous window, so they look 60 to 120 s back."""

# fmt: off
(
    SEQUENCE, TEXTS,                                                  # odd: changing; names written
    IN_USE, IDLE, OPENING, WAITING,                                   # what is, now
    LIMIT, IDLE_LIMIT, IDLE_FLOOR,                                    # NaN: takes no new callers
    LEAK_AFTER,                                                       # inf: nothing is overdue
    SINCE, CHANGED,                                                   # clock: first, last change
    IN_USE_SECONDS, WAITING_SECONDS, SATURATED_SECONDS,               # sums up to CHANGED
    WINDOW, IN_USE_PEAK, IN_USE_PEAK_BEFORE, WAITING_PEAK, WAITING_PEAK_BEFORE,
    OK, TIMEOUT, CANCELLED, ERROR, WAITED, REUSED,
    OPENED, OPEN_FAILED, CLOSED, INVALIDATED_HARD, INVALIDATED_SOFT,
    WAS_OVERDUE, RECOVERED,                                           # holds that have ended
    ABANDONED, LEAKS_ABANDONED, NESTED, MOST_IN_USE,
    DNS_HIT, DNS_MISS, DNS_ERROR,
    SCALARS,
) = range(41)
# fmt: on


PEAKS: Final = slice(WINDOW, WAITING_PEAK_BEFORE + 1)


class HistogramCells:
    """Cells of one histogram: a count for each bound and one beyond the last, then the sum."""

    def __init__(self, start: int, bounds: tuple[float, ...]) -> None:
        self.start: Final = start
        self.bounds: Final = bounds
        self.sum: Final = start + len(bounds) + 1
        self.end: Final = self.sum + 1

    def observe(self, cells: memoryview[float], seconds: float) -> None:
        cells[self.start + bisect_left(self.bounds, seconds)] += 1
        cells[self.sum] += seconds

    def read(self, cells: Sequence[float]) -> Histogram:
        return Histogram(tuple(cells[self.start : self.sum]), cells[self.sum])


ACQUIRE_SECONDS: Final = HistogramCells(SCALARS, ACQUIRE_BUCKETS)
QUEUE_SECONDS: Final = HistogramCells(ACQUIRE_SECONDS.end, ACQUIRE_BUCKETS)
OPEN_SECONDS: Final = HistogramCells(QUEUE_SECONDS.end, OPEN_BUCKETS)
HOLD_SECONDS: Final = HistogramCells(OPEN_SECONDS.end, HOLD_BUCKETS)
DNS_SECONDS: Final = HistogramCells(HOLD_SECONDS.end, DNS_BUCKETS)

SHOWN_SITES: Final = 50
"""Functions of a pool that are told apart; the first ones that ask."""

WAIT_SLOTS: Final = 64
"""Waits that are detailed in cells; further ones are counted all the same."""

FIRST_WAIT: Final = DNS_SECONDS.end
"""One cell for each wait: the clock when it began, or 0.0."""

FIRST_SITE: Final = FIRST_WAIT + WAIT_SLOTS
SITE_CELLS: Final = 4
"""For each function: the number of its name, connections out, their seconds, up to which clock."""

FIRST_HOLD: Final = FIRST_SITE + SITE_CELLS * (SHOWN_SITES + 1)
HOLD_CELLS: Final = 4
HOLD_SITE: Final = 1
HOLD_LABEL: Final = 2
HOLD_LOST: Final = 3
"""
For each hold, to the end: the clock when it began, or 0.0; the numbers of its line and of its
function; whether it is abandoned.
"""


def size(slots: int) -> int:
    """Return how many cells there are, with that many hold slots."""
    return FIRST_HOLD + HOLD_CELLS * slots


def peak(cells: Sequence[float], current: int, before: int, value: int, now: float) -> float:
    """Return the highest value of the last 60 to 120 s, without rotating the windows."""
    age = now - cells[WINDOW]
    if age < PEAK_WINDOW:
        return max(cells[current], cells[before])
    if age < 2 * PEAK_WINDOW:
        return cells[current]
    return cells[value]


def oldest(starts: Sequence[float], now: float) -> float:
    """Return the age in seconds of the earliest start that is not 0.0, or 0.0."""
    earliest = min((start for start in starts if start), default=now)
    return max(0.0, now - earliest)


def is_overdue(since: float, now: float, leak_after: float) -> bool:
    """Whether a hold that began at `since`, and not at 0.0, lasts for longer than it should."""
    return since != 0.0 and now - since > leak_after


def read(
    cells: Sequence[float],
    now: float,
    more_holds: Sequence[float] = (),
    more_waits: Sequence[float] = (),
) -> Reading:
    """
    Return what the cells say at the clock's `now`, in seconds of `time.monotonic`.

    `more_holds` and `more_waits` are the starts of those that found no slot.

    The interval since the last change is added to the time-weighted sums, so that two readings
    without any event in between differ by just the time that passed.
    """
    passed = max(0.0, now - cells[CHANGED])
    retired = math.isnan(cells[LIMIT])
    in_use, waiting = cells[IN_USE], cells[WAITING]
    saturated = in_use + cells[OPENING] >= cells[LIMIT]
    holds = (*cells[FIRST_HOLD::HOLD_CELLS], *more_holds)
    overdue = float(sum(is_overdue(since, now, cells[LEAK_AFTER]) for since in holds))
    reading = Reading(
        in_use=in_use,
        idle=cells[IDLE],
        opening=cells[OPENING],
        waiting=waiting,
        limit=0.0 if retired else cells[LIMIT],
        idle_limit=0.0 if retired else cells[IDLE_LIMIT],
        idle_floor=0.0 if retired else cells[IDLE_FLOOR],
        in_use_peak=peak(cells, IN_USE_PEAK, IN_USE_PEAK_BEFORE, IN_USE, now),
        waiting_peak=peak(cells, WAITING_PEAK, WAITING_PEAK_BEFORE, WAITING, now),
        overdue=overdue,
        abandoned=cells[ABANDONED],
        oldest_hold_seconds=oldest(holds, now),
        oldest_wait_seconds=oldest((*cells[FIRST_WAIT:FIRST_SITE], *more_waits), now),
        instances=0.0 if retired else 1.0,
        watched_seconds=max(0.0, now - cells[SINCE]),
        most_in_use=cells[MOST_IN_USE],
        acquired=cells[OK],
        timed_out=cells[TIMEOUT],
        cancelled=cells[CANCELLED],
        failed=cells[ERROR],
        waited=cells[WAITED],
        reused=cells[REUSED],
        opened=cells[OPENED],
        open_failed=cells[OPEN_FAILED],
        closed=cells[CLOSED],
        invalidated_hard=cells[INVALIDATED_HARD],
        invalidated_soft=cells[INVALIDATED_SOFT],
        nested=cells[NESTED],
        leaks_overdue=cells[WAS_OVERDUE] + overdue,
        leaks_abandoned=cells[LEAKS_ABANDONED],
        leaks_recovered=cells[RECOVERED],
        dns_hits=cells[DNS_HIT],
        dns_misses=cells[DNS_MISS],
        dns_errors=cells[DNS_ERROR],
        in_use_seconds=cells[IN_USE_SECONDS] + in_use * passed,
        waiting_seconds=cells[WAITING_SECONDS] + waiting * passed,
        saturated_seconds=cells[SATURATED_SECONDS] + saturated * passed,
        acquire_seconds=ACQUIRE_SECONDS.read(cells),
        queue_seconds=QUEUE_SECONDS.read(cells),
        open_seconds=OPEN_SECONDS.read(cells),
        hold_seconds=HOLD_SECONDS.read(cells),
        dns_seconds=DNS_SECONDS.read(cells),
    )
    # Of a pool that is closed and empty, the peaks go with the other gauges.
    return reading if reading.live else reading.ended()

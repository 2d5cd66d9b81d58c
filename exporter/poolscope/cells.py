"""
The layout of a ledger's cells, and what a reader makes of them.

Every number of a pool is a float64 in one flat block, so that it can as well lie in a file that
another process maps. Only this module knows which cell is which.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from poolscope.metrics import ACQUIRE_BUCKETS, DNS_BUCKETS, HOLD_BUCKETS, OPEN_BUCKETS
from poolscope.reading import GAUGES

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
    # From here to INVALIDATED_SOFT, and in the histograms, the order is that of a Reading.
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
    return max(0.0, now - min(filter(None, starts), default=now))


def is_overdue(since: float, now: float, leak_after: float) -> bool:
    """Whether a hold that began at `since`, and not at 0.0, lasts for longer than it should."""
    return since != 0.0 and now - since > leak_after


def values(
    cells: Sequence[float], now: float, holds: Sequence[float], waits: Sequence[float]
) -> list[float]:
    """
    Return `Reading.values` of a pool at the clock's `now`, in seconds of `time.monotonic`.

    cells: those before `FIRST_WAIT`; further ones are not looked at.
    holds, waits: when each began, or 0.0 where there is none.

    The interval since the last change is added to the time-weighted sums, so that two readings
    without any event in between differ by just the time that passed.
    """
    passed = max(0.0, now - cells[CHANGED])
    limit, in_use, waiting = cells[LIMIT], cells[IN_USE], cells[WAITING]
    idle, opening = cells[IDLE], cells[OPENING]
    retired = limit != limit
    oldest_hold, leak_after = oldest(holds, now), cells[LEAK_AFTER]
    overdue = 0
    if oldest_hold > leak_after:
        overdue = sum(is_overdue(since, now, leak_after) for since in holds)
    if retired and not (in_use or idle or opening or waiting):
        # Of a pool that is closed and empty, the peaks go with the other gauges.
        gauges = [0.0] * GAUGES
    else:
        gauges = [
            in_use,
            idle,
            opening,
            waiting,
            0.0 if retired else limit,
            0.0 if retired else cells[IDLE_LIMIT],
            0.0 if retired else cells[IDLE_FLOOR],
            float(overdue),
            cells[ABANDONED],
            peak(cells, IN_USE_PEAK, IN_USE_PEAK_BEFORE, IN_USE, now),
            peak(cells, WAITING_PEAK, WAITING_PEAK_BEFORE, WAITING, now),
            oldest_hold,
            oldest(waits, now),
            0.0 if retired else 1.0,
            max(0.0, now - cells[SINCE]),
            cells[MOST_IN_USE],
        ]
    return [
        *gauges,
        *cells[OK : INVALIDATED_SOFT + 1],
        cells[NESTED],
        cells[WAS_OVERDUE] + overdue,
        cells[LEAKS_ABANDONED],
        cells[RECOVERED],
        cells[DNS_HIT],
        cells[DNS_MISS],
        cells[DNS_ERROR],
        cells[IN_USE_SECONDS] + in_use * passed,
        cells[WAITING_SECONDS] + waiting * passed,
        cells[SATURATED_SECONDS] + (in_use + opening >= limit) * passed,
        *cells[SCALARS:FIRST_WAIT],
    ]

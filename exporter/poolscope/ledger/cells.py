"""
The layout of a ledger's cells, and what a reader makes of them.

Every number of a pool is a float64 in one flat block, so that it can as well lie in a file that
another process maps. Only this module knows which cell is which.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import MutableSequence, Sequence
from operator import sub
from typing import TYPE_CHECKING, Final, TypeAlias

from poolscope.callsites.frames import SHOWN_SITES
from poolscope.readings.buckets import ACQUIRE_BUCKETS, DNS_BUCKETS, HOLD_BUCKETS, OPEN_BUCKETS
from poolscope.readings.reading import GAUGES

if TYPE_CHECKING:
    from array import array

Cells: TypeAlias = "array[float] | memoryview[float]"
"""In private memory, or in a file."""

PEAK_WINDOW: Final = 60.0
"""Seconds. Peaks live in the current and the previous window, so they look 60 to 120 s back."""

# fmt: off
(
    SEQUENCE,                                    # odd while a writer changes the cells
    LIMIT, IDLE_LIMIT, IDLE_FLOOR,               # NaN: the pool takes no new callers
    LEAK_AFTER,                                  # inf: no hold is ever overdue
    # What follows is never infinite, NaN, or below 0.0.
    TEXT_COUNT,                                  # texts that are written
    JOURNAL_LENGTH,                              # 0.0, or 1 + slots that the journal frees
    OPENING, WAITING,                            # how many, now
    SINCE,                                       # clock of the first change
    SATURATED_SINCE,                             # clock, or 0.0 while a slot is free
    # Holds and waits that have no slot: how many, and the sum of the clocks when they began.
    OVERFLOW_HOLDS, OVERFLOW_HOLDS_SINCE, OVERFLOW_WAITS, OVERFLOW_WAITS_SINCE,
    TAKEN_SECONDS, WAITING_SECONDS, SATURATED_SECONDS,   # sums of what has ended
    UNKNOWN_SITE_SECONDS,                        # connection-seconds of holds without a site
    WINDOW, IN_USE_PEAK, IN_USE_PEAK_BEFORE, WAITING_PEAK, WAITING_PEAK_BEFORE,
    TIMEOUT, CANCELLED, ERROR,                   # attempts that ended so
    WAITED, NEW,                                 # NEW: attempts that opened a connection
    # From here to INVALIDATED_SOFT, and in the histograms, the order is that of a Reading.
    OPENED, OPEN_FAILED, CLOSED, INVALIDATED_HARD, INVALIDATED_SOFT,
    WAS_OVERDUE, RECOVERED,                      # holds that have ended
    ABANDONED, LEAKS_ABANDONED, NESTED, MOST_IN_USE,
    DNS_HIT, DNS_MISS, DNS_ERROR,
    SCALARS,
) = range(44)
# fmt: on


OK: Final = NEW
"""The outcome of an attempt that ended well, but whose caller has no connection of the pool."""

PEAKS: Final = slice(WINDOW, WAITING_PEAK_BEFORE + 1)

ALREADY_COUNTED: Final = -math.inf
"""Instead of when an attempt began: it is in the cells already."""

TAKEN: Final = -math.inf
"""Instead of when a hold began: the caller does not have the connection yet."""


class HistogramCells:
    """
    Cells of one histogram: a count for each bound and one beyond the last, then the sum.

    That of the holds has no sum of its own: its seconds are those of all functions, and of nobody.
    """

    def __init__(self, start: int, bounds: tuple[float, ...]) -> None:
        self.start: Final = start
        self.bounds: Final = bounds
        self.sum: Final = start + len(bounds) + 1
        self.end: Final = self.sum + 1

    def observe(self, cells: MutableSequence[float] | memoryview[float], seconds: float) -> None:
        self.observe_count(cells, seconds)
        cells[self.sum] += seconds

    def observe_count(
        self, cells: MutableSequence[float] | memoryview[float], seconds: float
    ) -> None:
        cells[self.start + bisect_left(self.bounds, seconds)] += 1


ACQUIRE_SECONDS: Final = HistogramCells(SCALARS, ACQUIRE_BUCKETS)
QUEUE_SECONDS: Final = HistogramCells(ACQUIRE_SECONDS.end, ACQUIRE_BUCKETS)
OPEN_SECONDS: Final = HistogramCells(QUEUE_SECONDS.end, OPEN_BUCKETS)
HOLD_SECONDS: Final = HistogramCells(OPEN_SECONDS.end, HOLD_BUCKETS)
DNS_SECONDS: Final = HistogramCells(HOLD_SECONDS.end, DNS_BUCKETS)


FIRST_SITE: Final = DNS_SECONDS.end
SITES: Final = SHOWN_SITES + 1
"""One cell for each function, and one for all others: seconds of the holds that have ended."""

FIRST_LABEL: Final = FIRST_SITE + SITES
"""Up to here all segments may have cells; the rest is for readers in other processes."""

SITE_LABEL: Final = SITES
SITE_OVERFLOW: Final = 2 * SITES
SITE_OVERFLOW_SINCE: Final = 3 * SITES
"""
How much further on there is more of a function: the number of its name, and of the holds without a
slot how many, and the sum of the clocks when they began.
"""

FIRST_WAIT: Final = FIRST_SITE + 4 * SITES

WAIT_SLOTS: Final = 64
"""Waits that are detailed: one cell for each, the clock when it began, or 0.0."""

FIRST_JOURNAL: Final = FIRST_WAIT + WAIT_SLOTS
JOURNALED_CELLS: Final = slice(UNKNOWN_SITE_SECONDS, FIRST_LABEL)
"""What changes when numbers are made of holds that have ended, and what lies in between."""

FOLD_BATCH: Final = 32
JOURNAL_CELLS: Final = JOURNALED_CELLS.stop - JOURNALED_CELLS.start + FOLD_BATCH
"""
A redo journal of one batch, for a reader that finds the batch half written, by a writer that is
still at it or was killed: the new values of `JOURNALED_CELLS`, then the hold slots to be freed.
`JOURNAL_LENGTH` has one more than there are slots, or 0.0 if nothing is to be redone.
"""

FIRST_HOLD: Final = FIRST_JOURNAL + JOURNAL_CELLS
HOLD_CELLS: Final = 6
HOLD_ASKED: Final = 1
HOLD_ENDED: Final = 2
HOLD_SITE: Final = 3
HOLD_LABEL: Final = 4
HOLD_LOST: Final = 5
"""
For each hold, to the end: the clock when it began, or 0.0; when it was asked for, or -inf, if that
is counted already; when it ended, or 0.0; the numbers of its line and of its function; whether it
is abandoned. One that has ended is not in the other cells yet.
"""


def size(slots: int) -> int:
    """Return how many cells there are, with that many hold slots."""
    return FIRST_HOLD + HOLD_CELLS * slots


def peak(cells: Sequence[float], current: int, value: float, now: float) -> float:
    """
    Return the highest value of the last 60 to 120 s, without rotating the windows.

    The cell after `current` is that of the window before.
    """
    age = now - cells[WINDOW]
    if age < PEAK_WINDOW:
        return max(cells[current], cells[current + 1], value)
    if age < 2 * PEAK_WINDOW:
        return max(cells[current], value)
    return value


def reading_values(
    now: float,
    cells: Sequence[float],
    held: float,
    holds: Sequence[float],
    asked: Sequence[float],
    waits: Sequence[float],
    overflow_holds: tuple[float, float] = (0.0, 0.0),
    overflow_waits: tuple[float, float] = (0.0, 0.0),
) -> list[float]:
    """
    Return `Reading.reading_values` of a pool at the clock's `now`, in seconds of `time.monotonic`.

    cells: those before `FIRST_SITE`; further ones are not looked at.
    held: seconds of all holds that have ended.
    holds, asked: when each hold began; when each was asked for, or `ALREADY_COUNTED`.
    waits: when each began.
    more_out, more_waits: how many more there are, and the sum of the clocks when they began.

    What lasts is added to the sums of what has ended, so that two readings without any event in
    between differ by just the time that passed.
    """
    in_use, oldest, overdue, lasting = len(holds) + overflow_holds[0], 0.0, 0, 0.0
    acquires = cells[ACQUIRE_SECONDS.start : ACQUIRE_SECONDS.end]
    if holds:
        oldest, lasting = max(0.0, now - min(holds)), _lasted(now, len(holds), sum(holds))
        if oldest > cells[LEAK_AFTER]:
            overdue = sum([now - since > cells[LEAK_AFTER] for since in holds])
        acquires = _with(acquires, list(map(sub, holds, asked)))
    if overflow_holds[0]:
        lasting += _lasted(now, *overflow_holds)
    waiting = cells[WAITING_SECONDS]
    if cells[WAITING]:
        waiting += _lasted(now, len(waits), sum(waits)) + _lasted(now, *overflow_waits)
    ended = cells[TIMEOUT], cells[CANCELLED], cells[ERROR]
    acquired = max(0.0, sum(acquires[:-1]) - sum(ended))
    return [
        *_gauges(cells, now, in_use, overdue, oldest, waits),
        acquired,
        *ended,
        cells[WAITED],
        max(0.0, acquired - cells[NEW]),
        *cells[OPENED : INVALIDATED_SOFT + 1],
        cells[NESTED],
        cells[WAS_OVERDUE] + overdue,
        cells[LEAKS_ABANDONED],
        cells[RECOVERED],
        cells[DNS_HIT],
        cells[DNS_MISS],
        cells[DNS_ERROR],
        cells[TAKEN_SECONDS] + held + lasting,
        waiting,
        cells[SATURATED_SECONDS] + max(0.0, now - (cells[SATURATED_SINCE] or now)),
        *acquires,
        *cells[ACQUIRE_SECONDS.end : HOLD_SECONDS.sum],
        held,
        *cells[HOLD_SECONDS.end : FIRST_SITE],
    ]


def _lasted(now: float, number: float, since: float) -> float:
    """Return how long so many have lasted in sum; `since` is the sum of when they began."""
    return max(0.0, number * now - since)


def _with(acquires: Sequence[float], took: list[float]) -> Sequence[float]:
    """Return the histogram of all attempts, with those whose holds last; infinite: it has them."""
    acquires = list(acquires)
    if max(took) <= ACQUIRE_BUCKETS[0]:  # as it mostly is
        acquires[0] += len(took)
        acquires[-1] += sum(took)
        return acquires
    for seconds in took:
        if seconds < math.inf:
            acquires[bisect_left(ACQUIRE_BUCKETS, seconds)] += 1
            acquires[-1] += seconds
    return acquires


def _gauges(
    cells: Sequence[float],
    now: float,
    in_use: float,
    overdue: float,
    oldest: float,
    waits: Sequence[float],
) -> list[float]:
    """Return the gauges of a reading."""
    limit, opening, waiting = cells[LIMIT], cells[OPENING], cells[WAITING]
    idle = max(0.0, cells[OPENED] - cells[CLOSED] - in_use)
    retired = limit != limit
    if retired and not (in_use or idle or opening or waiting):
        # Of a pool that is closed and empty, the peaks go with the other gauges.
        return [0.0] * GAUGES
    return [
        in_use,
        idle,
        opening,
        waiting,
        0.0 if retired else limit,
        0.0 if retired else cells[IDLE_LIMIT],
        0.0 if retired else cells[IDLE_FLOOR],
        overdue,
        cells[ABANDONED],
        peak(cells, IN_USE_PEAK, in_use, now),
        peak(cells, WAITING_PEAK, waiting, now),
        oldest,
        max(0.0, now - min(waits, default=now)),
        0.0 if retired else 1.0,
        max(0.0, now - cells[SINCE]),
        cells[MOST_IN_USE],
    ]

"""
The layout of a ledger's cells, and the values of a reading that are computed from them.

Every number of a pool is a float64 in one flat block, so the block can be in private memory or in
a file that another process reads. This module alone assigns the cells; the modules that read and
write them use the names that it gives.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import MutableSequence, Sequence
from operator import sub
from typing import TYPE_CHECKING, Final, TypeAlias

from poolscope.callsites.frames import SHOWN_SITES
from poolscope.callsites.operations import SHOWN_OPERATIONS
from poolscope.readings.buckets import ACQUIRE_BUCKETS, DNS_BUCKETS, HOLD_BUCKETS, OPEN_BUCKETS
from poolscope.readings.exemplars import NUMBERS
from poolscope.readings.hosts import SHOWN_HOSTS
from poolscope.readings.reading import GAUGES

if TYPE_CHECKING:
    from array import array

Cells: TypeAlias = "array[float] | memoryview[float]"
"""The block of numbers: an array in private memory, or a view of a file."""

PEAK_WINDOW: Final = 60.0
"""Seconds. A peak covers the current and the previous window: the last 60 to 120 s."""

# fmt: off
(
    SEQUENCE,                                    # odd while a writer changes the cells
    LIMIT, IDLE_LIMIT, IDLE_FLOOR,               # NaN: the pool has been closed
    LEAK_AFTER,                                  # inf: no hold is ever overdue
    # The cells from here on are finite and not negative.
    TEXT_COUNT,                                  # texts written so far
    JOURNAL_LENGTH,                              # 0.0, or 1 + slots that the journal frees
    OPENING, WAITING,                            # current numbers
    SINCE,                                       # clock when the watch began
    SATURATED_SINCE,                             # clock, or 0.0 while the pool has a free slot
    # Holds and waits without a slot: their number, and the sum of their start times.
    OVERFLOW_HOLDS, OVERFLOW_HOLDS_SINCE, OVERFLOW_WAITS, OVERFLOW_WAITS_SINCE,
    # Likewise, of the open holds whose callers have a request by HTTP under way.
    ACROSS_NOW, ACROSS_NOW_SINCE,
    # Pauses of the process, the latest first: the clock when one ended, and its seconds.
    PAUSES, _SECONDS_1, _END_2, _SECONDS_2, _END_3, _SECONDS_3,
    # Sums of finished intervals; ACROSS_HOLDS: the number of holds in ACROSS_SECONDS.
    TAKEN_SECONDS, WAITING_SECONDS, SATURATED_SECONDS, ACROSS_SECONDS, ACROSS_HOLDS,
    UNKNOWN_SITE_SECONDS,                        # seconds of finished holds without a site
    WINDOW, IN_USE_PEAK, IN_USE_PEAK_BEFORE, WAITING_PEAK, WAITING_PEAK_BEFORE,
    TIMEOUT, CANCELLED, ERROR,                   # failed attempts by outcome
    WAITED, GAVE_UP,                             # GAVE_UP: attempts that ended while they waited
    NEW,                                         # attempts that opened a connection
    # From here to INVALIDATED_SOFT, and in the histograms, the order is that of `Reading`.
    OPENED, OPEN_FAILED, CLOSED, INVALIDATED_HARD, INVALIDATED_SOFT,
    WAS_OVERDUE, RECOVERED,                      # of finished holds
    ABANDONED, LOST_SLOTS,                       # LOST_SLOTS: of those, without a connection
    LEAKS_ABANDONED, NESTED, MOST_IN_USE,
    DNS_HIT, DNS_MISS, DNS_ERROR,
    SCALARS,
) = range(56)
# fmt: on


OK: Final = NEW
"""
The outcome of an attempt that succeeded with a connection that is not the pool's any more. It
counts as acquired and not as reused.
"""

PEAKS: Final = slice(WINDOW, WAITING_PEAK_BEFORE + 1)

PAUSE_ENDS: Final = (PAUSES, _END_2, _END_3)

ALREADY_COUNTED: Final = -math.inf
"""Replaces the start time of an attempt whose duration has been observed already."""

TAKEN: Final = -math.inf
"""Replaces the start time of a hold while the connection is being set up for its caller."""


class HistogramCells:
    """
    The cells of one histogram: a count for each bucket, one for values above the last bound, and
    the sum in seconds.

    The sum of `HOLD_SECONDS` is unused: readers add up the seconds by function instead.
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
"""Cells for the seconds of finished holds: one for each function, and one for all others."""

FIRST_OPERATION: Final = FIRST_SITE + SITES
OPERATIONS: Final = SHOWN_OPERATIONS + 1
"""Cells for the same seconds by operation."""

FIRST_HOST: Final = FIRST_OPERATION + OPERATIONS
HOSTS: Final = SHOWN_HOSTS + 1
HOST_CELLS: Final = 7
HOST_OPENED: Final = 0
HOST_FAILED: Final = 1
HOST_OPEN: Final = 2
HOST_OPENING: Final = 3
HOST_WAITING: Final = 4
HOST_OVERFLOW: Final = 5
HOST_LABEL: Final = 6
"""
A row of cells for each host, and one for all others: how many connections were opened, and how
many attempts to open one have failed; how many are open and being opened, and how many callers
wait; and, for readers in other processes, the number of its holds without a slot, and the number of
its label.
"""

FIRST_LABEL: Final = FIRST_HOST + HOST_CELLS * HOSTS
"""The cells from here on exist only in files: they are for readers in other processes."""

_ROWS: Final = SITES + OPERATIONS

ROW_LABEL: Final = FIRST_LABEL - FIRST_SITE
ROW_OVERFLOW: Final = ROW_LABEL + _ROWS
ROW_OVERFLOW_SINCE: Final = ROW_OVERFLOW + _ROWS
"""
Offsets from the cell of the seconds of a function or operation to its other cells: the number of
its label; the number of its holds without a slot, and the sum of their start times.
"""

FIRST_WAIT: Final = FIRST_LABEL + 3 * _ROWS

PUBLISHED: Final = slice(OPENING, FIRST_WAIT)
"""The cells that a ledger changes in private memory, and publishes together."""

WAIT_SLOTS: Final = 64
"""Each slot is one cell: the clock when a wait began, or 0.0. Further waits are only counted."""

FIRST_EXEMPLAR: Final = FIRST_WAIT + WAIT_SLOTS
EXEMPLAR_CELLS: Final = 6
"""
An exemplar for each bucket: the seconds, the Unix time, and the id of the trace as four numbers of
32 bits. All are 0.0 if there is none.
"""

FIRST_JOURNAL: Final = FIRST_EXEMPLAR + EXEMPLAR_CELLS * NUMBERS
JOURNALED_CELLS: Final = slice(UNKNOWN_SITE_SECONDS, FIRST_HOST)
"""The smallest range with all the cells that a fold of finished holds changes."""

FOLD_BATCH: Final = 32
JOURNAL_CELLS: Final = JOURNALED_CELLS.stop - JOURNALED_CELLS.start + FOLD_BATCH
"""
A redo journal of one batch: the new values of `JOURNALED_CELLS`, then the hold slots to free. A
reader that finds a batch half written, because the writer is in the middle of it or was killed,
applies the journal to its copy. `JOURNAL_LENGTH` is 1 + the number of slots, or 0.0 if there is
nothing to redo.
"""

FIRST_HOLD: Final = FIRST_JOURNAL + JOURNAL_CELLS
HOLD_CELLS: Final = 10
HOLD_ASKED: Final = 1
HOLD_ENDED: Final = 2
HOLD_SITE: Final = 3
HOLD_LABEL: Final = 4
HOLD_LOST: Final = 5
HOLD_OPERATION: Final = 6
HOLD_NOW_AT: Final = 7
HOLD_COUNTS_FROM: Final = 8
HOLD_HOST: Final = 9
"""
All further cells are hold slots. Each has the clock when the hold began, or 0.0 if the slot is
free; when the caller asked, or `ALREADY_COUNTED`; when the hold ended, or 0.0; the numbers of its
line and of its function's label; whether it is abandoned; the number of its operation's name, or
0.0; that of the line at which its holder was when the process last looked, or 0.0; the clock from
which on its age makes it overdue, if that is not when it began, infinite while it is held on
purpose; the first cell of its host, or 0.0. A hold that has ended keeps its slot until a fold adds
it to the other cells. A free slot has no operation, no such line and no host.
"""


def size(slots: int) -> int:
    """Return the number of cells of a file with that many hold slots."""
    return FIRST_HOLD + HOLD_CELLS * slots


def count_overflow(cells: Cells, number: int, started: int, change: int, since: float) -> None:
    """
    Count one more or one less (`change`) without a slot, which began at `since`.

    number, started: the cell of their number, and the cell of the sum of their start times.
    """
    cells[number] += change
    # Rounding errors in the sum must not outlast the last one.
    cells[started] = cells[started] + change * since if cells[number] else 0.0


def count_at_host(numbers: array[float], host: int, cell: int, change: int) -> None:
    """Change a number of a host by 1 or -1; `host` is its first cell, or 0 in a pool of one."""
    if host:
        numbers[host + cell] += change


def add_pause(
    cells: MutableSequence[float] | memoryview[float], start: float, end: float, oldest: float
) -> None:
    """
    Add a pause of the process, or the part of it that is later than those known.

    oldest: when the oldest open hold began. Pauses before that do not matter any more; if there are
        still too many, the two earliest become one, at the time of the earlier one.
    """
    pauses = [(cells[at], cells[at + 1]) for at in PAUSE_ENDS if cells[at] > oldest]
    start = max(start, cells[PAUSES])
    if end <= start:
        return
    pauses.insert(0, (end, end - start))
    if len(pauses) > len(PAUSE_ENDS):
        (_, later), (earlier_end, earlier) = pauses[-2:]
        pauses[-2:] = [(earlier_end, earlier + later)]
    pauses += [(0.0, 0.0)] * (len(PAUSE_ENDS) - len(pauses))
    for at, pause in zip(PAUSE_ENDS, pauses, strict=True):
        cells[at], cells[at + 1] = pause


def paused(cells: Sequence[float], since: float) -> float:
    """Return the seconds for which the process did not run since then."""
    if cells[PAUSES] <= since:  # as in most readings
        return 0.0
    return sum([cells[at + 1] for at in PAUSE_ENDS if cells[at] > since])


def is_overdue(cells: Sequence[float], since: float, now: float) -> bool:
    """Whether a hold that began then is overdue; pauses of the process do not count."""
    leak_after = cells[LEAK_AFTER]
    return now - since > leak_after and now - since - paused(cells, since) > leak_after


def peak(cells: Sequence[float], current: int, value: float, now: float) -> float:
    """
    Return the highest value of the last 60 to 120 s, without rotating the windows.

    current: the cell of the peak in the current window; the next cell is that of the previous one.
    value: the present value, at the clock's `now`.
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
    overdue_since: Sequence[float] = (),
) -> list[float]:
    """
    Return the values of a pool at the clock's `now`, in the order of `Reading.values`.

    cells: those before `FIRST_SITE`; further ones are ignored.
    held, waits: the seconds of all finished holds, and the start time of each wait.
    holds, asked: the start time of each open hold, and when its caller asked for the connection or
        `ALREADY_COUNTED`.
    overflow_holds, overflow_waits: the number of further ones, and the sum of their start times.
    overdue_since: the clock from which on the age of each open hold makes it overdue.

    The sums of seconds include open holds and waits up to `now`, and grow as time passes.
    """
    in_use, oldest, overdue, open_seconds = len(holds) + overflow_holds[0], 0.0, 0, 0.0
    acquires = cells[ACQUIRE_SECONDS.start : ACQUIRE_SECONDS.end]
    if holds:
        oldest = max(0.0, now - min(holds))
        open_seconds = _elapsed(now, len(holds), sum(holds))
        if oldest > cells[LEAK_AFTER]:
            overdue = sum([is_overdue(cells, since, now) for since in overdue_since])
        acquires = _observe_all(acquires, list(map(sub, holds, asked)))
    if overflow_holds[0]:
        open_seconds += _elapsed(now, *overflow_holds)
    waiting_seconds = cells[WAITING_SECONDS]
    if cells[WAITING]:
        waiting_seconds += _elapsed(now, len(waits), sum(waits)) + _elapsed(now, *overflow_waits)
    failed = cells[TIMEOUT], cells[CANCELLED], cells[ERROR]
    acquired = max(0.0, sum(acquires[:-1]) - sum(failed))
    # `Reading.of` takes these values by position: the order is that of its fields.
    return [
        *_gauges(cells, now, in_use, overdue, oldest, waits),
        acquired,
        *failed,
        cells[WAITED],
        cells[GAVE_UP],
        max(0.0, acquired - cells[NEW]),
        *cells[OPENED : INVALIDATED_SOFT + 1],
        cells[NESTED],
        cells[WAS_OVERDUE] + overdue,
        cells[LEAKS_ABANDONED],
        cells[RECOVERED],
        *cells[DNS_HIT : DNS_ERROR + 1],
        cells[TAKEN_SECONDS] + held + open_seconds,
        waiting_seconds,
        cells[SATURATED_SECONDS] + max(0.0, now - (cells[SATURATED_SINCE] or now)),
        cells[ACROSS_HOLDS],
        cells[ACROSS_SECONDS] + _elapsed(now, cells[ACROSS_NOW], cells[ACROSS_NOW_SINCE]),
        *acquires,
        *cells[ACQUIRE_SECONDS.end : HOLD_SECONDS.sum],
        held,
        *cells[HOLD_SECONDS.end : FIRST_SITE],
    ]


def _elapsed(now: float, number: float, started: float) -> float:
    """Return the seconds of `number` intervals together; `started` is the sum of their starts."""
    return max(0.0, number * now - started)


def _observe_all(acquires: Sequence[float], durations: list[float]) -> Sequence[float]:
    """Return the histogram with these durations too; infinite ones have been observed already."""
    acquires = list(acquires)
    if max(durations) <= ACQUIRE_BUCKETS[0]:  # as in most readings
        acquires[0] += len(durations)
        acquires[-1] += sum(durations)
        return acquires
    for seconds in durations:
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
    """Return the gauges, in the order of the fields of `Reading`."""
    limit, opening, waiting = cells[LIMIT], cells[OPENING], cells[WAITING]
    idle = max(0.0, cells[OPENED] - cells[CLOSED] - (in_use - cells[LOST_SLOTS]))
    retired = limit != limit  # NaN
    if retired and not (in_use or idle or opening or waiting):
        # A closed and empty pool has no gauges, so its peaks disappear too.
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

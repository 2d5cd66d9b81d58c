"""
The holds of a pool: which connections are in use, by which borrower and since when, and which of
them are overdue or abandoned.

A hold is an `OpenHold` in `Holds.in_use` until it ends. On the hot path it then becomes a
`FinishedHold` in `Holds.finished`, which a fold adds to the cells, several at a time.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Hashable
from typing import Final, Literal, NamedTuple

from poolscope.callsites.borrower import UNKNOWN_BORROWER, Borrower
from poolscope.callsites.frames import Function
from poolscope.ledger import cells as c
from poolscope.ledger.segment import Segment
from poolscope.ledger.site_cells import SiteCells
from poolscope.readings.buckets import ACQUIRE_BUCKETS, HOLD_BUCKETS
from poolscope.readings.holders import Holder
from poolscope.readings.sites import SiteReading

MAX_FINISHED: Final = c.FOLD_BATCH
"""The number of finished holds at which they are folded into the cells, all at once."""

MAX_LEAK_EVENTS: Final = 1000
"""Events that wait to be logged; the oldest ones beyond that are dropped."""

HolderRef = Callable[[], object]

ALWAYS_HELD: Final[HolderRef] = int
"""For holds without a reference to their holder: never returns None."""

SLOW_RELEASE: Final[HolderRef] = type(None)
"""Always returns None, so `hot_path` leaves the end of the hold to `Events.returned`."""

OpenHold = tuple[float, float, Borrower, HolderRef, int]
"""
A connection in use:

    since       clock when the caller got it, or `cells.TAKEN` while it is being set up
    asked       clock when the caller asked (while it is being set up: when it was taken), or
                `cells.ALREADY_COUNTED`
    borrower    a tuple that no other hold has
    holder_ref  returns None once nobody can return the connection any more
    slot        first cell of the hold's slot, or 0 if it has none

A plain tuple, because the hot path makes one for each use of a connection.
"""


FinishedHold = tuple[Hashable, Borrower, float, float, int]
"""
A hold that has ended and is not in the cells yet: its key, its borrower, the seconds from asking to
getting the connection, the seconds that it was held, and its slot or 0.
"""

_FIRST: Final = c.JOURNALED_CELLS.start
_ACQUIRES: Final = c.ACQUIRE_SECONDS.start - _FIRST
_ACQUIRE_SUM: Final = c.ACQUIRE_SECONDS.sum - _FIRST
_HOLDS: Final = c.HOLD_SECONDS.start - _FIRST
_FIRST_BOUND: Final = ACQUIRE_BUCKETS[0]
"""Seconds. Most attempts are in the first bucket, which is counted without a search."""


class LeakEvent(NamedTuple):
    """What the log has to report of a hold, once."""

    event: Literal["overdue", "abandoned", "recovered"]
    who: Borrower | None
    held_seconds: float


class Holds:
    """
    The open holds, and those that have ended but are not in the cells yet.

    in_use: the open holds, by the key of the connection.
    finished: the holds that the next fold adds to the cells.
    holds_by_borrower: how many connections each task or thread holds, by `borrower_key`.
    site_cells: the cells of the functions.
    next_check_at: the clock from which on a hold may be overdue, or a leak waits to be logged.
    leak_events: what waits to be logged.

    The caller of a method holds the ledger's lock. `hot_path` begins and ends ordinary holds in
    these same attributes without the lock, by single operations on a dictionary or a list.
    """

    __slots__ = (
        "_abandoned",
        "_cells",
        "_checked_at",
        "_holder_refs",
        "_leak_after",
        "_segment",
        "finished",
        "holds_by_borrower",
        "in_use",
        "leak_events",
        "next_check_at",
        "site_cells",
    )

    def __init__(self, leak_after: float) -> None:
        self.in_use: dict[Hashable, OpenHold] = {}
        self.finished: list[FinishedHold] = []
        self.holds_by_borrower: dict[Hashable, int] = {}
        self.site_cells = SiteCells()
        self.next_check_at = math.inf
        self.leak_events: list[LeakEvent] = []
        self._leak_after = leak_after
        # The references of the holds that have `SLOW_RELEASE` instead.
        self._holder_refs: dict[Hashable, HolderRef] = {}
        # A dictionary, because an empty set takes three times the memory.
        self._abandoned: dict[Hashable, None] = {}
        # The holds that were overdue at this time have been reported.
        self._checked_at = -math.inf

    def start(self, segment: Segment, now: float) -> None:
        """Begin without holds, in a segment whose cells are all 0.0."""
        self._segment = segment
        self._cells = segment.cells
        self.in_use.clear()
        self.finished.clear()
        self.holds_by_borrower.clear()
        self.site_cells.start(segment)
        self._holder_refs.clear()
        self._abandoned.clear()
        self._checked_at = -math.inf
        self.leak_events.clear()
        self.next_check_at = now + self._leak_after

    def who(self, key: Hashable) -> Borrower | None:
        """Return the borrower of the connection, or None if it is not known."""
        hold = self.in_use.get(key)
        return _known(hold[2]) if hold is not None else None

    def is_held(self, key: Hashable) -> bool:
        """Whether a caller has the connection; not while it is being set up."""
        hold = self.in_use.get(key)
        return hold is not None and hold[0] != c.TAKEN

    def holder_ref(self, key: Hashable) -> HolderRef:
        """Return the `holder_ref` of the open hold, also where `SLOW_RELEASE` replaces it."""
        hold = self.in_use.get(key)
        holder_ref = hold[3] if hold is not None else ALWAYS_HELD
        return self._holder_refs.get(key, ALWAYS_HELD) if holder_ref is SLOW_RELEASE else holder_ref

    # Beginning and ending

    def take(self, key: Hashable, now: float) -> None:
        """A connection is being set up for a caller."""
        self._count_overflow(1, now)
        self.in_use[key] = c.TAKEN, now, UNKNOWN_BORROWER, SLOW_RELEASE, 0

    def begin(
        self, key: Hashable, now: float, asked: float, borrower: Borrower, holder_ref: HolderRef
    ) -> None:
        """
        A caller gets a connection.

        A hold that the connection already has ends: it was set up, or is taken over by this caller.
        """
        self.end(key, now, returned=True)
        slot = self._take_slot(borrower)
        if slot:
            self._cells[slot + c.HOLD_ASKED] = asked
            self._cells[slot] = now
        elif self._segment.shared:
            self._count_overflow(1, now, borrower[0])
            self._observe_acquire(asked, now)
            asked = c.ALREADY_COUNTED
        if asked == c.ALREADY_COUNTED:
            self._holder_refs[key], holder_ref = holder_ref, SLOW_RELEASE
        self.in_use[key] = now, asked, borrower, holder_ref, slot
        self.holds_by_borrower[borrower[2]] = self.holds_by_borrower.get(borrower[2], 0) + 1

    def end(self, key: Hashable, now: float, returned: bool) -> None:
        """End a hold, if there is one: `returned` by its holder, or lost."""
        hold = self.in_use.pop(key, None)
        if hold is None:
            return
        self._holder_refs.pop(key, None)
        since, asked, borrower, _, slot = hold
        if since == c.TAKEN:
            self._cells[c.TAKEN_SECONDS] += max(0.0, now - asked)
            self._count_overflow(-1, asked)
            return
        held = max(0.0, now - since)
        self._observe_acquire(asked, since)
        c.HOLD_SECONDS.observe_count(self._cells, held)
        self._cells[self.site_cells.cell(borrower[0])] += held
        if slot:
            self._free_slot(slot)
        else:
            self._count_overflow(-1, since, borrower[0])
        self._remove_from_borrower(borrower[2])
        self._count_leak(key, borrower, held, returned)

    def fold(self) -> None:
        """Add the finished holds to the cells."""
        for _ in range(0, len(self.finished), MAX_FINISHED):
            batch = self.finished[:MAX_FINISHED]
            del self.finished[: len(batch)]
            self._fold(batch)

    def _fold(self, batch: list[FinishedHold]) -> None:
        in_use, bisect = self.in_use, bisect_left
        slow_acquires: list[int] = []
        hold_buckets: list[int] = []
        sites: list[tuple[int, float]] = []
        slots: list[int] = []
        postponed: list[FinishedHold] = []
        acquire_seconds = 0.0
        function: Function | None = batch[0][1][0]
        function_seconds = 0.0
        for key, borrower, acquired_after, held, slot in batch:
            if key in in_use:
                hold = in_use.get(key)
                # Another thread is between the two steps that end the hold: it is still open.
                if hold is not None and hold[2] is borrower:
                    postponed.append((key, borrower, acquired_after, held, slot))
                    continue
            acquire_seconds += acquired_after
            if acquired_after > _FIRST_BOUND:
                slow_acquires.append(bisect(ACQUIRE_BUCKETS, acquired_after))
            hold_buckets.append(bisect(HOLD_BUCKETS, held))
            if borrower[0] is not function:
                sites.append((self.site_cells.cell(function), function_seconds))
                function, function_seconds = borrower[0], 0.0
            function_seconds += held
            if slot:
                slots.append(slot)
        sites.append((self.site_cells.cell(function), function_seconds))
        # Copied only now: `_site_cell` may have added a cell.
        numbers = array("d", self._cells[c.JOURNALED_CELLS].tobytes())
        for cell, seconds in sites:
            numbers[cell - _FIRST] += seconds
        for bucket in set(hold_buckets):
            numbers[_HOLDS + bucket] += hold_buckets.count(bucket)
        for bucket in slow_acquires:
            numbers[_ACQUIRES + bucket] += 1.0
        numbers[_ACQUIRES] += len(hold_buckets) - len(slow_acquires)
        numbers[_ACQUIRE_SUM] += acquire_seconds
        self.finished += postponed
        self._write(numbers, slots)

    def _write(self, numbers: array[float], slots: list[int]) -> None:
        """Write the cells and free the slots, which readers see as one step."""
        cells = self._cells
        if slots:
            self._segment.journal_fold(numbers, slots)
        cells[c.JOURNALED_CELLS] = numbers
        if slots:
            for slot in slots:
                cells[slot] = 0.0
                cells[slot + c.HOLD_ENDED] = 0.0
            cells[c.JOURNAL_LENGTH] = 0.0
            self._segment.free += slots

    def _remove_from_borrower(self, borrower_key: Hashable) -> None:
        """A task or thread holds one connection less."""
        remaining = self.holds_by_borrower.pop(borrower_key, 1) - 1
        if remaining:
            self.holds_by_borrower[borrower_key] = remaining

    def _observe_acquire(self, asked: float, since: float) -> None:
        """Observe the duration of an attempt, unless it has been observed."""
        if asked != c.ALREADY_COUNTED:
            c.ACQUIRE_SECONDS.observe(self._cells, since - asked)

    def _take_slot(self, borrower: Borrower) -> int:
        """Return a slot that names the borrower, or 0 if none is free."""
        segment = self._segment
        if not segment.free:
            return 0
        slot = segment.free.pop()
        if not segment.set_borrower(slot, borrower):
            self.site_cells.cell(borrower[0])
            segment.register_borrower(Borrower(*borrower), self.site_cells.label(borrower[0]))
            segment.set_borrower(slot, borrower)
        return slot

    def _free_slot(self, slot: int) -> None:
        self._cells[slot] = 0.0
        self._cells[slot + c.HOLD_LOST] = 0.0
        self._segment.free.append(slot)

    def _count_overflow(self, change: int, since: float, function: Function | None = None) -> None:
        """Publish one hold without a slot more or less."""
        if not self._segment.shared:
            return
        number, started = c.OVERFLOW_HOLDS, c.OVERFLOW_HOLDS_SINCE
        c.count_overflow(self._cells, number, started, change, since)
        if function is not None:
            site = self.site_cells.cell(function)
            number, started = site + c.SITE_OVERFLOW, site + c.SITE_OVERFLOW_SINCE
            c.count_overflow(self._cells, number, started, change, since)

    # Leaks

    def abandon(self, key: Hashable, now: float) -> bool:
        """An open hold can no longer be returned; return whether that was not known before."""
        if key in self._abandoned or not self.is_held(key):
            return False
        since, asked, borrower, _, slot = self.in_use[key]
        self._holder_refs[key] = ALWAYS_HELD
        self.in_use[key] = since, asked, borrower, SLOW_RELEASE, slot
        self._abandoned[key] = None
        if slot:
            self._cells[slot + c.HOLD_LOST] = 1.0
        self._cells[c.ABANDONED] = len(self._abandoned)
        self._cells[c.LEAKS_ABANDONED] += 1
        self._report(LeakEvent("abandoned", _known(borrower), max(0.0, now - since)))
        return True

    def check_overdue(self, now: float) -> None:
        """Report the holds that have become overdue, and set when to check again."""
        oldest = now
        for since, _, borrower, _, _ in list(self.in_use.values()):
            if since == c.TAKEN or self._checked_at - since > self._leak_after:
                continue
            if now - since > self._leak_after:
                self._add_event(LeakEvent("overdue", _known(borrower), now - since))
            else:
                oldest = min(oldest, since)
        self._checked_at = max(now, self._checked_at)
        # Holds that begin later become overdue later.
        self.next_check_at = oldest + self._leak_after

    def _count_leak(self, key: Hashable, borrower: Borrower, held: float, returned: bool) -> None:
        """Count a hold that has ended, if it was overdue or abandoned."""
        if key in self._abandoned:
            self._abandoned.pop(key, None)
            self._cells[c.ABANDONED] = len(self._abandoned)
            returned = False
        if held > self._leak_after:
            self._cells[c.WAS_OVERDUE] += 1
            if returned:
                self._cells[c.RECOVERED] += 1
                self._report(LeakEvent("recovered", _known(borrower), held))

    def _report(self, event: LeakEvent) -> None:
        """Add an event that is to be logged at the next opportunity."""
        self._add_event(event)
        self.next_check_at = -math.inf

    def _add_event(self, event: LeakEvent) -> None:
        self.leak_events.append(event)
        del self.leak_events[:-MAX_LEAK_EVENTS]

    # Reading

    def seconds(self) -> float:
        """Return the seconds of all finished holds."""
        functions = self._cells[c.FIRST_SITE : c.FIRST_LABEL].tolist()
        return self._cells[c.UNKNOWN_SITE_SECONDS] + sum(functions)

    def holders(self, now: float) -> list[Holder]:
        """Return the holders of the connections in use, the longest hold first."""
        holders = [
            Holder(
                _known(borrower),
                max(0.0, now - since),
                now - since > self._leak_after,
                key in self._abandoned,
            )
            for key, (since, _, borrower, _, _) in list(self.in_use.items())
            if since != c.TAKEN
        ]
        return sorted(holders, key=lambda holder: -holder.held_seconds)

    def sites(self, now: float) -> list[SiteReading]:
        """Return the open and finished holds of each function of the application."""
        sums: dict[str, list[float]] = {}
        for key, (since, _, borrower, _, _) in list(self.in_use.items()):
            if borrower[0] is not None:
                self.site_cells.cell(borrower[0])
                row = sums.setdefault(self.site_cells.label(borrower[0]), [0, 0.0, 0, 0])
                row[0] += 1
                row[1] += max(0.0, now - since)
                row[2] += now - since > self._leak_after
                row[3] += key in self._abandoned
        no_holds = [0, 0.0, 0, 0]
        return [
            SiteReading(label, in_use, self._cells[cell] + seconds, overdue, abandoned)
            for label, cell in self.site_cells.by_label.items()
            for in_use, seconds, overdue, abandoned in [sums.get(label, no_holds)]
        ]


def _known(borrower: Borrower) -> Borrower | None:
    return Borrower(*borrower) if borrower != UNKNOWN_BORROWER else None

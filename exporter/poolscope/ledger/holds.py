"""
The holds of a pool: which connections are in use, by which borrower and since when, and which of
them are overdue or abandoned.

A hold is an `OpenHold` in `Holds.in_use` until it ends. On the hot path it then becomes a
`FinishedHold` in `Holds.finished`, which a fold adds to the cells, several at a time.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Hashable
from operator import delitem, setitem
from typing import Final, Literal, NamedTuple

from poolscope.callsites.borrower import UNKNOWN_BORROWER, Borrower
from poolscope.callsites.frames import Function
from poolscope.ledger import cells as c
from poolscope.ledger.changes import Action, Changes
from poolscope.ledger.folding import add_finished
from poolscope.ledger.lately import Lately
from poolscope.ledger.open_holds import (
    ALWAYS_HELD,
    ORDINARY,
    SLOW_RELEASE,
    FinishedHold,
    HolderRef,
    OpenHold,
    Purpose,
    is_open,
    overdue_since,
)
from poolscope.ledger.segment import Segment
from poolscope.ledger.site_cells import SiteCells

MAX_FINISHED: Final = c.FOLD_BATCH
"""The number of finished holds at which they are folded into the cells, all at once."""

MAX_LEAK_EVENTS: Final = 1000
"""Events that wait to be logged; the oldest ones beyond that are dropped."""


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
    holds_by_borrower: how many connections each task or thread holds, by `borrower_key`; without
        those that are held on purpose, and those that are abandoned: they are nobody's any more.
    abandoned_keys: the open holds that nobody can end any more.
    purposes: of the open holds that are, or were, held on purpose.
    site_cells: the cells of the functions.
    lately: who held connections in the last seconds.
    next_check_at: the clock from which on a hold may be overdue, or a leak waits to be logged.
    leak_events: what waits to be logged.

    The caller of a method holds the ledger's lock, and makes the changes final. `hot_path` begins
    and ends ordinary holds in these same attributes without the lock, by single operations on a
    dictionary or a list.
    """

    __slots__ = (
        "_cells",
        "_changes",
        "_checked_at",
        "_holder_refs",
        "_leak_after",
        "_numbers",
        "_segment",
        "abandoned_keys",
        "finished",
        "holds_by_borrower",
        "in_use",
        "lately",
        "leak_events",
        "next_check_at",
        "purposes",
        "site_cells",
    )

    def __init__(self, leak_after: float, changes: Changes) -> None:
        self._changes = changes
        self.in_use: dict[Hashable, OpenHold] = {}
        self.finished: list[FinishedHold] = []
        self.holds_by_borrower: dict[Hashable, int] = {}
        self.site_cells = SiteCells(changes)
        self.lately = Lately(changes)
        self.next_check_at = math.inf
        self.leak_events: list[LeakEvent] = []
        self._leak_after = leak_after
        # The references of the holds that have `SLOW_RELEASE` instead.
        self._holder_refs: dict[Hashable, HolderRef] = {}
        # A dictionary, because an empty set takes three times the memory.
        self.abandoned_keys: dict[Hashable, None] = {}
        self.purposes: dict[Hashable, Purpose] = {}
        # The holds that were overdue at this time have been reported.
        self._checked_at = -math.inf

    def start(self, segment: Segment, now: float) -> None:
        """Begin without holds, in a segment whose cells are all 0.0."""
        self._segment = segment
        self._cells = segment.cells
        self._numbers = segment.numbers
        self.in_use.clear()
        self.finished.clear()
        self.holds_by_borrower.clear()
        self.site_cells.start(segment)
        self.lately.by_second.clear()
        self._holder_refs.clear()
        self.abandoned_keys.clear()
        self.purposes.clear()
        self._checked_at = -math.inf
        self.leak_events.clear()
        self.next_check_at = now + self._leak_after

    def who(self, key: Hashable) -> Borrower | None:
        """Return the borrower of the connection, or None if it is not known."""
        hold = self.in_use.get(key)
        return known(hold[2]) if hold is not None else None

    @property
    def seen_lately(self) -> bool:
        """Whether there may be holds that are open, or ended lately."""
        return bool(self.in_use or self.finished or self.lately.by_second)

    def is_held(self, key: Hashable) -> bool:
        """Whether a caller has the connection; not while it is being set up."""
        hold = self.in_use.get(key)
        return hold is not None and hold[0] != c.TAKEN

    def held_by(self, borrower_key: Hashable) -> frozenset[Hashable]:
        """Return the keys of the connections that a task or thread holds. No lock is needed."""
        return frozenset(
            key
            for key, hold in self.in_use.copy().items()
            if hold[2][2] == borrower_key and self._is_its_borrowers(key)
        )

    def _is_its_borrowers(self, key: Hashable) -> bool:
        """Whether an open hold counts in `holds_by_borrower`."""
        return key not in self.abandoned_keys and not self._is_on_purpose(key)

    def is_held_by(self, key: Hashable, borrower: Borrower) -> bool:
        """Whether this very `borrower` has the connection."""
        return is_open(self.in_use.get(key), borrower)

    def holder_ref(self, key: Hashable) -> HolderRef:
        """Return the `holder_ref` of the open hold, also where `SLOW_RELEASE` replaces it."""
        hold = self.in_use.get(key)
        holder_ref = hold[3] if hold is not None else ALWAYS_HELD
        return self._holder_refs.get(key, ALWAYS_HELD) if holder_ref is SLOW_RELEASE else holder_ref

    # Beginning and ending

    def take(self, key: Hashable, now: float) -> None:
        """A connection is being set up for a caller."""
        self._count_overflow(1, now)
        self._changes.put(self.in_use, key, (c.TAKEN, now, UNKNOWN_BORROWER, SLOW_RELEASE, 0))

    def begin(
        self, key: Hashable, now: float, asked: float, borrower: Borrower, holder_ref: HolderRef
    ) -> None:
        """
        A caller gets a connection.

        A hold that the connection already has ends: it was set up, or is taken over by this caller.
        """
        self.end(key, now, returned=True)
        slot = self._take_slot(borrower)
        changes = self._changes
        if slot:
            changes.at_commit(setitem, self._cells, slot + c.HOLD_ASKED, asked)
            changes.at_commit(setitem, self._cells, slot, now)
        elif self._segment.shared:
            self._count_overflow(1, now, borrower[0])
            self._observe_acquire(asked, now)
            asked = c.ALREADY_COUNTED
        if asked == c.ALREADY_COUNTED:
            changes.put(self._holder_refs, key, holder_ref)
            holder_ref = SLOW_RELEASE
        changes.put(self.in_use, key, (now, asked, borrower, holder_ref, slot))
        self._add_to_borrower(borrower[2])

    def end(self, key: Hashable, now: float, returned: bool) -> None:
        """End a hold, if there is one: `returned` by its holder, or lost."""
        hold = self._changes.pop(self.in_use, key)
        if hold is None:
            return
        self._changes.pop(self._holder_refs, key)
        since, asked, borrower, _, slot = hold
        if since == c.TAKEN:
            self._numbers[c.TAKEN_SECONDS] += max(0.0, now - asked)
            self._count_overflow(-1, asked)
            return
        held = max(0.0, now - since)
        self._observe_acquire(asked, since)
        c.HOLD_SECONDS.observe_count(self._numbers, held)
        cell = self.site_cells.cell(borrower[0])
        self._numbers[cell] += held
        self.lately.add(borrower, since, now)
        if slot:
            self._free_slot(slot)
        else:
            self._count_overflow(-1, since, borrower[0])
        if self._is_its_borrowers(key):
            self._remove_from_borrower(borrower[2])
        self._count_leak(key, borrower, since, now, returned)
        self._changes.pop(self.purposes, key)

    def fold(self) -> tuple[list[Action], list[Action]]:
        """
        Add the next finished holds to the numbers.

        Return what is to be done when that is final, and what is to be journaled before.
        `FOLD_BATCH` of them at most, because the journal has room for as many slots.
        """
        batch = self.finished[:MAX_FINISHED]
        slots, postponed = add_finished(batch, self.in_use, self._numbers, self.site_cells.cell)
        self.lately.add_batch(
            [hold for hold in batch if hold not in postponed] if postponed else batch
        )
        last: list[Action] = [(delitem, self.finished, slice(0, len(batch)))]
        if postponed:
            last.append((self.finished.extend, postponed))
        if not slots:
            return last, []
        last.append((self._segment.free.extend, slots))
        return last, self._free_slots(slots)

    def _free_slots(self, slots: list[int]) -> list[Action]:
        """
        Free the slots at the commit; return what writes the journal, which says so meanwhile.

        A reader of another process may come, or this one may be killed, in the middle of it.
        """
        cells, changes, numbers = self._cells, self._changes, self._numbers[c.JOURNALED_CELLS]
        first_slot = c.FIRST_JOURNAL + len(numbers)
        changes.set_at_commit(cells, slots, 0.0)
        changes.set_at_commit(cells, map(c.HOLD_ENDED.__add__, slots), 0.0)
        changes.at_commit(setitem, cells, c.JOURNAL_LENGTH, 0.0)
        return [
            (setitem, cells, slice(c.FIRST_JOURNAL, first_slot), numbers),
            (setitem, cells, slice(first_slot, first_slot + len(slots)), array("d", slots)),
            # Set last: from then on, readers carry out the fold.
            (setitem, cells, c.JOURNAL_LENGTH, 1.0 + len(slots)),
        ]

    def _add_to_borrower(self, borrower_key: Hashable) -> None:
        """A task or thread holds one connection more."""
        held = self.holds_by_borrower.get(borrower_key, 0)
        self._changes.put(self.holds_by_borrower, borrower_key, held + 1)

    def _remove_from_borrower(self, borrower_key: Hashable) -> None:
        """A task or thread holds one connection less."""
        remaining = (self._changes.pop(self.holds_by_borrower, borrower_key) or 1) - 1
        if remaining:
            self._changes.put(self.holds_by_borrower, borrower_key, remaining)

    def _observe_acquire(self, asked: float, since: float) -> None:
        """Observe the duration of an attempt, unless it has been observed."""
        if asked != c.ALREADY_COUNTED:
            c.ACQUIRE_SECONDS.observe(self._numbers, since - asked)

    def _take_slot(self, borrower: Borrower) -> int:
        """Return a slot that names the borrower, or 0 if none is free."""
        segment = self._segment
        slot = self._changes.take(segment.free)
        if slot and not segment.set_borrower(slot, borrower):
            self.site_cells.cell(borrower[0])
            segment.register_borrower(Borrower(*borrower), self.site_cells.label(borrower[0]))
            segment.set_borrower(slot, borrower)
        return slot

    def _free_slot(self, slot: int) -> None:
        cells = (slot, *(slot + cell for cell in (c.HOLD_ENDED, c.HOLD_LOST, c.HOLD_COUNTS_FROM)))
        self._changes.set_at_commit(self._cells, cells, 0.0)
        self._changes.at_commit(self._segment.free.append, slot)

    def _count_overflow(self, change: int, since: float, function: Function | None = None) -> None:
        """Publish one hold without a slot more or less."""
        if not self._segment.shared:
            return
        number, started = c.OVERFLOW_HOLDS, c.OVERFLOW_HOLDS_SINCE
        c.count_overflow(self._numbers, number, started, change, since)
        if function is not None:
            site = self.site_cells.cell(function)
            number, started = site + c.SITE_OVERFLOW, site + c.SITE_OVERFLOW_SINCE
            c.count_overflow(self._numbers, number, started, change, since)

    def complete(self, key: Hashable, borrower: Borrower, slot: int) -> bool:
        """
        Complete what the hot path was doing when an exception interrupted it; return whether it was
        ending the hold. No lock is needed.

        slot: what it had taken for a hold that it was beginning.
        """
        is_open = self.is_held_by(key, borrower)
        has_ended = any(finished[1] is borrower for finished in self.finished.copy())
        if is_open and has_ended:
            self.in_use.pop(key, None)
        if slot and not (is_open or has_ended):
            self._segment.free.append(slot)
        holds = len(self.held_by(borrower[2]))
        self.holds_by_borrower[borrower[2]] = holds
        if not holds:
            self.holds_by_borrower.pop(borrower[2], None)
        return has_ended

    # Leaks

    def abandon(self, key: Hashable, now: float) -> bool:
        """An open hold can no longer be returned; return whether that was not known before."""
        if key in self.abandoned_keys or not self.is_held(key):
            return False
        since, asked, borrower, _, slot = self.in_use[key]
        changes, numbers = self._changes, self._numbers
        changes.put(self._holder_refs, key, ALWAYS_HELD)
        changes.put(self.in_use, key, (since, asked, borrower, SLOW_RELEASE, slot))
        if self._is_its_borrowers(key):
            self._remove_from_borrower(borrower[2])
        changes.put(self.abandoned_keys, key, None)
        if slot:
            changes.at_commit(setitem, self._cells, slot + c.HOLD_LOST, 1.0)
        numbers[c.ABANDONED] = len(self.abandoned_keys)
        numbers[c.LEAKS_ABANDONED] += 1
        self._report(LeakEvent("abandoned", known(borrower), max(0.0, now - since)))
        return True

    def check_overdue(self, now: float) -> None:
        """Report the holds that have become overdue, and set when to check again."""
        oldest, checked_at = now, self._checked_at
        for key, (since, _, borrower, _, _) in list(self.in_use.items()):
            if since == c.TAKEN:
                continue
            counted_from = overdue_since(self.purposes, key, since)
            paused = c.paused(self._numbers, counted_from)
            paused_before = paused - c.paused(self._numbers, checked_at)
            if checked_at - counted_from - paused_before > self._leak_after:
                continue
            if now - counted_from - paused > self._leak_after:
                self._add_event(LeakEvent("overdue", known(borrower), now - since))
            else:
                oldest = min(oldest, counted_from + paused)
        # Holds that begin later become overdue later.
        self.next_check_at = oldest + self._leak_after
        self._changes.at_commit(setattr, self, "_checked_at", max(now, checked_at))

    def _count_leak(
        self, key: Hashable, borrower: Borrower, since: float, now: float, returned: bool
    ) -> None:
        """Count a hold that has ended, if it was overdue or abandoned."""
        if key in self.abandoned_keys:
            self._changes.pop(self.abandoned_keys, key)
            self._numbers[c.ABANDONED] = len(self.abandoned_keys)
            returned = False
        if self._is_overdue(key, since, now):
            self._numbers[c.WAS_OVERDUE] += 1
            if returned:
                self._numbers[c.RECOVERED] += 1
                self._report(LeakEvent("recovered", known(borrower), now - since))

    # Held on purpose

    def set_purpose(
        self, key: Hashable, now: float, on_purpose: bool, by_caller: bool = False
    ) -> None:
        """
        An open hold is held for long on purpose, or no longer.

        From when it no longer is, it becomes overdue like one that begins then: whoever is about to
        return it has done nothing wrong.
        """
        purpose = self.purposes.get(key, ORDINARY)
        if not self.is_held(key) or purpose.by_caller or on_purpose == purpose.is_on_purpose:
            return
        since, asked, borrower, _, slot = self.in_use[key]
        changes, counts_from = self._changes, math.inf if on_purpose else now
        if self._is_overdue(key, since, now):
            self._numbers[c.WAS_OVERDUE] += 1
        changes.put(self._holder_refs, key, self.holder_ref(key))
        changes.put(self.in_use, key, (since, asked, borrower, SLOW_RELEASE, slot))
        changes.put(self.purposes, key, Purpose(counts_from, by_caller))
        if slot:
            changes.at_commit(setitem, self._cells, slot + c.HOLD_COUNTS_FROM, counts_from)
        if key not in self.abandoned_keys:
            change = self._remove_from_borrower if on_purpose else self._add_to_borrower
            change(borrower[2])

    def _is_on_purpose(self, key: Hashable) -> bool:
        return self.purposes.get(key, ORDINARY).is_on_purpose

    def _is_overdue(self, key: Hashable, since: float, now: float) -> bool:
        return c.is_overdue(self._numbers, overdue_since(self.purposes, key, since), now)

    def _report(self, event: LeakEvent) -> None:
        """Add an event that is to be logged at the next opportunity."""
        self._add_event(event)
        self.next_check_at = -math.inf

    def _add_event(self, event: LeakEvent) -> None:
        self._changes.at_commit(self.leak_events.append, event)
        self._changes.at_commit(delitem, self.leak_events, slice(None, -MAX_LEAK_EVENTS))


def known(borrower: Borrower) -> Borrower | None:
    """Return the borrower, or None if nothing is known of it."""
    return Borrower(*borrower) if borrower != UNKNOWN_BORROWER else None

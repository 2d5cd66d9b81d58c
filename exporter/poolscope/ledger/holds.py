"""
The holds of a pool: how they begin, end, and are folded into the cells.

A hold is an `OpenHold` in `Holds.in_use` until it ends. On the hot path it then becomes a
`FinishedHold` in `Holds.finished`, which a fold adds to the cells, several at a time.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Mapping
from operator import delitem, setitem
from typing import Final

from poolscope.callsites.borrower import UNKNOWN_BORROWER, Borrower, trace_of
from poolscope.callsites.frames import Function, Site
from poolscope.callsites.operations import Operation, found_name
from poolscope.callsites.traces import tracers
from poolscope.label_values import OTHER_LABEL
from poolscope.ledger import cells as c
from poolscope.ledger.changes import Action
from poolscope.ledger.folding import add_finished
from poolscope.ledger.hold_records import NO_HOSTS, HoldRecords
from poolscope.ledger.open_holds import SLOW_RELEASE, HolderRef
from poolscope.readings.exemplars import ACQUIRES, HOLDS

MAX_FINISHED: Final = c.FOLD_BATCH
"""The number of finished holds at which they are folded into the cells, all at once."""


class Holds(HoldRecords):
    """
    The open holds, and those that have ended but are not in the cells yet.

    The caller of a method holds the ledger's lock, and makes the changes final. `hot_path` begins
    and ends ordinary holds in these same attributes without the lock, by single operations on a
    dictionary or a list.
    """

    __slots__ = ()

    # Beginning and ending

    def take(self, key: Hashable, now: float) -> None:
        """A connection is being set up for a caller."""
        self._count_overflow(1, now)
        self._count_host(key, 1)
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
            changes.at_commit(setitem, self._cells, slot + c.HOLD_HOST, self._hosts.get(key, 0))
            changes.at_commit(setitem, self._cells, slot + c.HOLD_ASKED, asked)
            changes.at_commit(setitem, self._cells, slot, now)
        elif self._segment.shared:
            self._count_overflow(1, now, borrower[0])
            self._count_operation(key, now, borrower[4])
            self._count_host(key, 1)
            self._observe_acquire(asked, now, borrower)
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
        if self.across.by_key:
            self.across.hold_ended(key, now)
        since, asked, borrower, _, slot = hold
        if since == c.TAKEN:
            self._numbers[c.TAKEN_SECONDS] += max(0.0, now - asked)
            self._count_overflow(-1, asked)
            self._count_host(key, -1)
            return
        held = max(0.0, now - since)
        self._observe_acquire(asked, since, borrower)
        c.HOLD_SECONDS.observe_count(self._numbers, held)
        if tracers:
            self.exemplars.observe(HOLDS, held, trace_of(borrower))
        self._add_seconds(borrower, held)
        self.lately.add(borrower, since, now)
        if slot:
            self._free_slot(slot)
        else:
            self._count_overflow(-1, since, borrower[0])
            self._count_operation(key, since)
            self._count_host(key, -1)
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
        slots, postponed = add_finished(
            batch, self.in_use, self._numbers, self.site_cells.cell, self.operation_cells.cell
        )
        ended = [hold for hold in batch if hold not in postponed] if postponed else batch
        self.lately.add_batch(ended)
        if tracers:
            self.exemplars.observe_finished(ended)
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
        changes.set_at_commit(cells, map(c.HOLD_OPERATION.__add__, slots), 0.0)
        for slot in self._placed.keys() & slots:
            self._unplace(slot)
        if self._hosts is not NO_HOSTS:
            changes.set_at_commit(cells, map(c.HOLD_HOST.__add__, slots), 0.0)
        changes.at_commit(setitem, cells, c.JOURNAL_LENGTH, 0.0)
        return [
            (setitem, cells, slice(c.FIRST_JOURNAL, first_slot), numbers),
            (setitem, cells, slice(first_slot, first_slot + len(slots)), array("d", slots)),
            # Set last: from then on, readers carry out the fold.
            (setitem, cells, c.JOURNAL_LENGTH, 1.0 + len(slots)),
        ]

    def _observe_acquire(self, asked: float, since: float, borrower: Borrower) -> None:
        """Observe the duration of an attempt, unless it has been observed."""
        if asked != c.ALREADY_COUNTED:
            c.ACQUIRE_SECONDS.observe(self._numbers, since - asked)
            if tracers:
                self.exemplars.observe(ACQUIRES, since - asked, trace_of(borrower))

    def _add_seconds(self, borrower: Borrower, held: float) -> None:
        """Add the seconds of a hold that has ended to its function and its operation."""
        function, operation = borrower[0], borrower[4]
        cell = self._cell(function)
        self._numbers[cell] += held
        name = found_name(operation) if operation is not None else None
        if name is not None:
            cell = self.operation_cells.cell(name)
            self._numbers[cell] += held

    def _cell(self, function: Function | None) -> int:
        return self.site_cells.cell(function) if function is not None else c.UNKNOWN_SITE_SECONDS

    def _label(self, function: Function | None) -> str:
        return self.site_cells.label(function) if function is not None else OTHER_LABEL

    def _take_slot(self, borrower: Borrower) -> int:
        """Return a slot that names the borrower, or 0 if none is free."""
        segment = self._segment
        slot = self._changes.take(segment.free)
        if slot and not segment.set_borrower(slot, borrower):
            self._cell(borrower[0])
            segment.register_borrower(Borrower(*borrower), self._label(borrower[0]))
            segment.set_borrower(slot, borrower)
        if slot:
            self.name_operation(slot, borrower[4])
        return slot

    def name_operation(self, slot: int, operation: Operation | None) -> None:
        """Let a slot say what its hold is for, if that has a name."""
        name = found_name(operation) if operation is not None else None
        if name is None:
            return
        number = self._segment.operation_number(name)
        if number is None:
            self.operation_cells.cell(name)
            label = self.operation_cells.label(name)
            number = self._segment.register_operation(name, label)
        self._changes.at_commit(setitem, self._cells, slot + c.HOLD_OPERATION, number)

    def place(self, places: Mapping[Hashable, Site]) -> None:
        """
        Let the slots of holders say at which line they were found.

        places: the lines by `borrower_key`.
        """
        for _, _, borrower, _, slot in self.in_use.copy().values():
            site = places.get(borrower[2])
            if slot and site is not None:
                number = self._segment.number_of_line(site)
                self._changes.put(self._placed, slot, None)
                self._changes.at_commit(setitem, self._cells, slot + c.HOLD_NOW_AT, number)

    def _unplace(self, slot: int) -> None:
        self._changes.pop(self._placed, slot)
        self._changes.at_commit(setitem, self._cells, slot + c.HOLD_NOW_AT, 0.0)

    def _free_slot(self, slot: int) -> None:
        if slot in self._placed:
            self._unplace(slot)
        more = c.HOLD_ENDED, c.HOLD_LOST, c.HOLD_OPERATION, c.HOLD_COUNTS_FROM, c.HOLD_HOST
        self._changes.set_at_commit(self._cells, (slot, *(slot + cell for cell in more)), 0.0)
        self._changes.at_commit(self._segment.free.append, slot)

    def _count_overflow(self, change: int, since: float, function: Function | None = None) -> None:
        """Publish one hold without a slot more or less."""
        if not self._segment.shared:
            return
        number, started = c.OVERFLOW_HOLDS, c.OVERFLOW_HOLDS_SINCE
        c.count_overflow(self._numbers, number, started, change, since)
        if function is not None:
            site = self.site_cells.cell(function)
            number, started = site + c.ROW_OVERFLOW, site + c.ROW_OVERFLOW_SINCE
            c.count_overflow(self._numbers, number, started, change, since)

    def _count_operation(
        self, key: Hashable, since: float, operation: Operation | None = None
    ) -> None:
        """Publish one hold of an operation without a slot more; without an operation, one less."""
        cell = self._changes.pop(self._overflow_cells, key) or 0
        if cell:
            number, started = cell + c.ROW_OVERFLOW, cell + c.ROW_OVERFLOW_SINCE
            c.count_overflow(self._numbers, number, started, -1, since)
        name = found_name(operation) if operation is not None else None
        if name is not None:
            cell = self.operation_cells.cell(name)
            number, started = cell + c.ROW_OVERFLOW, cell + c.ROW_OVERFLOW_SINCE
            c.count_overflow(self._numbers, number, started, 1, since)
            self._changes.put(self._overflow_cells, key, cell)

    def _count_host(self, key: Hashable, change: int) -> None:
        """Publish one hold of a host without a slot more or less."""
        known = self._overflow_hosts
        host = self._hosts.get(key, 0) if change > 0 else self._changes.pop(known, key) or 0
        if host and self._segment.shared:
            c.count_at_host(self._numbers, host, c.HOST_OVERFLOW, change)
            if change > 0:
                self._changes.put(known, key, host)

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
            self._segment.give_back(slot)
        holds = len(self.held_by(borrower[2]))
        self.holds_by_borrower[borrower[2]] = holds
        if not holds:
            self.holds_by_borrower.pop(borrower[2], None)
        return has_ended

"""
Who holds which connection of a pool, and which holds are overdue, abandoned, or on purpose.

`holds` begins and ends holds.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from itertools import compress
from operator import delitem, is_, setitem
from typing import Final, Literal, NamedTuple

from poolscope.callsites.borrower import UNKNOWN_BORROWER, Borrower
from poolscope.ledger import cells as c
from poolscope.ledger.across_requests import AcrossRequests
from poolscope.ledger.changes import Changes
from poolscope.ledger.exemplars import KeptExemplars
from poolscope.ledger.label_cells import OPERATIONS, SITES, LabelCells
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
from poolscope.readings.exemplars import NO_EXEMPLARS, Exemplars

MAX_LEAK_EVENTS: Final = 1000
"""Events that wait to be logged; the oldest ones beyond that are dropped."""

NO_HOSTS: Final[dict[Hashable, int]] = {}
"""Of holds whose connections are all to one server."""


class LeakEvent(NamedTuple):
    """What the log has to report of a hold, once."""

    event: Literal["overdue", "abandoned", "recovered"]
    who: Borrower | None
    held_seconds: float


class HoldRecords:
    """
    The open holds, and those that have ended but are not in the cells yet.

    in_use: the open holds, by the key of the connection.
    finished: the holds that the next fold adds to the cells.
    holds_by_borrower: how many connections each task or thread holds, by `borrower_key`; without
        those that are held on purpose, and those that are abandoned: they are nobody's any more.
    abandoned_keys: the open holds that nobody can end any more.
    purposes: of the open holds that are, or were, held on purpose.
    site_cells, operation_cells: the cells of the functions and of the operations.
    lately: who held connections in the last seconds.
    across: the open holds during which a request by HTTP was begun.
    next_check_at: the clock from which on a hold may be overdue, or a leak waits to be logged.
    leak_events: what waits to be logged.

    The caller of a method holds the ledger's lock, unless the method says otherwise.
    """

    __slots__ = (
        "_changes",
        "_checked_at",
        "_exemplars",
        "_holder_refs",
        "_hosts",
        "_leak_after",
        "_numbers",
        "_overflow_cells",
        "_overflow_hosts",
        "_placed",
        "_segment",
        "abandoned_keys",
        "across",
        "finished",
        "holds_by_borrower",
        "in_use",
        "lately",
        "leak_events",
        "next_check_at",
        "operation_cells",
        "purposes",
        "site_cells",
    )

    def __init__(self, leak_after: float, changes: Changes, hosts: Mapping[Hashable, int]) -> None:
        """`hosts`: the first cell of the host of each open connection, or `NO_HOSTS`."""
        self._changes = changes
        self._hosts = hosts
        self.in_use: dict[Hashable, OpenHold] = {}
        self.finished: list[FinishedHold] = []
        self.holds_by_borrower: dict[Hashable, int] = {}
        self.site_cells = LabelCells(SITES, changes)
        self.operation_cells = LabelCells(OPERATIONS, changes)
        self.lately = Lately(changes)
        self.across = AcrossRequests(changes)
        self.next_check_at = math.inf
        self.leak_events: list[LeakEvent] = []
        self._leak_after = leak_after
        # The references of the holds that have `SLOW_RELEASE` instead.
        self._holder_refs: dict[Hashable, HolderRef] = {}
        # The cells of the operations, and of the hosts, of holds without a slot.
        self._overflow_cells: dict[Hashable, int] = {}
        self._overflow_hosts: dict[Hashable, int] = {}
        # The slots that say where their holders were.
        self._placed: dict[int, None] = {}
        # A dictionary, because an empty set takes three times the memory.
        self.abandoned_keys: dict[Hashable, None] = {}
        self.purposes: dict[Hashable, Purpose] = {}
        # The holds that were overdue at this time have been reported.
        self._checked_at = -math.inf

    def start(self, segment: Segment, now: float) -> None:
        """Begin without holds, in a segment whose cells are all 0.0."""
        self._segment = segment
        self._numbers = segment.numbers
        self.in_use.clear()
        self.finished.clear()
        self.holds_by_borrower.clear()
        self._exemplars: KeptExemplars | None = None
        self.site_cells.start(segment)
        self.operation_cells.start(segment)
        self.lately.by_second.clear()
        self.across.start(segment.numbers)
        self._holder_refs.clear()
        self._overflow_cells.clear()
        self._placed.clear()
        self._overflow_hosts.clear()
        self.abandoned_keys.clear()
        self.purposes.clear()
        self._checked_at = -math.inf
        self.leak_events.clear()
        self.next_check_at = now + self._leak_after

    @property
    def exemplars(self) -> KeptExemplars:
        """The exemplars, which take no memory before they are asked for."""
        if self._exemplars is None:
            self._exemplars = KeptExemplars(self._changes, self._segment)
        return self._exemplars

    def copy_exemplars(self) -> Exemplars:
        """Return the exemplars as they are now."""
        return self._exemplars.by_number.copy() if self._exemplars is not None else NO_EXEMPLARS

    @property
    def _cells(self) -> c.Cells:
        return self._segment.cells

    def who(self, key: Hashable) -> Borrower | None:
        """Return the borrower of the connection, or None if it is not known."""
        hold = self.in_use.get(key)
        return known(hold[2]) if hold is not None else None

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

    def leave_to_events(self, key: Hashable, hold: OpenHold) -> bool:
        """
        Have the hot path leave the end of an open hold to the events; return whether it is open.

        The hot path of another thread may end it meanwhile, so it is replaced in one step, where it
        is still the same. To do so twice, or in vain, changes nothing: it is not taken back.
        """
        since, asked, borrower, holder_ref, slot = hold
        if holder_ref is SLOW_RELEASE:
            return is_open(self.in_use.get(key), borrower)
        left = since, asked, borrower, SLOW_RELEASE, slot
        self._holder_refs[key] = holder_ref
        is_same = map(is_, map(self.in_use.get, (key,)), (hold,))
        self.in_use.update(zip(compress((key,), is_same), (left,), strict=False))
        if self.in_use.get(key) is left:
            return True
        self._holder_refs.pop(key, None)
        return False

    @property
    def seen_lately(self) -> bool:
        """Whether there may be holds that are open, or ended lately."""
        return bool(self.in_use or self.finished or self.lately.by_second)

    def _add_to_borrower(self, borrower_key: Hashable) -> None:
        """A task or thread holds one connection more."""
        held = self.holds_by_borrower.get(borrower_key, 0)
        self._changes.put(self.holds_by_borrower, borrower_key, held + 1)

    def _remove_from_borrower(self, borrower_key: Hashable) -> None:
        """A task or thread holds one connection less."""
        remaining = (self._changes.pop(self.holds_by_borrower, borrower_key) or 1) - 1
        if remaining:
            self._changes.put(self.holds_by_borrower, borrower_key, remaining)

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

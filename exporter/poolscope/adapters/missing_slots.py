"""
Slots that a library has lost: its pool counts them as out, and no caller has them.

An adapter compares what the pool counts with what the ledger knows. While another thread takes or
returns a connection the two differ for a moment, so a slot counts as lost only if it was missing at
two looks that are `LOST_AFTER` seconds apart, and at several tries of the second one. From then on
it is in use and abandoned, until the pool has it back.

An adapter leaves out what an attempt or a return has that is under way, however long its thread
does not run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Lock
from typing import Final

from poolscope.callsites.borrower import Borrower, anonymous_borrower
from poolscope.ledger.ledger import Ledger

LOST_AFTER: Final = 1.0
"""Seconds for which a slot must have been missing."""

TRIES: Final = 5
"""How often it must be missing at the second look."""

PAUSE: Final = 0.0005
"""Seconds from one try to the next, in which another thread may go on."""


class Slot:
    """
    A slot that is missing; it is the key of its hold once it counts as lost.

    since: the clock when that was seen first.
    who: the caller whose attempt has lost it, if that is known.
    """

    __slots__ = ("is_lost", "since", "who")

    def __init__(self, since: float, who: Borrower) -> None:
        self.since: Final = since
        self.who: Final = who
        self.is_lost = False


class MissingSlots:
    """The missing slots of one pool object."""

    __slots__ = ("_before", "_ledger", "_lock", "_pid", "_slots")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger: Final = ledger
        self._reset(0)

    def _reset(self, before: int | None) -> None:
        """
        Begin anew; in a forked child the lock may be its parent's.

        before: how many slots are missing that are not counted; None: those at the next look.
        """
        self._pid = os.getpid()
        self._lock = Lock()
        self._slots: tuple[Slot, ...] = ()
        self._before = before

    def begin(self, count: Callable[[], int]) -> None:
        """
        Begin with a pool that may have been used.

        The slots that are missing now are not counted: attempts in flight may have them.
        """
        self._reset(None)
        self.look(count)

    def look(self, count: Callable[[], int], lost_by: Borrower | None = None) -> None:
        """
        Compare the pool with the ledger.

        count: returns how many slots are missing now.
        lost_by: the caller whose attempt has just failed, if it may have lost one.
        """
        ledger = self._ledger
        # In a forked child that has not used the pool, all of this is of its parent.
        if not ledger.follow_fork() or ledger.dormant:
            return
        if self._pid != os.getpid():
            self._reset(None)  # the parent may use some of them
        if not self._lock.acquire(False):
            return
        try:
            missing = count()
            self._before = missing if self._before is None else min(missing, self._before)
            self._adjust(missing - self._before, lost_by)
            now = ledger.clock()
            new = [
                slot for slot in self._slots if not slot.is_lost and now - slot.since >= LOST_AFTER
            ]
            if new and self._is_sure(count):
                for slot in new:
                    ledger.slot_lost(slot, now, slot.since, slot.who)
                    slot.is_lost = True
        finally:
            self._lock.release()

    def _adjust(self, missing: int, lost_by: Borrower | None) -> None:
        """Note that so many slots are missing now."""
        now = self._ledger.clock()
        while len(self._slots) > missing:
            self._ledger.slot_found(self._slots[-1], now)
            self._slots = self._slots[:-1]
        for _ in range(missing - len(self._slots)):
            who = anonymous_borrower() if lost_by is None else Borrower(*lost_by)
            self._slots = (*self._slots, Slot(now, who))
            lost_by = None  # an attempt has one slot

    def _is_sure(self, count: Callable[[], int]) -> bool:
        """Whether as many slots are missing at several tries; other threads go on between them."""
        missing = len(self._slots) + (self._before or 0)
        for _ in range(TRIES):
            time.sleep(PAUSE)
            if count() < missing:
                return False
        return True

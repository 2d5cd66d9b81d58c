"""Slots that a library has lost: its pool counts them as out, and no caller has them."""

from __future__ import annotations

from collections.abc import Hashable

from poolscope.callsites.borrower import Borrower
from poolscope.ledger import cells as c
from poolscope.ledger.labelled import LabelledState
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.ledger.recorder import recorded, recorded_if_awake


class LostSlots(LabelledState):
    """
    The events of slots that are lost and found.

    A lost slot is a hold without a connection: it is in use and abandoned, and nobody's.
    """

    __slots__ = ()

    @recorded
    def slot_lost(self, key: Hashable, now: float, since: float, borrower: Borrower) -> None:
        """
        A slot has been missing since the clock's `since`.

        borrower: the caller whose attempt has lost it, if that is known. It is not its mistake, so
            this is no evidence against it, and no connection that it holds.
        """
        if key not in self._lost_slots:
            self._advance(now)
            self.changes.put(self._lost_slots, key, None)
            self._cells[c.LOST_SLOTS] = len(self._lost_slots)
            nobody = Borrower(*borrower)._replace(borrower_key=key)
            self.holds.begin(key, since, c.ALREADY_COUNTED, nobody, ALWAYS_HELD)
            self.holds.abandon(key, now)
            self._count(now)

    @recorded_if_awake
    def slot_found(self, key: Hashable, now: float) -> None:
        """The pool has a lost slot back; an unknown one changes nothing."""
        if key in self._lost_slots:
            self._advance(now)
            self.holds.end(key, now, returned=False)
            self.changes.pop(self._lost_slots, key)
            self._cells[c.LOST_SLOTS] = len(self._lost_slots)
            self._count(now)

    def _forget_lost_slots(self) -> None:
        """Their holds have ended. The caller holds the lock."""
        for key in list(self._lost_slots):
            self.changes.pop(self._lost_slots, key)
        self._cells[c.LOST_SLOTS] = 0

    def slots(self) -> tuple[frozenset[Hashable], int]:
        """Return the keys of the connections in use, and how many are being opened."""
        self.follow_fork()
        with self.reading_lock():
            return frozenset(self.holds.in_use).difference(self._lost_slots), len(self._opening)

    @property
    def is_retired(self) -> bool:
        """Whether the pool was closed, or another one has replaced it."""
        return self._retired

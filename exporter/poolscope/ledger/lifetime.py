"""The events of a pool as a whole: it was inherited, is emptied or closed, replaces another one."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence

from poolscope.callsites.borrower import Borrower
from poolscope.ledger import cells as c
from poolscope.ledger.lost_slots import LostSlots
from poolscope.ledger.recorder import recorded, recorded_if_awake
from poolscope.readings.evidence import SHARED_BETWEEN


class Lifetime(LostSlots):
    """These events; see `Events`."""

    __slots__ = ()

    def _use_inherited(self, key: Hashable, borrower: Borrower | None = None) -> None:
        """A connection is used; it is a mistake if the parent of this process has opened it."""
        if key in self._inherited:
            parent, site = self._inherited[key]
            if borrower is not None:
                site = Borrower(*borrower).site
            self.evidence.add("shared-across-fork", site)
            self.evidence.add(f"{SHARED_BETWEEN}{parent} {os.getpid()}", None)
            self.changes.pop(self._inherited, key)

    @recorded_if_awake
    def emptied(self, now: float) -> None:
        """All connections leave the pool at once."""
        self._advance(now)
        for key in list(self.holds.in_use):
            self.holds.end(key, now, returned=False)
        for key in list(self._open):
            self._connections.remove(key)
        self._forget_lost_slots()
        self._count(now)

    def retired(self, now: float) -> None:
        """The pool was closed: it has no limits any more, only the connections left in it."""
        self._retired = True
        if self.dormant:
            self._clear_limits()
        else:
            self._retire(now)

    @recorded
    def _retire(self, now: float) -> None:
        self._advance(now)
        self._clear_limits()
        for key in list(self._lost_slots):
            self.holds.end(key, now, returned=False)
        self._forget_lost_slots()
        self._count(now)

    def ended(self, now: float) -> None:
        """Nothing is recorded any more. Other processes see no connections, and the counters."""
        self.retired(now)
        self.emptied(now)
        self._segment.end()

    def discard(self, now: float) -> None:
        """Nothing is recorded any more, and other processes see nothing of what was."""
        self.ended(now)
        self._segment.discard()

    def replace(self, predecessor: Lifetime) -> None:
        """Take the place of a retired pool, and take over its peaks."""
        if predecessor.dormant:
            return
        with predecessor.reading_lock():
            peaks = predecessor._copy().numbers[c.PEAKS].tolist()
        predecessor.give_up_peaks(self.clock())
        self._take_over(peaks)

    @recorded
    def give_up_peaks(self, now: float) -> None:
        """Another pool has taken over the peaks: count from what this one still has."""
        cells, in_use, waiting = self._cells, len(self.holds.in_use), self._cells[c.WAITING]
        cells[c.IN_USE_PEAK] = cells[c.IN_USE_PEAK_BEFORE] = in_use
        cells[c.WAITING_PEAK] = cells[c.WAITING_PEAK_BEFORE] = waiting
        self._count(now)

    @recorded
    def _take_over(self, peaks: Sequence[float]) -> None:
        for cell, value in enumerate(peaks, c.WINDOW):
            self._cells[cell] = max(value, self._cells[cell]) if cell != c.WINDOW else value
        self._count(self.clock())

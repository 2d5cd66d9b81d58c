"""
What can happen to a pool's numbers; `state` has how they are read.

Nothing here counts up and down. What is open and what is out are sets, keyed by whatever
identifies a connection; ending what did not begin, or beginning twice, changes nothing. So a hook
that is missed or fires twice cannot make a gauge drift.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

from poolscope.callsites.borrower import UNKNOWN_BORROWER, Borrower
from poolscope.ledger import cells as c
from poolscope.ledger.holds import ALWAYS_HELD, HolderRef
from poolscope.ledger.recorder import recorded, recorded_if_awake
from poolscope.ledger.state import State

LOCKED: Final = object()
"""
The key of who asks while a lock of the pool is held: nothing may be logged then. Who has the log's
lock may wait for that one, as a finaliser that gives a connection back runs anywhere.
"""


class Events(State):
    """
    What can happen to one pool object.

    Keys are any hashable values that are unique among the open connections (or waits, or
    attempts to open) of the pool while they last. Times are readings of `clock`, in seconds.
    """

    __slots__ = ()

    # Who asks

    def asked(self, who: Borrower, now: float, key: Hashable) -> Borrower:
        """Somebody asks, and `begin` has left the rest to others: note what is wrong with that."""
        if self._pending or who[2] in self.holds.holds_by_borrower:
            self.nested(Borrower(*who))
        if key is not LOCKED:
            self.check_if_due(now)
        return who

    def check_if_due(self, now: float) -> None:
        """Have the log say what there is to be said of the holds, while no lock is held."""
        if now >= self.holds.next_check_at:
            self._check_leaks()

    def leave_fast_path(self, now: float) -> None:
        """One more is in use, and that or the time makes a difference."""
        self.recount(now, 1)
        self.check_if_due(now)

    # Connections

    @recorded
    def adopted(
        self, key: Hashable, now: float, out: bool, holder_ref: HolderRef = ALWAYS_HELD
    ) -> None:
        """The pool had a connection before it was watched; `holder_ref`: see `holds.OpenHold`."""
        self._advance(now)
        self._add(key)
        if out:
            self.holds.adopt(key, now, holder_ref)
        self._count(now)

    @recorded
    def opening(self, attempt: Hashable, now: float) -> None:
        """The pool begins to establish a connection."""
        self._advance(now)
        self._opening[attempt] = None
        self._count(now)

    @recorded
    def opened(
        self, attempt: Hashable, key: Hashable, now: float, seconds: float, out: bool
    ) -> None:
        """The connection is there, `out` with the caller that it was opened for, or idle."""
        self._advance(now)
        self._opening.pop(attempt, None)
        c.OPEN_SECONDS.observe(self._cells, seconds)
        self._add(key)
        if out and key not in self.holds.out:
            self.holds.take(key, now)
        self._count(now)

    @recorded
    def open_failed(self, attempt: Hashable, now: float, seconds: float) -> None:
        """No connection was established; an attempt that did not begin changes nothing."""
        if attempt not in self._opening:
            return
        self._advance(now)
        self._opening.pop(attempt, None)
        self._cells[c.OPEN_FAILED] += 1
        c.OPEN_SECONDS.observe(self._cells, seconds)
        self._count(now)

    def closed(self, key: Hashable, now: float) -> None:
        """A connection leaves the pool, from idle or from its holder."""
        self._closed(key, now, self._lost_ref(key))

    @recorded_if_awake
    def _closed(self, key: Hashable, now: float, lost_ref: HolderRef | None) -> None:
        if key not in self._open:
            return
        self._advance(now)
        self._end(key, now, lost_ref, returned=False)
        self._open.pop(key, None)
        self._cells[c.CLOSED] += 1
        self._count(now)

    def _lost_ref(self, key: Hashable) -> HolderRef | None:
        """
        Return the `holder_ref` of the last hold if nobody is left who could return the connection.

        This is asked when the hold ends, not when its end is applied: by then the holder, who has
        returned the connection, may have let go of it.
        """
        holder_ref = self._pending_refs.get(key)
        if holder_ref is None:
            holder_ref = self.holds.holder_ref(key)
        return holder_ref if holder_ref() is None else None

    @recorded
    def invalidated(self, soft: bool) -> None:
        """A connection was marked unusable: closed at once, or `soft`: before its next use."""
        self._cells[c.INVALIDATED_SOFT if soft else c.INVALIDATED_HARD] += 1

    # Slots

    @recorded
    def taken(self, key: Hashable, now: float) -> None:
        """An idle connection is taken for a caller, who does not have it yet."""
        if key not in self.holds.out:
            self._advance(now)
            self._add(key)
            self.holds.take(key, now)
            self._count(now)

    def served(
        self,
        key: Hashable,
        now: float,
        asked: float,
        who: Borrower = UNKNOWN_BORROWER,
        holder_ref: HolderRef = ALWAYS_HELD,
        queued: float | None = None,
        reused: bool = True,
    ) -> None:
        """
        An attempt that began at `asked` has ended well, and the caller has the connection.

        back: returns None once nobody can return it; see `holds.OpenHold`.
        queued: seconds of waiting for a slot; None if the caller did not have to.
        reused: whether the connection was open before the caller asked.
        """
        self._pending_refs[key] = holder_ref
        self._served(key, now, asked, who, holder_ref, queued, reused)

    @recorded
    def _served(
        self,
        key: Hashable,
        now: float,
        asked: float,
        who: Borrower,
        holder_ref: HolderRef,
        queued: float | None,
        reused: bool,
    ) -> None:
        self._advance(now)
        self._wait(queued)
        self._cells[c.NEW] += not reused
        self._add(key)
        self.holds.begin(key, now, asked, who, holder_ref)
        coming = self._pending_refs.pop(key, None)
        if coming is not None and coming is not holder_ref:  # another caller has it by now
            self._pending_refs.setdefault(key, coming)
        self._count(now)

    def returned(self, key: Hashable, now: float) -> None:
        """A connection is back in the pool, and open."""
        self._returned(key, now, self._lost_ref(key))

    @recorded
    def _returned(self, key: Hashable, now: float, lost_ref: HolderRef | None) -> None:
        self._advance(now)
        self._end(key, now, lost_ref, returned=True)
        self._add(key)
        self._count(now)

    @recorded
    def abandoned(self, key: Hashable, now: float) -> None:
        """Nobody is left who could return a connection that is out."""
        self._abandon(key, now)
        self._count(now)

    @recorded_if_awake
    def check_overdue(self, now: float) -> None:
        """Look for what has become overdue; see `leak_events`."""
        self.holds.check_overdue(now)
        self._count(now)

    # Callers

    @recorded
    def nested(self, who: Borrower) -> None:
        """One asks who seems to have a connection; what was done last may not be applied yet."""
        if who.borrower_key in self.holds.holds_by_borrower:
            self._cells[c.NESTED] += 1
            self.evidence.add("nested-acquire", who.site)

    @recorded
    def waiting(self, caller: Hashable, now: float) -> None:
        """A caller blocks, because no slot is free."""
        if caller not in self._waits:
            self._advance(now)
            self._waits.begin(caller, now)
            if self._cells[c.WAITING] == 1.0:
                self._count(now)

    @recorded
    def stopped_waiting(self, caller: Hashable, now: float) -> None:
        """The caller blocks no more, with a slot or without."""
        if caller in self._waits:
            self._advance(now)
            self._waits.end(caller, now)
            if not self._cells[c.WAITING]:
                self._count(now)

    @recorded
    def waited(self, seconds: float) -> None:
        """An attempt had to wait for a slot, which it has got."""
        self._wait(seconds)

    @recorded
    def finished(self, outcome: int, seconds: float, queued: float | None) -> None:
        """
        An attempt to get a connection has ended, and its caller has none.

        outcome: `cells.TIMEOUT`, `CANCELLED` or `ERROR`; `OK` if the caller has one that is no
            longer of the pool.
        seconds: since it began.
        queued: of that, waiting for a slot; None if it did not have to wait.
        """
        self._finish(outcome, seconds, queued)

    @recorded
    def looked_up(self, outcome: int, seconds: float | None) -> None:
        """A host was resolved: `cells.DNS_HIT`, `DNS_MISS` or `DNS_ERROR`; a hit takes no time."""
        self._cells[outcome] += 1
        if seconds is not None:
            c.DNS_SECONDS.observe(self._cells, seconds)

    # The pool

    @recorded_if_awake
    def emptied(self, now: float) -> None:
        """All connections leave the pool at once."""
        self._advance(now)
        for key in list(self.holds.out):
            self.holds.end(key, now, returned=False)
        self._cells[c.CLOSED] += len(self._open)
        self._open.clear()
        self._count(now)

    def retired(self, now: float) -> None:
        """The pool takes no new callers: it has no limits any more, only what is left in it."""
        self._retired = True
        if self.dormant:
            self._take_no_more()
        else:
            self._retire(now)

    @recorded
    def _retire(self, now: float) -> None:
        self._advance(now)
        self._take_no_more()
        self._count(now)

    def replace(self, predecessor: Events) -> None:
        """Go on in the place of a pool that is retired; its peaks are those of this one now."""
        if predecessor.dormant:
            return
        with predecessor.reading_lock():
            cells = predecessor._cells
            peaks = cells[c.PEAKS].tolist()
            cells[c.IN_USE_PEAK] = cells[c.IN_USE_PEAK_BEFORE] = len(predecessor.holds.out)
            cells[c.WAITING_PEAK] = cells[c.WAITING_PEAK_BEFORE] = cells[c.WAITING]
            predecessor._count(self.clock())
        self._continue(peaks)

    @recorded
    def _continue(self, peaks: Sequence[float]) -> None:
        for cell, value in enumerate(peaks, c.WINDOW):
            self._cells[cell] = max(value, self._cells[cell]) if cell != c.WINDOW else value
        self._count(self.clock())

    @recorded
    def recount(self, now: float, change: int) -> None:
        """One more or less is in use: a peak, or a window that ends, or no slot is free."""
        self._advance(now, change)
        self._count(now)

    def fold(self) -> None:
        """Make numbers of the holds that have ended, unless somebody else has the lock."""
        if self._lock.acquire(False):
            try:
                self.flush()
            finally:
                self._lock.release()
            if self._pending:
                self._drain()

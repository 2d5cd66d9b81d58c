"""
The events that change a pool's numbers.

No gauge is counted up and down: open connections and holds are kept by a key that identifies the
connection, and a gauge is how many there are. To begin twice, or to end what did not begin, changes
nothing. So a hook that is missed or fires twice cannot make a gauge drift.

A checkout is recorded by `asked` and `served`, its end by `returned`; for an ordinary use,
`hot_path` does the same in fewer steps.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from poolscope.callsites.borrower import UNKNOWN_BORROWER, Borrower
from poolscope.callsites.purposes import is_on_purpose
from poolscope.ledger import cells as c
from poolscope.ledger.attempts import Attempts
from poolscope.ledger.lifetime import Lifetime
from poolscope.ledger.open_holds import ALWAYS_HELD, HolderRef
from poolscope.ledger.recorder import recorded, recorded_if_awake
from poolscope.ledger.request_events import RequestEvents

CROWDED: Final = 0.5
"""
The share of its limit at which a pool is full as soon as twice as many callers come at once, and
load varies that much. Then callers that hold a connection wait for another. Below that, to nest is
no mistake: there is room for all.
"""


class Events(Lifetime, Attempts, RequestEvents):
    """
    The events of one pool object.

    Keys are hashable values, unique among the open connections (or waits, or attempts to open) of
    the pool while these last. Times are readings of `clock`, in seconds. The host of a connection
    is None where it is not known, and in a pool of a single server.
    """

    __slots__ = ()

    # Asking

    def asked(
        self,
        borrower: Borrower,
        now: float,
        pool_locked: bool = False,
        on_purpose: bool = False,
        is_crowded: Callable[[], bool] = bool,
    ) -> Borrower:
        """
        A caller asks for a connection, off the hot path; return its `borrower`.

        pool_locked: whether the caller holds a lock of its pool. Then nothing may be logged: the
            thread that holds the log's lock may be waiting for the pool's, because a finalizer
            returns connections at any point.
        on_purpose: whether the connection will be held for long on purpose, whoever asks.
        is_crowded: whether the caller may have to wait although the pool is not crowded.
        """
        may_nest = self._pending or borrower[2] in self.holds.holds_by_borrower
        if may_nest and not on_purpose and not is_on_purpose():
            borrower = self._asker(borrower)
            held = self.holds.held_by(borrower[2])
            if not held or self._still_held(borrower[2], held):
                self.nested(Borrower(*borrower), is_crowded())
        if not pool_locked:
            self.check_if_due(now)
        return borrower

    def _asker(self, borrower: Borrower) -> Borrower:
        """Return the caller, if it was taken for another one that holds a connection."""
        return borrower

    def check_if_due(self, now: float) -> None:
        """Let the log report leaks, if there may be some. The caller holds no lock."""
        if now >= self.holds.next_check_at:
            self._check_leaks()

    # Connections

    @recorded
    def adopted(
        self,
        key: Hashable,
        now: float,
        in_use: bool,
        holder_ref: HolderRef = ALWAYS_HELD,
        host: str | None = None,
    ) -> None:
        """The pool had a connection before it was watched; `holder_ref`: see `holds.OpenHold`."""
        self._advance(now)
        self._connections.add(key, host)
        if in_use:
            self.holds.begin(key, now, c.ALREADY_COUNTED, UNKNOWN_BORROWER, holder_ref)
        self._count(now)

    @recorded
    def opening(self, attempt: Hashable, now: float, host: str | None = None) -> None:
        """The pool begins to open a connection."""
        self._advance(now)
        self._connections.begin_opening(attempt, host)
        self._count(now)

    @recorded
    def opened(
        self,
        attempt: Hashable,
        key: Hashable,
        now: float,
        seconds: float,
        in_use: bool,
        host: str | None = None,
    ) -> None:
        """
        A connection was opened: `in_use` by the caller that it was opened for, or idle.

        One that is known, by an attempt that is not, has been recorded already.
        """
        if key in self._open and attempt not in self._opening:
            return
        self._advance(now)
        self._connections.end_opening(attempt, failed=False)
        self.changes.pop(self._inherited, key)
        c.OPEN_SECONDS.observe(self._cells, seconds)
        self._connections.add(key, host)
        if in_use and key not in self.holds.in_use:
            self.holds.take(key, now)
        self._count(now)

    @recorded
    def open_failed(self, attempt: Hashable, now: float, seconds: float) -> None:
        """An attempt to open a connection failed; an unknown attempt changes nothing."""
        if attempt not in self._opening:
            return
        self._advance(now)
        self._connections.end_opening(attempt, failed=True)
        c.OPEN_SECONDS.observe(self._cells, seconds)
        self._count(now)

    def closed(self, key: Hashable, now: float) -> None:
        """A connection leaves the pool, whether it was idle or in use."""
        self._look_back(key, now)
        self.changes.pop(self._inherited, key)
        self._closed(key, now, self._lost_ref(key))

    @recorded_if_awake
    def _closed(self, key: Hashable, now: float, lost_ref: HolderRef | None) -> None:
        if key not in self._open:
            return
        self._advance(now)
        self._end(key, now, lost_ref, returned=False)
        self._connections.remove(key)
        self._count(now)

    def _lost_ref(self, key: Hashable) -> HolderRef | None:
        """
        Return the `holder_ref` of the last hold if nobody could return the connection any more.

        This is checked when the hold ends, not when that event is applied: by then a holder that
        did return the connection may have been collected.
        """
        holder_ref = self._pending_refs.get(key)
        if holder_ref is None:
            holder_ref = self.holds.holder_ref(key)
        return holder_ref if holder_ref() is None else None

    @recorded
    def invalidated(self, soft: bool) -> None:
        """A connection was invalidated: closed at once, or, if `soft`, before its next use."""
        self._cells[c.INVALIDATED_SOFT if soft else c.INVALIDATED_HARD] += 1

    # Holds

    @recorded
    def taken(self, key: Hashable, now: float) -> None:
        """An idle connection is being set up for a caller."""
        if key not in self.holds.in_use:
            self._advance(now)
            self._connections.add(key)
            self.holds.take(key, now)
            self._count(now)

    def served(
        self,
        key: Hashable,
        now: float,
        asked: float,
        borrower: Borrower = UNKNOWN_BORROWER,
        holder_ref: HolderRef = ALWAYS_HELD,
        queued: float | None = None,
        reused: bool = True,
        host: str | None = None,
    ) -> None:
        """
        An attempt that began at `asked` has succeeded, and the caller has the connection.

        A second time, with the same `borrower`, it changes nothing. It is recorded in the context
        of the caller, which says whether it holds the connection on purpose.

        holder_ref: returns None once nobody can return the connection; see `holds.OpenHold`.
        queued: seconds that the caller waited for a slot; None if it did not have to wait.
        reused: whether the connection was open before the caller asked.
        """
        self._pending_refs[key] = holder_ref
        on_purpose = is_on_purpose()
        self._served(key, now, asked, borrower, holder_ref, queued, reused, on_purpose, host)
        self._tell_tracer(queued)

    @recorded
    def _served(
        self,
        key: Hashable,
        now: float,
        asked: float,
        borrower: Borrower,
        holder_ref: HolderRef,
        queued: float | None,
        reused: bool,
        on_purpose: bool,
        host: str | None,
    ) -> None:
        if borrower is UNKNOWN_BORROWER or not self.holds.is_held_by(key, borrower):
            self._advance(now)
            self._wait(queued)
            self._cells[c.NEW] += not reused
            self._use_inherited(key, borrower)
            self._connections.add(key, host)
            self.holds.begin(key, now, asked, borrower, holder_ref)
            if on_purpose:
                self.holds.set_purpose(key, now, True, by_caller=True)
            self._count(now)
        # If it is another one, the hold of a later caller is pending.
        if self._pending_refs.get(key) is holder_ref:
            self.changes.pop(self._pending_refs, key)

    def returned(self, key: Hashable, now: float, host: str | None = None) -> None:
        """A connection is back in the pool, and still open."""
        self._look_back(key, now)
        self._returned(key, now, self._lost_ref(key), host)

    @recorded
    def _returned(
        self, key: Hashable, now: float, lost_ref: HolderRef | None, host: str | None
    ) -> None:
        self._advance(now)
        self._use_inherited(key)
        self._end(key, now, lost_ref, returned=True)
        self._connections.add(key, host)
        self._count(now)

    @recorded
    def purpose_changed(self, key: Hashable, now: float, on_purpose: bool) -> None:
        """A connection in use is held for long on purpose by what is done with it, or no longer."""
        self.holds.set_purpose(key, now, on_purpose)

    @recorded
    def abandoned(self, key: Hashable, now: float) -> None:
        """Nobody can return a connection in use any more."""
        self._abandon(key, now)
        self._count(now)

    @recorded_if_awake
    def check_overdue(self, now: float) -> None:
        """Find the holds that have become overdue; see `leak_events`."""
        self.holds.check_overdue(now)
        self._name_operations()
        if self._lost_slots:
            # The pool may get one back at any time, and no event tells.
            self.holds.next_check_at = min(self.holds.next_check_at, now + 1.0)
        self._count(now)

    # Callers

    @recorded
    def nested(self, borrower: Borrower, crowded: bool = False) -> None:
        """
        A caller asks that seems to hold a connection already.

        Whether it does is checked when this event is applied, after all that were pending. It is a
        mistake only if the pool is crowded, or `crowded` says that the caller may have to wait.
        """
        if borrower.borrower_key in self.holds.holds_by_borrower:
            self._cells[c.NESTED] += 1
            if crowded or self._is_crowded_pool():
                self.evidence.add("nested-acquire", borrower.site)

    def _is_crowded_pool(self) -> bool:
        """Whether `CROWDED` of the pool is in use with the connection that a caller asks for."""
        limit, out = self._cells[c.LIMIT], self.holds.in_use.copy().values()
        # Without those that are being set up, as one may be for this very caller.
        held = sum(hold[0] != c.TAKEN for hold in out)
        return held + 1 >= CROWDED * limit or len(out) + len(self._opening) >= limit

    @recorded
    def looked_up(self, outcome: int, seconds: float | None) -> None:
        """
        A host was resolved.

        outcome: `cells.DNS_HIT` (from the cache), `DNS_MISS` or `DNS_ERROR`.
        seconds: the duration of the lookup; None if there was none.
        """
        self._cells[outcome] += 1
        if seconds is not None:
            c.DNS_SECONDS.observe(self._cells, seconds)

    # Called by the hot path

    @recorded
    def recount(self, now: float, change: int) -> None:
        """The hot path has changed the number in use by `change`: update what depends on it."""
        self._advance(now, change)
        self._count(now)

    def recount_begun(self, now: float) -> None:
        """The hot path has begun a hold, and the log may have something to report."""
        self.recount(now, 1)
        self.check_if_due(now)

    def fold(self) -> None:
        """Fold the finished holds into the cells, unless another thread holds the lock."""
        self.catch_up()
        if self._is_crowded():
            self._make_room()

    def repair(self, key: Hashable, borrower: Borrower, slot: int = 0) -> None:
        """
        An exception has interrupted the hot path while it began or ended a hold of `borrower`.

        slot: what it had taken for the hold, if that has not begun.
        """
        change = -1 if self.holds.complete(key, borrower, slot) else 1
        self.recount(self.clock(), change)

"""
The state of one pool, and how it is read.

The open connections and the open holds are dictionaries, by a key that identifies the connection;
the cells hold numbers. `events` defines what changes them.

A reading applies the pending events, if the lock is free, and then makes a `Copy` of what is final.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterable
from operator import setitem
from typing import Any, Final

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Site
from poolscope.callsites.traces import look_for_tracing
from poolscope.ledger import cells as c
from poolscope.ledger.changes import Action, perform
from poolscope.ledger.connections import Connections
from poolscope.ledger.copies import Copy
from poolscope.ledger.hold_records import NO_HOSTS, LeakEvent
from poolscope.ledger.holds import MAX_FINISHED, Holds
from poolscope.ledger.lately import Place
from poolscope.ledger.open_holds import FindDropped, HolderRef, nothing_dropped
from poolscope.ledger.recorder import (
    MAX_PENDING,
    DormantLock,
    Lock,
    Recorder,
    recorded_if_awake,
)
from poolscope.ledger.segment import Segment, Segments
from poolscope.ledger.waits import Waits
from poolscope.process.forks import forks
from poolscope.process.pauses import Pauses
from poolscope.readings.evidence import Evidence, Line
from poolscope.readings.holders import Holder
from poolscope.readings.limits import Clock, Limits
from poolscope.readings.reading import Monotonic, Reading

MAX_HOLD_SLOTS: Final = 128
"""Holds that get a slot; further ones are only counted."""


NO_LIMITS: Final = Limits(math.nan, math.nan, math.nan)
"""Of a pool that has been closed."""


NOTHING_INHERITED: Final[dict[Any, Any]] = {}
"""Of all pools but those of a forked child. It stays empty, and saves each pool a dictionary."""


def ignore_wait(seconds: float) -> None:
    """Nobody wants to know of long waits."""


def ignore_leaks() -> None:
    """Do nothing: the leaks of this ledger are not logged."""


class State(Recorder):
    """The state of a ledger. All times are readings of `clock`, in seconds."""

    __slots__ = (
        "_cells",
        "_check_leaks",
        "_connections",
        "_find_dropped",
        "_inherited",
        "_lost_slots",
        "_monotonic",
        "_on_long_wait",
        "_open",
        "_opening",
        "_pauses",
        "_pending_refs",
        "_resting",
        "_retired",
        "_segment",
        "_segments",
        "_waits",
        "at_limit_until",
        "call_sites",
        "clock",
        "due_at",
        "evidence",
        "fast_until",
        "fast_up_to",
        "full_at",
        "holds",
        "leak_after",
        "limits",
    )

    def __init__(
        self,
        limits: Limits,
        clock: Clock = time.monotonic,
        leak_after: float | None = None,
        segments: Segments = Segment,
        check_leaks: Callable[[], None] = ignore_leaks,
        call_sites: bool = True,
        find_dropped: FindDropped = nothing_dropped,
        pauses: Pauses | None = None,
        by_host: bool = False,
        on_long_wait: Callable[[float], object] = ignore_wait,
    ) -> None:
        """
        leak_after: seconds after which a hold is overdue; None: never.
        segments: makes the memory for the cells.
        check_leaks: called when holds may have become overdue, with no lock held.
        call_sites: whether to find the line of each caller.
        pauses: notices pauses of this process; None: there are none.
        by_host: whether the connections go to many hosts.
        on_long_wait: called with the seconds that a caller has waited in the queue, in its context
            and with no lock held, if that was long and the caller may have a trace.
        """
        self.limits: Final = limits
        self.clock: Final = clock
        self.leak_after: Final = math.inf if leak_after is None else leak_after
        self.call_sites: Final = call_sites
        self._check_leaks = check_leaks
        self._find_dropped = find_dropped
        self._pauses = pauses
        self._on_long_wait = on_long_wait
        self._segments = segments
        self._retired = self._resting = False
        # In a forked child, for each connection that it has inherited: the id of the process that
        # had opened it, and the line that held it at the fork, or None.
        self._inherited: dict[Hashable, tuple[int, Site | None]] = NOTHING_INHERITED
        self.evidence = Evidence(self.add_evidence)
        # The keys of holds that have no connection. A dictionary, because an empty set takes three
        # times the memory.
        self._lost_slots: dict[Hashable, None] = {}
        # For each connection, the `holder_ref` of its last hold, until that event is applied.
        self._pending_refs: dict[Hashable, HolderRef] = {}
        super().__init__()
        self._connections = Connections(by_host, self.changes)
        self._open = self._connections.open
        self._opening = self._connections.opening
        self.holds = Holds(self.leak_after, self.changes, self._open if by_host else NO_HOSTS)
        self._start(segments)

    def forked(self) -> None:
        """Start from zero in a forked child, where the parent's lock may stay locked for ever."""
        if self._inherited is NOTHING_INHERITED:
            self._inherited = {}
        for key in list(self._open):
            borrower = self.holds.who(key)
            site = borrower.site if borrower is not None else None
            self._inherited[key] = forks().parent, site
        self.reset()
        self.sleep(self._segments)

    def sleep(self, segments: Segments) -> None:
        """
        Count nowhere until an event is recorded, which starts the ledger in one of `segments`.

        Until then it is in private memory: most children never use the pools of their parent.
        """
        self._segments = segments
        self._start(Segment)
        self._clear_limits()
        self._lock = DormantLock(self._wake)

    def _wake(self) -> Lock:
        if isinstance(self._lock, DormantLock):
            self._start(self._segments)
            for rule, site in self.evidence:
                self._segment.add_evidence(rule, site)
            self._lock = {}
        return self._lock

    def _start(self, segments: Segments) -> None:
        """Begin with empty sets and a new segment."""
        look_for_tracing()
        now = self.clock()
        self._segment = segments(int(min(self.limits.limit, MAX_HOLD_SLOTS)) + MAX_FINISHED)
        self._cells = self._segment.numbers
        self._connections.start(self._segment)
        self._lost_slots.clear()
        self._pending_refs.clear()
        self.holds.start(self._segment, now)
        self._waits = Waits(self._segment, self.changes)
        self._monotonic = Monotonic()
        self._set_limits()
        self._cells[c.SINCE] = self._cells[c.WINDOW] = now
        self._count(now)
        self.publish()

    @recorded_if_awake
    def add_evidence(self, rule: str, site: Line | None) -> None:
        """A rule was broken at that line, by this pool or another one of its name."""
        self._segment.add_evidence(rule, site)

    @property
    def _unused(self) -> bool:
        return not self._opening and not any(self._cells[c.TIMEOUT : c.CLOSED + 1])

    def has_forked(self) -> None:
        """The process has a child; a pool that it never used counts nowhere until it is used."""
        if self._unused:
            self._rest()

    @recorded_if_awake
    def _rest(self) -> None:
        if self._unused:
            self._resting = True
            self._clear_limits()

    # Changes: the caller holds the lock.

    def _begin_change(self) -> None:
        if self.changes.steps:
            self.changes.roll_back()
        self.changes.note(self._cells, slice(c.OPENING, len(self._cells)))

    def _commit(self, last: Iterable[Action] = (), journal: Iterable[Action] = ()) -> None:
        """`journal` is done before the numbers are published."""
        if not self._segment.shared:
            self.changes.commit((), last)
            return
        cells, numbers = self._segment.cells, self._cells[c.PUBLISHED]
        sequence = cells[c.SEQUENCE] // 2 * 2
        first = [
            (setitem, cells, c.SEQUENCE, sequence + 1),
            *journal,
            (setitem, cells, c.PUBLISHED, numbers),
        ]
        self.changes.commit(first, [(setitem, cells, c.SEQUENCE, sequence + 2), *last])
        if self._segment.due:
            self._segment.look()

    def publish(self) -> None:
        """Publish the numbers, if other processes read them. The caller has the lock."""
        if self._segment.shared:
            cells = self._segment.cells
            sequence = cells[c.SEQUENCE] // 2 * 2
            perform(
                (
                    (setitem, cells, c.SEQUENCE, sequence + 1),
                    (setitem, cells, c.PUBLISHED, self._cells[c.PUBLISHED]),
                    (setitem, cells, c.SEQUENCE, sequence + 2),
                )
            )

    def _set_limits(self) -> None:
        """Set the limits of the pool, or those of one that has been closed."""
        self._put_limits(NO_LIMITS if self._retired else self.limits)
        self._resting = False

    def _clear_limits(self) -> None:
        """The pool has been closed, so it has no limits any more, or it rests."""
        self._put_limits(NO_LIMITS)

    def _put_limits(self, limits: Limits) -> None:
        """Publish the limits at once, too: no other number depends on them."""
        for cells in (self._cells, self._segment.cells):
            cells[c.LIMIT], cells[c.IDLE_LIMIT], cells[c.IDLE_FLOOR] = limits
            cells[c.LEAK_AFTER] = self.leak_after

    def _advance(self, now: float, change: int = 0) -> None:
        """
        Rotate the windows of the peaks up to `now`. This comes before any other change.

        change: how many connections more are in use already, which is not part of the windows.
        """
        cells = self._cells
        elapsed = now - cells[c.WINDOW]
        if elapsed < c.PEAK_WINDOW:
            return
        windows = elapsed // c.PEAK_WINDOW
        in_use, waiting = len(self.holds.in_use) - change, cells[c.WAITING]
        for peak, value in ((c.IN_USE_PEAK, in_use), (c.WAITING_PEAK, waiting)):
            # Nothing has changed since the last event, so a window without events had the
            # present value throughout.
            cells[peak + 1] = cells[peak] if windows == 1 else value
            cells[peak] = value
        cells[c.WINDOW] += windows * c.PEAK_WINDOW
        self._segment.due = True

    def _count(self, now: float) -> None:
        """After a change, update the peaks, saturation, and the bounds of the fast path."""
        # Before anything is counted: who ends a hold from now on calls `after_end`.
        self.fast_until = -math.inf
        cells, in_use, opening = self._cells, len(self.holds.in_use), len(self._opening)
        if self._resting and (opening or cells[c.OPENED]):
            self._set_limits()
        cells[c.OPENING] = opening
        if in_use > cells[c.IN_USE_PEAK]:
            cells[c.IN_USE_PEAK] = in_use
            cells[c.MOST_IN_USE] = max(in_use, cells[c.MOST_IN_USE])
        saturated = in_use + opening >= cells[c.LIMIT]
        since = cells[c.SATURATED_SINCE]
        if saturated and not since:
            cells[c.SATURATED_SINCE] = now
        elif since and not saturated:
            cells[c.SATURATED_SINCE] = 0.0
            cells[c.SATURATED_SECONDS] += max(0.0, now - since)
        # Within these bounds, `hot_path` need not call this method. While callers wait, a slot
        # that becomes free is taken at once, so the pool stays saturated.
        steady = not saturated or cells[c.WAITING] > 0.0
        reserve = 0 if saturated and steady else 1
        self.full_at = cells[c.LIMIT] - opening
        self.fast_up_to = min(cells[c.IN_USE_PEAK], self.full_at - reserve)
        self.due_at = self.holds.next_check_at
        until = min(cells[c.WINDOW] + c.PEAK_WINDOW, self.due_at)
        # Once it has been full in this window, only saturation changes at the limit.
        known_peak = cells[c.IN_USE_PEAK] >= self.full_at and not cells[c.WAITING]
        self.at_limit_until = until if known_peak else -math.inf
        if steady:
            self.fast_until = until

    def _end(self, key: Hashable, now: float, lost_ref: HolderRef | None, returned: bool) -> None:
        """End a hold; it was abandoned if `lost_ref` is its `holder_ref`."""
        if lost_ref is not None and lost_ref is self.holds.holder_ref(key):
            self._abandon(key, now)
        self.holds.end(key, now, returned)

    def _abandon(self, key: Hashable, now: float) -> None:
        if self.holds.abandon(key, now):
            borrower = self.holds.who(key)
            self.evidence.add("abandoned", borrower.site if borrower is not None else None)

    # Reading

    def flush(self) -> None:
        """Fold the finished holds into the cells. The caller holds the lock."""
        for _ in range(0, len(self.holds.finished), MAX_FINISHED):
            self._begin_change()
            self._commit(*self.holds.fold())

    def _is_crowded(self) -> bool:
        return super()._is_crowded() or len(self.holds.finished) > MAX_PENDING

    def _copy(self) -> Copy:
        return Copy(self._cells, self._connections, self.holds, self._waits, self.changes)

    def read(self) -> Reading:
        """Return one consistent reading that includes all events before the call."""
        look_for_tracing()
        with self.reading_lock():
            now, copy = self.clock(), self._copy()
        return Reading.of(self._monotonic.clamp(copy.values(now)))

    def connections(self) -> tuple[frozenset[Hashable], frozenset[Hashable]]:
        """Return the keys of the open connections, and of those in use."""
        with self.reading_lock():
            return frozenset(self._open), frozenset(self.holds.in_use)

    def holders(self) -> list[Holder]:
        """Return the holders of the connections in use, the longest hold first."""
        with self.reading_lock():
            return self._copy().holders(self.clock())

    def lately(self) -> dict[Place, float]:
        """Return the connection-seconds of the last seconds by line, of holds that have ended."""
        with self.reading_lock():
            return self.holds.lately.sums(self.clock())

    def who(self, key: Hashable) -> Borrower | None:
        """Return the borrower of a connection in use, or None if it is not known."""
        return self.holds.who(key)

    @property
    def unclosed(self) -> bool:
        """Whether the pool has connections and has not been closed."""
        return bool(self._open) and not math.isnan(self._cells[c.LIMIT])

    @property
    def closed_for_good(self) -> bool:
        """Whether the pool was closed, or replaced."""
        return self._retired

    @property
    def leak_events(self) -> list[LeakEvent]:
        """What the log has yet to report; the logger removes what it has reported."""
        return self.holds.leak_events

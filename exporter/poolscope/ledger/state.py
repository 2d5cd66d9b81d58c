"""
A pool's cells and sets, and how an event changes them.

What is open and what is out are sets, keyed by whatever identifies a connection; the cells have
their sizes. Beneath `ledger`, which says what events there are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Final, TypeVar

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Site
from poolscope.ledger import cells as c
from poolscope.ledger.holds import MAX_FINISHED, HolderRef, Holds, LeakEvent, OpenHold
from poolscope.ledger.recorder import DormantLock, Recorder, recorded_if_awake
from poolscope.ledger.segment import Segment, Segments
from poolscope.ledger.waits import Waits
from poolscope.readings.evidence import Evidence
from poolscope.readings.holders import Holder
from poolscope.readings.limits import Clock, Limits
from poolscope.readings.reading import Monotonic, Reading
from poolscope.readings.sites import SiteReading

MAX_HOLD_SLOTS: Final = 128
"""Holds that are detailed in cells; further ones are counted all the same."""


T = TypeVar("T")

READS: Final = 10
"""How often a reader tries to do so while no hold ends, which takes a few microseconds."""


def nothing() -> None:
    """Do nothing with news."""


class State(Recorder):
    """The state of a ledger. Times are readings of `clock`, in seconds."""

    __slots__ = (
        "_cells",
        "_check_leaks",
        "_monotonic",
        "_open",
        "_opening",
        "_pending_refs",
        "_retired",
        "_segment",
        "_segments",
        "_waits",
        "call_sites",
        "clock",
        "evidence",
        "fast_until",
        "fast_up_to",
        "holds",
        "leak_after",
        "limits",
    )  # fmt: skip

    def __init__(
        self,
        limits: Limits,
        clock: Clock = time.monotonic,
        leak_after: float | None = None,
        segments: Segments = Segment,
        check_leaks: Callable[[], None] = nothing,
        call_sites: bool = True,
    ) -> None:
        """
        check_leaks: called by who asks when there may be news of the holds.
        call_sites: whether it is found out at which line somebody asks.
        """
        self.limits: Final = limits
        self.clock: Final = clock
        self.leak_after: Final = math.inf if leak_after is None else leak_after
        self.call_sites: Final = call_sites
        self._check_leaks = check_leaks
        self._segments = segments
        self._retired = False
        self.evidence = Evidence(self.add_evidence)
        # Dictionaries, as an empty set has three times their size.
        self._open: dict[Hashable, None] = {}
        self._opening: dict[Hashable, None] = {}
        # By connection, the `holder_ref` of its last hold, until that is applied.
        self._pending_refs: dict[Hashable, HolderRef] = {}
        self.holds = Holds(self.leak_after)
        super().__init__()
        self._start(segments)
        self._on_awake()

    def forked(self) -> None:
        """
        In the child of a fork: start from nothing, as the lock may be held for ever.

        Others see it once something happens here; most children never use their parent's pools.
        """
        self.reset()
        self._start(Segment)
        self._lock = DormantLock(self._wake)

    def _wake(self) -> Lock:
        if isinstance(self._lock, DormantLock):
            self._start(self._segments)
            for rule, site in self.evidence:
                self._segment.add_evidence(rule, site)
            self._lock = Lock()
            self._on_awake()
        return self._lock

    def _on_awake(self) -> None:
        """From now on it has its lock, its segment and all that begins anew with them."""

    def _start(self, segments: Segments) -> None:
        now = self.clock()
        self._segment = segments(int(min(self.limits.limit, MAX_HOLD_SLOTS)) + MAX_FINISHED)
        self._cells = self._segment.cells
        self.changing = self._cells[: c.SEQUENCE + 1] if self._segment.shared else None
        self._open.clear()
        self._opening.clear()
        self._pending_refs.clear()
        self.holds.start(self._segment, now)
        self._waits = Waits(self._segment)
        self._monotonic = Monotonic()
        self._cells[c.LIMIT] = self.limits.limit
        self._cells[c.IDLE_LIMIT] = self.limits.idle_limit
        self._cells[c.IDLE_FLOOR] = self.limits.idle_floor
        self._cells[c.LEAK_AFTER] = self.leak_after
        self._cells[c.SINCE] = self._cells[c.WINDOW] = now
        if self._retired:
            self._take_no_more()
        self._count(now)

    @recorded_if_awake
    def add_evidence(self, rule: str, site: Site | None) -> None:
        """A rule was seen to be broken at that line, by a pool of that name."""
        self._segment.add_evidence(rule, site)

    # From here on the caller holds the lock.

    def _take_no_more(self) -> None:
        for cell in (c.LIMIT, c.IDLE_LIMIT, c.IDLE_FLOOR):
            self._cells[cell] = math.nan

    def _advance(self, now: float, change: int = 0) -> None:
        """
        Bring the windows of the peaks up to `now`, before any change; or after what is in use has
        changed by that many.
        """
        cells = self._cells
        passed = now - cells[c.WINDOW]
        if passed < c.PEAK_WINDOW:
            return
        windows = passed // c.PEAK_WINDOW
        in_use, waiting = len(self.holds.out) - change, cells[c.WAITING]
        for peak, value in ((c.IN_USE_PEAK, in_use), (c.WAITING_PEAK, waiting)):
            # Nothing has changed since the last event, so a window that passed without one
            # had the present value all along.
            cells[peak + 1] = cells[peak] if windows == 1 else value
            cells[peak] = value
        cells[c.WINDOW] += windows * c.PEAK_WINDOW

    def _count(self, now: float) -> None:
        """After a change, note peaks and whether a slot is free."""
        cells, in_use, opening = self._cells, len(self.holds.out), len(self._opening)
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
        # As long as this holds, `hot_path` need not come here. While callers wait, a slot that
        # becomes free is taken at once, and the pool stays as it is.
        calm = not saturated or cells[c.WAITING] > 0.0
        window_ends = cells[c.WINDOW] + c.PEAK_WINDOW
        self.fast_until = min(window_ends, self.holds.next_check_at) if calm else -math.inf
        free = 0 if saturated and calm else 1
        self.fast_up_to = min(cells[c.IN_USE_PEAK], cells[c.LIMIT] - opening - free)

    def _add(self, key: Hashable) -> None:
        """Know a connection that is open."""
        if key not in self._open:
            self._open[key] = None
            self._cells[c.OPENED] += 1

    def _finish(self, outcome: int, seconds: float, queued: float | None) -> None:
        self._cells[outcome] += 1
        c.ACQUIRE_SECONDS.observe(self._cells, seconds)
        self._wait(queued)

    def _wait(self, queued: float | None) -> None:
        """Observe how long an attempt has waited, if it had to."""
        if queued is not None:
            self._cells[c.WAITED] += 1
            c.QUEUE_SECONDS.observe(self._cells, queued)

    def _end(self, key: Hashable, now: float, lost_ref: HolderRef | None, returned: bool) -> None:
        """A connection is out no more; nobody was left who could return it if `lost_ref` is its."""
        if lost_ref is not None and lost_ref is self.holds.holder_ref(key):
            self._abandon(key, now)
        self.holds.end(key, now, returned)

    def _abandon(self, key: Hashable, now: float) -> None:
        if self.holds.abandon(key, now):
            who = self.holds.who(key)
            self.evidence.add("abandoned", who.site if who is not None else None)

    # How it is read

    def flush(self) -> None:
        if self.holds.ended:
            changing = self._change()
            try:
                self.holds.fold()
            finally:
                self._changed(changing)

    def read(self) -> Reading:
        """Return one consistent reading, with everything that was recorded before the call."""
        with self.reading_lock():
            now = self.clock()
            cells, held, out = self._undisturbed(self._state)
            waits = self._waits.since()
        holds = [hold[0] for hold in out if hold[0] != c.TAKEN]
        asked = [hold[1] for hold in out if hold[0] != c.TAKEN]
        taken = [hold[1] for hold in out if hold[0] == c.TAKEN]
        values = c.reading_values(now, cells, held, holds, asked, waits, (len(taken), sum(taken)))
        return Reading.of(self._monotonic.clamp(values))

    def connections(self) -> tuple[frozenset[Hashable], frozenset[Hashable]]:
        """Return the keys of the connections that are open, and of those that are out."""
        with self.reading_lock():
            return frozenset(self._open), frozenset(self.holds.out)

    def holders(self) -> list[Holder]:
        """Return who has what is out, the longest hold first."""
        with self.reading_lock():
            return self.holds.holders(self.clock())

    def sites(self) -> list[SiteReading]:
        """Return what each function of the application has out, and has had."""
        with self.reading_lock():
            return self._undisturbed(lambda: self.holds.sites(self.clock()))

    def _state(self) -> tuple[Sequence[float], float, list[OpenHold]]:
        """Return the cells, the seconds of what has ended, and what is out."""
        return (
            self._cells[: c.FIRST_SITE].tolist(),
            self.holds.seconds(),
            list(self.holds.out.values()),
        )

    def _undisturbed(self, check_leaks: Callable[[], T]) -> T:
        """
        Return what is found while no hold ends, which would neither be out nor in a cell.

        They need no lock for that, so it is tried again.
        """
        found = check_leaks()
        for _ in range(READS):
            if not self.holds.ended:
                break
            self.flush()
            found = check_leaks()
        return found

    def who(self, key: Hashable) -> Borrower | None:
        """Return who has a connection that is out, if that is known."""
        return self.holds.who(key)

    @property
    def unclosed(self) -> bool:
        """Whether the pool has connections and takes callers, so that nobody has closed it."""
        return bool(self._open) and not math.isnan(self._cells[c.LIMIT])

    @property
    def leak_events(self) -> list[LeakEvent]:
        """What is to be said in the log; whoever says it takes it out."""
        return self.holds.leak_events

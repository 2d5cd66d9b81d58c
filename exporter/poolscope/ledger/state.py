"""
A pool's cells and sets, and how an event changes them.

What is open and what is out are sets, keyed by whatever identifies a connection; the cells have
their sizes. Beneath `ledger`, which says what events there are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Final, NamedTuple

from poolscope.callsites.frames import Site
from poolscope.ledger import cells as c
from poolscope.ledger.holds import MOST_ENDED, Back, Holds
from poolscope.ledger.recorder import Asleep, Recorder, noted
from poolscope.ledger.segment import Segment, Segments
from poolscope.ledger.waits import Waits
from poolscope.readings.evidence import Sightings
from poolscope.readings.reading import Rising

Clock = Callable[[], float]

MAX_HOLD_SLOTS: Final = 128
"""Holds that are detailed in cells; further ones are counted all the same."""


class Limits(NamedTuple):
    """
    How many connections a pool allows.

    limit: the most that can be out at once; `math.inf` where there is no limit.
    idle_limit: the most that are kept when idle.
    idle_floor: the fewest that are kept open.
    """

    limit: float
    idle_limit: float
    idle_floor: float


def nothing() -> None:
    """Do nothing with news."""


class Tally(Recorder):
    """The state of a ledger. Times are readings of `clock`, in seconds."""

    __slots__ = (
        "_cells", "_coming", "_look", "_open", "_opening", "_retired", "_rising", "_segment",
        "_segments", "_waits", "call_sites", "calm_until", "calm_up_to", "clock", "holds",
        "leak_after", "limits", "sightings",
    )  # fmt: skip

    def __init__(
        self,
        limits: Limits,
        clock: Clock = time.monotonic,
        leak_after: float | None = None,
        segments: Segments = Segment,
        look: Callable[[], None] = nothing,
        call_sites: bool = True,
    ) -> None:
        """
        look: called by who asks when there may be news of the holds.
        call_sites: whether it is found out at which line somebody asks.
        """
        self.limits: Final = limits
        self.clock: Final = clock
        self.leak_after: Final = math.inf if leak_after is None else leak_after
        self.call_sites: Final = call_sites
        self._look = look
        self._segments = segments
        self._retired = False
        self.sightings = Sightings(self.sighted)
        # Dictionaries, as an empty set has three times their size.
        self._open: dict[Hashable, None] = {}
        self._opening: dict[Hashable, None] = {}
        # By connection, the `back` of its last hold, until that is applied.
        self._coming: dict[Hashable, Back] = {}
        self.holds = Holds(self.leak_after)
        super().__init__()
        self._start(segments)
        self._awake()

    def forked(self) -> None:
        """
        In the child of a fork: start from nothing, as the lock may be held for ever.

        Others see it once something happens here; most children never use their parent's pools.
        """
        self.reset()
        self._start(Segment)
        self._lock = Asleep(self._wake)

    def _wake(self) -> Lock:
        if isinstance(self._lock, Asleep):
            self._start(self._segments)
            for rule, site in self.sightings:
                self._segment.sighted(rule, site)
            self._lock = Lock()
            self._awake()
        return self._lock

    def _awake(self) -> None:
        """From now on it has its lock, its segment and all that begins anew with them."""

    def _start(self, segments: Segments) -> None:
        now = self.clock()
        self._segment = segments(int(min(self.limits.limit, MAX_HOLD_SLOTS)) + MOST_ENDED)
        self._cells = self._segment.cells
        self.changing = self._cells[: c.SEQUENCE + 1] if self._segment.shared else None
        self._open.clear()
        self._opening.clear()
        self._coming.clear()
        self.holds.start(self._segment, now)
        self._waits = Waits(self._segment)
        self._rising = Rising()
        self._cells[c.LIMIT] = self.limits.limit
        self._cells[c.IDLE_LIMIT] = self.limits.idle_limit
        self._cells[c.IDLE_FLOOR] = self.limits.idle_floor
        self._cells[c.LEAK_AFTER] = self.leak_after
        self._cells[c.SINCE] = self._cells[c.WINDOW] = now
        if self._retired:
            self._take_no_more()
        self._count(now)

    @noted
    def sighted(self, rule: str, site: Site | None) -> None:
        """A rule was seen to be broken at that line, by a pool of that name."""
        self._segment.sighted(rule, site)

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
        self.calm_until = min(window_ends, self.holds.look_at) if calm else -math.inf
        free = 0 if saturated and calm else 1
        self.calm_up_to = min(cells[c.IN_USE_PEAK], cells[c.LIMIT] - opening - free)

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

    def _end(self, key: Hashable, now: float, dropped: Back | None, returned: bool) -> None:
        """A connection is out no more; nobody was left who could return it if `dropped` is its."""
        if dropped is not None and dropped is self.holds.back(key):
            self._abandon(key, now)
        self.holds.end(key, now, returned)

    def _abandon(self, key: Hashable, now: float) -> None:
        if self.holds.abandon(key, now):
            who = self.holds.who(key)
            self.sightings.note("abandoned", who.site if who is not None else None)

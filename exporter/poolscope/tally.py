"""
A pool's cells and sets, and how an event changes them.

What is open and what is out are sets, keyed by whatever identifies a connection; the cells have
their sizes. Beneath `ledger`, which says what events there are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Final

from poolscope import cells as c
from poolscope.holders import Who
from poolscope.holds import Holds
from poolscope.recorder import Asleep, Recorder, noted
from poolscope.segment import Segment, Segments
from poolscope.sightings import Sightings
from poolscope.sites import Site
from poolscope.slots import Slots

Clock = Callable[[], float]

MAX_HOLD_SLOTS: Final = 128
"""Holds that are detailed in cells; further ones are counted all the same."""


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How many connections a pool allows.

    limit: the most that can be out at once; `math.inf` where there is no limit.
    idle_limit: the most that are kept when idle.
    idle_floor: the fewest that are kept open.
    """

    limit: float
    idle_limit: float
    idle_floor: float


class Tally(Recorder):
    """The state of a ledger. Times are readings of `clock`, in seconds."""

    def __init__(
        self,
        limits: Limits,
        clock: Clock = time.monotonic,
        leak_after: float | None = None,
        segments: Segments = Segment,
    ) -> None:
        self.limits: Final = limits
        self.clock: Final = clock
        self.leak_after: Final = math.inf if leak_after is None else leak_after
        self._segments = segments
        self._retired = False
        self.sightings = Sightings(self.sighted)
        super().__init__()
        self._start(segments)

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
        return self._lock

    def _start(self, segments: Segments) -> None:
        slots = int(min(self.limits.limit, MAX_HOLD_SLOTS))
        self._segment = segments(slots)
        self._cells = self._segment.cells
        self.changing = self._cells[: c.SEQUENCE + 1] if self._segment.shared else None
        self._open: set[Hashable] = set()
        self._out = Holds(self._segment, self.leak_after)
        self._opening: set[Hashable] = set()
        self._waiting = Slots(self._cells, c.FIRST_WAIT, c.FIRST_SITE)
        self._cells[c.LIMIT] = self.limits.limit
        self._cells[c.IDLE_LIMIT] = self.limits.idle_limit
        self._cells[c.IDLE_FLOOR] = self.limits.idle_floor
        self._cells[c.LEAK_AFTER] = self.leak_after
        self._cells[c.SINCE] = self._cells[c.CHANGED] = self._cells[c.WINDOW] = self.clock()
        if self._retired:
            self._take_no_more()

    @noted
    def sighted(self, rule: str, site: Site | None) -> None:
        """A rule was seen to be broken at that line, by a pool of that name."""
        self._segment.sighted(rule, site)

    # From here on the caller holds the lock.

    def _take_no_more(self) -> None:
        for cell in (c.LIMIT, c.IDLE_LIMIT, c.IDLE_FLOOR):
            self._cells[cell] = math.nan

    def _advance(self, now: float) -> None:
        """Bring the time-weighted sums and the peak windows up to `now`, before any change."""
        cells = self._cells
        passed = now - cells[c.CHANGED]
        if passed > 0.0:
            in_use, waiting = cells[c.IN_USE], cells[c.WAITING]
            cells[c.IN_USE_SECONDS] += in_use * passed
            if waiting:
                cells[c.WAITING_SECONDS] += waiting * passed
            if in_use + cells[c.OPENING] >= cells[c.LIMIT]:
                cells[c.SATURATED_SECONDS] += passed
            # Last: were the process killed in between, no sum would be less than it was read.
            cells[c.CHANGED] = now
        if now - cells[c.WINDOW] >= c.PEAK_WINDOW:
            self._rotate(now)

    def _rotate(self, now: float) -> None:
        cells = self._cells
        windows = (now - cells[c.WINDOW]) // c.PEAK_WINDOW
        for current, before, value in (
            (c.IN_USE_PEAK, c.IN_USE_PEAK_BEFORE, c.IN_USE),
            (c.WAITING_PEAK, c.WAITING_PEAK_BEFORE, c.WAITING),
        ):
            # Nothing has changed since the last event, so a window that passed without one
            # had the present value all along.
            cells[before] = cells[current] if windows == 1 else cells[value]
            cells[current] = cells[value]
        cells[c.WINDOW] += windows * c.PEAK_WINDOW

    def _add(self, key: Hashable, out: bool, since: float) -> None:
        """Put a connection where it is; `since` is when its hold began, 0.0 if it has not."""
        if key not in self._open:
            self._open.add(key)
            self._cells[c.OPENED] += 1
        if out:
            self._out.reserve(key, since)
        self._count()

    def _finish(self, outcome: int, seconds: float, queued: float | None) -> None:
        self._cells[outcome] += 1
        c.ACQUIRE_SECONDS.observe(self._cells, seconds)
        if queued is not None:
            self._cells[c.WAITED] += 1
            c.QUEUE_SECONDS.observe(self._cells, queued)

    def _hold(self, key: Hashable, now: float, reused: bool, who: Who | None) -> None:
        self._cells[c.REUSED] += reused
        if key not in self._out:
            self._advance(now)
            self._add(key, True, 0.0)
        self._out.begin(key, now, who)

    def _count(self) -> None:
        cells, out = self._cells, len(self._out)
        cells[c.IN_USE] = out
        cells[c.IDLE] = len(self._open) - out
        if out > cells[c.IN_USE_PEAK]:
            cells[c.IN_USE_PEAK] = out
            cells[c.MOST_IN_USE] = max(out, cells[c.MOST_IN_USE])

    def _count_waiting(self) -> None:
        cells, waiting = self._cells, len(self._waiting)
        cells[c.WAITING] = waiting
        if waiting > cells[c.WAITING_PEAK]:
            cells[c.WAITING_PEAK] = waiting

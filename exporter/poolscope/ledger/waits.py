"""The callers of a pool that wait for a slot, and when each began to."""

from __future__ import annotations

from collections.abc import Hashable
from operator import setitem

from poolscope.ledger import cells as c
from poolscope.ledger.changes import Changes
from poolscope.ledger.segment import Segment


class Waits:
    """
    The current waits, by key of the caller.

    A wait gets a cell of the segment for its start time, as long as one is free; further waits are
    only counted there. The ledger's lock protects all methods.

    current: when each wait began, its cell or 0, and the first cell of its host or 0.
    """

    __slots__ = ("_changes", "_free", "_numbers", "_segment", "_shared", "current")

    def __init__(self, segment: Segment, changes: Changes) -> None:
        self._segment = segment
        self._numbers = segment.numbers
        self._changes = changes
        self._shared = segment.shared
        self._free = list(segment.wait_slots) or segment.free
        self.current: dict[Hashable, tuple[float, int, int]] = {}

    def __contains__(self, key: object) -> bool:
        return key in self.current

    def begin(self, key: Hashable, now: float, host: int) -> None:
        """A caller that was not waiting begins to wait."""
        slot = self._changes.take(self._free)
        self._changes.put(self.current, key, (now, slot, host))
        c.count_at_host(self._numbers, host, c.HOST_WAITING, 1)
        if slot:
            self._changes.at_commit(setitem, self._segment.cells, slot, now)
        else:
            self._count_overflow(1, now)
        self._count()

    def end(self, key: Hashable, now: float) -> None:
        """A waiting caller stops waiting."""
        since, slot, host = self.current[key]
        self._changes.pop(self.current, key)
        c.count_at_host(self._numbers, host, c.HOST_WAITING, -1)
        self._numbers[c.WAITING_SECONDS] += max(0.0, now - since)
        if slot:
            self._changes.at_commit(setitem, self._segment.cells, slot, 0.0)
            self._changes.at_commit(self._free.append, slot)
        else:
            self._count_overflow(-1, since)
        self._count()

    def _count_overflow(self, change: int, since: float) -> None:
        if self._shared:
            number, started = c.OVERFLOW_WAITS, c.OVERFLOW_WAITS_SINCE
            c.count_overflow(self._numbers, number, started, change, since)

    def _count(self) -> None:
        numbers, waiting = self._numbers, len(self.current)
        numbers[c.WAITING] = waiting
        if waiting > numbers[c.WAITING_PEAK]:
            numbers[c.WAITING_PEAK] = waiting

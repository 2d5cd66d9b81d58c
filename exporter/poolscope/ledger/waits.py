"""The callers of a pool that wait for a slot, and when each began to."""

from __future__ import annotations

from collections.abc import Hashable

from poolscope.ledger import cells as c
from poolscope.ledger.segment import Segment


class Waits:
    """
    The current waits, by key of the caller.

    A wait gets a cell of the segment for its start time, as long as one is free; further waits are
    only counted there. The ledger's lock protects all methods.
    """

    __slots__ = ("_cells", "_free", "_shared", "_waits")

    def __init__(self, segment: Segment) -> None:
        self._cells = segment.cells
        self._shared = segment.shared
        self._free = list(segment.wait_slots) or segment.free
        self._waits: dict[Hashable, tuple[float, int]] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._waits

    def begin(self, key: Hashable, now: float) -> None:
        """A caller that was not waiting begins to wait."""
        slot = self._free.pop() if self._free else 0
        self._waits[key] = now, slot
        if slot:
            self._cells[slot] = now
        else:
            self._count_overflow(1, now)
        self._count()

    def end(self, key: Hashable, now: float) -> None:
        """A waiting caller stops waiting."""
        since, slot = self._waits.pop(key)
        self._cells[c.WAITING_SECONDS] += max(0.0, now - since)
        if slot:
            self._cells[slot] = 0.0
            self._free.append(slot)
        else:
            self._count_overflow(-1, since)
        self._count()

    def since(self) -> list[float]:
        """Return the start time of each wait."""
        return [since for since, _ in self._waits.values()]

    def _count_overflow(self, change: int, since: float) -> None:
        if self._shared:
            number, started = c.OVERFLOW_WAITS, c.OVERFLOW_WAITS_SINCE
            c.count_overflow(self._cells, number, started, change, since)

    def _count(self) -> None:
        cells, waiting = self._cells, len(self._waits)
        cells[c.WAITING] = waiting
        if waiting > cells[c.WAITING_PEAK]:
            cells[c.WAITING_PEAK] = waiting

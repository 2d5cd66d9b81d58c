"""The callers of a pool that wait for a slot, and since when."""

from __future__ import annotations

from collections.abc import Hashable

from poolscope.ledger import cells as c
from poolscope.ledger.segment import Segment


class Waits:
    """
    What waits now, by key of the caller. Those that find a cell in the segment have it say when
    they began; the others are only counted there.
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
        """A caller, who does not wait yet, waits."""
        slot = self._free.pop() if self._free else 0
        self._waits[key] = now, slot
        if slot:
            self._cells[slot] = now
        else:
            self._count_overflow(1, now)
        self._count()

    def end(self, key: Hashable, now: float) -> None:
        """A caller who waits does so no more."""
        since, slot = self._waits.pop(key)
        self._cells[c.WAITING_SECONDS] += max(0.0, now - since)
        if slot:
            self._cells[slot] = 0.0
            self._free.append(slot)
        else:
            self._count_overflow(-1, since)
        self._count()

    def since(self) -> list[float]:
        """Return when each began."""
        return [since for since, _ in self._waits.values()]

    def _count_overflow(self, by: int, since: float) -> None:
        if not self._shared:
            return
        cells = self._cells
        cells[c.OVERFLOW_WAITS] += by
        # What remains of fractions goes with the last one.
        cells[c.OVERFLOW_WAITS_SINCE] = (
            cells[c.OVERFLOW_WAITS_SINCE] + by * since if cells[c.OVERFLOW_WAITS] else 0.0
        )

    def _count(self) -> None:
        cells, waiting = self._cells, len(self._waits)
        cells[c.WAITING] = waiting
        if waiting > cells[c.WAITING_PEAK]:
            cells[c.WAITING_PEAK] = waiting

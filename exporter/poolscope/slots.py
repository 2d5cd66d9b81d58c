"""Things that last, each with a cell for when it began, so that a reader finds the oldest."""

from __future__ import annotations

from collections.abc import Hashable, Iterator


class Slots:
    """
    What lasts now, by key: holds, or waits.

    Of the cells from `first` up to `end` each `step` are a slot: of what lasts the first one has
    the clock when it began, else 0.0. More than there are slots are known all the same.
    """

    def __init__(self, cells: memoryview[float], first: int, end: int, step: int = 1) -> None:
        self._cells = cells
        self._free = list(range(end - step, first - 1, -step))
        self._slots: dict[Hashable, int] = {}
        self._more: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: object) -> bool:
        return key in self._slots

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._slots)

    def begin(self, key: Hashable, since: float) -> None:
        """Begin what has not begun; 0.0 is for what lasts, but takes no time yet."""
        if key in self._slots:
            return
        if self._free:
            slot = self._slots[key] = self._free.pop()
            self._cells[slot] = since
        else:
            self._slots[key] = 0
            self._more[key] = since

    def end(self, key: Hashable) -> float | None:
        """Return since when it has lasted, or None if it has not."""
        slot = self._slots.pop(key, None)
        if slot is None:
            return None
        if not slot:
            return self._more.pop(key)
        since: float = self._cells[slot]
        self._cells[slot] = 0.0
        self._free.append(slot)
        return since

    def since(self, key: Hashable) -> float:
        """Return since when it has lasted, of what does."""
        return self._cells[slot] if (slot := self._slots[key]) else self._more[key]

    def cell(self, key: Hashable) -> int:
        """Return the first cell of what lasts, 0 if it has no slot."""
        return self._slots[key]

    def restart(self, key: Hashable, now: float) -> float:
        """Let what lasts begin again; return since when it had lasted."""
        since = self.since(key)
        if slot := self._slots[key]:
            self._cells[slot] = now
        else:
            self._more[key] = now
        return since

    def without_cell(self) -> list[float]:
        """Return when those began that have no slot."""
        return list(self._more.values())

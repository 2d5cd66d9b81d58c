"""The open connections of a pool, those that are being opened, and the hosts that they are to."""

from __future__ import annotations

from collections.abc import Hashable

from poolscope.label_values import OTHER_LABEL
from poolscope.ledger import cells as c
from poolscope.ledger.changes import Changes
from poolscope.ledger.label_cells import HOSTS, LabelCells
from poolscope.ledger.segment import Segment


class Connections:
    """
    The connections of one pool; each is counted once, however often it is added or removed.

    open, opening: each open connection, and each attempt to open one, with the first cell of its
        host, or 0 in a pool of a single server.
    host_cells: the cells of the hosts; None in a pool of a single server.

    The caller of a method holds the ledger's lock.
    """

    __slots__ = ("_changes", "_numbers", "host_cells", "open", "opening")

    def __init__(self, by_host: bool, changes: Changes) -> None:
        """`by_host`: whether the connections go to many hosts."""
        self._changes = changes
        self.host_cells = LabelCells(HOSTS, changes) if by_host else None
        self.open: dict[Hashable, int] = {}
        self.opening: dict[Hashable, int] = {}

    def start(self, segment: Segment) -> None:
        """Begin without connections."""
        self._numbers = segment.numbers
        self.open.clear()
        self.opening.clear()
        if self.host_cells is not None:
            self.host_cells.start(segment)

    def host(self, name: str | None) -> int:
        """Return the first cell of a host, or of all others if it is None; 0 if there are none."""
        if self.host_cells is None:
            return 0
        return self.host_cells.cell(OTHER_LABEL if name is None else name)

    def add(self, key: Hashable, name: str | None = None) -> None:
        """Add an open connection, unless it is known; its host may be known only later."""
        host = self.open.get(key)
        if host is None:
            host = self.host(name)
            self._changes.put(self.open, key, host)
            self._numbers[c.OPENED] += 1
            self._count(host, c.HOST_OPENED, 1)
            self._count(host, c.HOST_OPEN, 1)
        elif name is not None and self._is_of_others(host):
            # It stays among those that the others have opened: no counter ever falls.
            self._count(host, c.HOST_OPEN, -1)
            host = self.host(name)
            self._changes.put(self.open, key, host)
            self._count(host, c.HOST_OPEN, 1)

    def _is_of_others(self, host: int) -> bool:
        cells = self.host_cells
        return cells is not None and host == cells.by_label.get(OTHER_LABEL)

    def remove(self, key: Hashable) -> None:
        """Remove an open connection."""
        host = self._changes.pop(self.open, key)
        if host is not None:
            self._numbers[c.CLOSED] += 1
            self._count(host, c.HOST_OPEN, -1)

    def begin_opening(self, attempt: Hashable, name: str | None) -> None:
        """Add an attempt to open a connection, unless it is known."""
        if attempt not in self.opening:
            host = self.host(name)
            self._changes.put(self.opening, attempt, host)
            self._count(host, c.HOST_OPENING, 1)

    def end_opening(self, attempt: Hashable, failed: bool) -> None:
        """Remove an attempt to open a connection."""
        host = self._changes.pop(self.opening, attempt)
        if host is not None:
            self._count(host, c.HOST_OPENING, -1)
            if failed:
                self._numbers[c.OPEN_FAILED] += 1
                self._count(host, c.HOST_FAILED, 1)

    def _count(self, host: int, cell: int, change: int) -> None:
        c.count_at_host(self._numbers, host, cell, change)

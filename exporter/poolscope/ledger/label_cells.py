"""
The cells of labels.

A label is that of a function of the application, the name of an operation, or a host. The first two
have a cell each, for the seconds of finished holds; a host has a row of cells.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Generic, NamedTuple, TypeVar

from poolscope.callsites.frames import Function
from poolscope.label_values import OTHER_LABEL, label_value
from poolscope.ledger import cells as c
from poolscope.ledger.changes import Changes
from poolscope.ledger.segment import Segment

K = TypeVar("K", bound=Hashable)

MAX_KNOWN_KEYS: Final = 1000
"""Size of a cache, which is cleared when full: code that is generated at run time has no end."""


class Labels(NamedTuple, Generic[K]):
    """
    What has labels: the functions, the operations, or the hosts.

    first, size: the first of their cells, and how many labels there are; the last is of all others.
    label_of: returns the label of one.
    width: how many cells each label has, one after the other.
    number: the offset from the first cell of a label to the one for the number of its text.
    """

    first: int
    size: int
    label_of: Callable[[K], str]
    width: int = 1
    number: int = c.ROW_LABEL

    def label(self, key: K, by_label: dict[str, int]) -> str:
        """Return its label, or `OTHER_LABEL` if it is new and all others have their cells."""
        label = self.label_of(key)
        if label in by_label:
            return label
        own = len(by_label) - (OTHER_LABEL in by_label)
        return label if own < self.size - 1 else OTHER_LABEL

    def cell(self, label: str, by_label: dict[str, int]) -> int:
        """Return the first cell of a label, which is the next one if it has none yet."""
        return by_label.get(label) or self.first + self.width * len(by_label)


SITES: Final = Labels[Function](c.FIRST_SITE, c.SITES, lambda function: function.label)
OPERATIONS: Final = Labels[str](c.FIRST_OPERATION, c.OPERATIONS, label_value)
HOSTS: Final = Labels[str](c.FIRST_HOST, c.HOSTS, label_value, c.HOST_CELLS, c.HOST_LABEL)


class LabelCells(Generic[K]):
    """
    The first cell of each function, of each name of an operation, or of each host.

    by_key: the cells of those that were asked for lately.
    by_label: the cells in the order in which they were added.

    The caller of a method holds the ledger's lock.
    """

    __slots__ = ("_changes", "_labels", "_segment", "by_key", "by_label")

    def __init__(self, labels: Labels[K], changes: Changes) -> None:
        self._labels = labels
        self._changes = changes
        self.by_key: dict[K, int] = {}
        self.by_label: dict[str, int] = {}

    def start(self, segment: Segment) -> None:
        """Begin without labels."""
        self._segment = segment
        self.by_key.clear()
        self.by_label.clear()

    def cell(self, key: K) -> int:
        """Return the cell of one, which it shares with others if there are too many."""
        cell = self.by_key.get(key)
        if cell is None:
            label = self.label(key)
            cell = self._labels.cell(label, self.by_label)
            if label not in self.by_label:
                self._segment.add_label(cell, label, self._labels.width, self._labels.number)
                self._changes.put(self.by_label, label, cell)
            if len(self.by_key) > MAX_KNOWN_KEYS:
                self.by_key.clear()
            self._changes.put(self.by_key, key, cell)
        return cell

    def label(self, key: K) -> str:
        """Return the label that it is shown with: its own, or `OTHER_LABEL`."""
        return self._labels.label(key, self.by_label)

"""The cells of the application's functions: each has one for the seconds of its finished holds."""

from __future__ import annotations

from typing import Final

from poolscope.callsites.frames import OTHER_SITES, SHOWN_SITES, Function
from poolscope.ledger import cells as c
from poolscope.ledger.changes import Changes
from poolscope.ledger.segment import Segment

MAX_FUNCTION_CELLS: Final = 1000
"""Size of a cache, which is cleared when full: code that is generated at run time has no end."""


class SiteCells:
    """
    The cell of each function, and the label that the function is shown with.

    by_function: the cells of the functions that were asked for lately.
    by_label: the cells in the order in which they were added.

    The caller of a method holds the ledger's lock.
    """

    __slots__ = ("_changes", "_segment", "by_function", "by_label")

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.by_function: dict[Function, int] = {}
        self.by_label: dict[str, int] = {}

    def start(self, segment: Segment) -> None:
        """Begin without functions."""
        self._segment = segment
        self.by_function.clear()
        self.by_label.clear()

    def cell(self, function: Function | None) -> int:
        """Return the cell of a function, which is a common one after `SHOWN_SITES` functions."""
        if function is None:
            return c.UNKNOWN_SITE_SECONDS
        cell = self.by_function.get(function)
        if cell is None:
            label = self.label(function)
            cell = self.by_label.get(label)
            if cell is None:
                cell = c.FIRST_SITE + len(self.by_label)
                self._segment.add_site(cell, label)
                self._changes.put(self.by_label, label, cell)
            if len(self.by_function) > MAX_FUNCTION_CELLS:
                self.by_function.clear()
            self._changes.put(self.by_function, function, cell)
        return cell

    def label(self, function: Function | None) -> str:
        """Return the label that a function is shown with: its own, or `OTHER_SITES`."""
        label = function.label if function is not None else OTHER_SITES
        if label in self.by_label or len(self.by_label) < SHOWN_SITES:
            return label
        return OTHER_SITES

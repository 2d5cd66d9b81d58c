"""
The memory that a ledger writes to: private, or (`fleet.segment_file`) a file that other processes
read.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Site
from poolscope.ledger import cells as c
from poolscope.readings.evidence import Line

# Shared by all segments without slots, and always empty.
_NO_SLOTS: Final[list[int]] = []
_NO_BORROWERS: Final[dict[int, Sequence[object]]] = {}


class Segment:
    """
    Cells in private memory, all 0.0 at first.

    No other process reads them, so there are no slots, the methods that publish names do nothing,
    and the cell of a label is added when the label is.

    shared: whether other processes read the cells, so that `SEQUENCE` must say when they change.
    numbers: the cells before `FIRST_WAIT` that the ledger works on. It publishes them in the cells
        when a change is final; in private memory the two are the same.
    free: the first cells of the free hold slots.
    wait_slots: the cells for waits.
    borrowers: the borrower of each slot's last hold, without its operation, by the first cell of
        the slot.
    due: whether `look` is to be called once the next change is final.
    """

    __slots__ = ("borrowers", "cells", "due", "free", "numbers")

    shared = False
    wait_slots = range(0)

    def __init__(self, slots: int, cells: c.Cells | None = None) -> None:
        """`cells` has room for that many hold slots; private memory has none."""
        self.free, self.borrowers, self.due = _NO_SLOTS, _NO_BORROWERS, False
        size = c.FIRST_SITE if cells is None else c.FIRST_WAIT
        self.numbers: Final = array("d", bytes(8 * size))
        self.cells: c.Cells = self.numbers if cells is None else cells

    def take_slot(self, borrower: Sequence[Any]) -> int:
        """Return a free slot that names the borrower, or 0 if that takes more than this."""
        return 0

    def set_borrower(self, slot: int, borrower: Sequence[Any]) -> bool:
        """Publish the borrower of a slot; return False if its line must be registered first."""
        return True

    def give_back(self, slot: int) -> None:
        """Free a slot that was taken and has no hold."""

    def register_borrower(self, borrower: Borrower, label: str) -> None:
        """Write the borrower's line, and the label of its function, for `set_borrower`."""

    def operation_number(self, name: str) -> int | None:
        """Return the number of an operation for its slots; None if it must be registered first."""
        return 0

    def register_operation(self, name: str, label: str) -> int:
        """Write the name of an operation, or else its label; return its number, or 0."""
        return 0

    def number_of_line(self, site: Site) -> int:
        """Write a line, if it is new; return its number, or 0."""
        return 0

    def add_label(self, cell: int, label: str, width: int, number: int) -> None:
        """
        Give the next label its cells, and note what it is; see `Labels`. Calling it again is safe.

        An event that was interrupted may have left something in cells that it had added.
        """
        self.numbers.extend([0.0] * (cell + width - len(self.numbers)))
        self.numbers[cell : cell + width] = array("d", bytes(8 * width))

    def add_evidence(self, rule: str, site: Line | None) -> None:
        """Publish that a rule was broken at a line."""

    def look(self) -> None:
        """See whether other processes can still read the cells. The ledger's lock is held."""

    def end(self) -> None:
        """Nothing is recorded any more."""

    def discard(self) -> None:
        """Remove what other processes can read; an error is logged and counted."""


Segments = Callable[[int], Segment]
"""Makes a segment with a given number of hold slots."""

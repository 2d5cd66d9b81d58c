"""
Where a ledger lives: in memory of this process alone, or in a file that other processes map.

The file has a header that is written once, the cells, and the names that go with them:

    page 0...   magic, sizes, and what the pool is, as JSON
    cells       float64, as `cells` lays them out
    owners      for each hold slot, the name of the task or thread
    texts       lines of code, functions and findings, in the order in which they were first seen

A file is never changed in size or replaced, and is complete when it has its name.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Site
from poolscope.ledger import cells as c

# Of all segments without slots: so nothing is ever put into them.
_NOTHING_FREE: Final[list[int]] = []
_NO_BORROWERS: Final[dict[int, Sequence[object]]] = {}


class Segment:
    """
    Cells in private memory, all 0.0 at first; nobody else reads them, so there are no slots, and
    functions have cells when they are named.

    shared: whether others read it, who must be told while it changes.
    free: first cells of the hold slots that nothing has.
    wait_slots: cells for waits.
    marks: by the first cell of a slot, with whom its last hold was.
    """

    __slots__ = ("borrowers", "cells", "free")

    shared = False
    wait_slots = range(0)

    def __init__(self, slots: int) -> None:
        self.free, self.borrowers = _NOTHING_FREE, _NO_BORROWERS
        self.cells = self._cells(slots)

    def _cells(self, slots: int) -> c.Cells:
        return array("d", bytes(8 * c.FIRST_SITE))

    def set_borrower(self, slot: int, who: Sequence[Any]) -> bool:
        """Let others know with whom the hold of the slot is; False if that is to be learnt."""
        return True

    def register_borrower(self, who: Borrower, label: str) -> None:
        """Know a line of a function, which is shown by the label, for marks to come."""

    def add_site(self, site: int, label: str) -> None:
        """The next function that has its seconds in a cell, at `site`, is called that."""
        if isinstance(self.cells, array):
            self.cells.append(0.0)

    def journal_fold(self, numbers: array[float], slots: Sequence[int]) -> None:
        """Write the journal before `JOURNALED_CELLS` are set and the slots are freed."""

    def add_evidence(self, rule: str, site: Site | None) -> None:
        """A rule was seen to be broken at a line."""


Segments = Callable[[int], Segment]
"""Makes a segment with that many hold slots."""

"""A hold as the hot path keeps it: what is open, and what has ended and is not in the cells yet."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from poolscope.callsites.borrower import Borrower

HolderRef = Callable[[], object]

ALWAYS_HELD: Final[HolderRef] = int
"""For holds without a reference to their holder: never returns None."""

SLOW_RELEASE: Final[HolderRef] = type(None)
"""Always returns None, so `hot_path` leaves the end of the hold to `Events.returned`."""

OpenHold = tuple[float, float, Borrower, HolderRef, int]
"""
A connection in use:

    since       clock when the caller got it, or `cells.TAKEN` while it is being set up
    asked       clock when the caller asked (while it is being set up: when it was taken), or
                `cells.ALREADY_COUNTED`
    borrower    a tuple that no other hold has
    holder_ref  returns None once nobody can return the connection any more
    slot        first cell of the hold's slot, or 0 if it has none

A plain tuple, because the hot path makes one for each use of a connection.
"""


FinishedHold = tuple[Hashable, Borrower, float, float, float, int]
"""
A hold that has ended and is not in the cells yet: its key, its borrower, the clock when the caller
asked, got the connection and returned it, and its slot or 0.
"""


def is_open(hold: OpenHold | None, borrower: Borrower) -> bool:
    """Whether it is the open hold of this very borrower."""
    return hold is not None and hold[2] is borrower

"""A hold as the hot path keeps it: what is open, and what has ended and is not in the cells yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Final, NamedTuple

from poolscope.callsites.borrower import Borrower

HolderRef = Callable[[], object]

ALWAYS_HELD: Final[HolderRef] = int
"""For holds without a reference to their holder: never returns None."""

SLOW_RELEASE: Final[HolderRef] = type(None)
"""Always returns None, so `hot_path` leaves the end of the hold to `Events.returned`."""
FindDropped = Callable[
    [frozenset[Hashable], Callable[[], Collection[Hashable]]], Collection[Hashable] | None
]
"""
Given the keys of connections in use, and what returns those of the caller that are still in use,
returns those that their holders have dropped. Those of them that nobody can return, it records as
abandoned.
"""


def nothing_dropped(*_: object) -> Collection[Hashable]:
    """Return no keys: an event reports each connection that is dropped."""
    return frozenset()


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


class Purpose(NamedTuple):
    """
    Of a hold that is, or was, held on purpose.

    counts_from: the clock from which on its age makes it overdue; infinite while it is held on
        purpose.
    by_caller: whether its caller said so when it took the connection, which stays so.
    """

    counts_from: float
    by_caller: bool

    @property
    def is_on_purpose(self) -> bool:
        return self.counts_from == math.inf


ORDINARY: Final = Purpose(-math.inf, False)


def overdue_since(purposes: Mapping[Hashable, Purpose], key: Hashable, since: float) -> float:
    """Return the clock from which on the age of a hold that began at `since` makes it overdue."""
    return max(since, purposes.get(key, ORDINARY).counts_from)

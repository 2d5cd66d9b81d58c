"""
Who held the connections of a pool lately, by line of the application.

The log names them when a caller gives up while nobody holds a connection: those that held them may
have run into the same time limit a moment before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter, sub
from typing import Final

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Function
from poolscope.ledger.changes import Changes
from poolscope.ledger.open_holds import FinishedHold

WINDOW: Final = 10
"""Seconds; what is longer ago does not count."""

MAX_PLACES: Final = 100
"""How many lines each second names; what further ones held is of an unknown line."""

Place = tuple[Function | None, int]
"""A line of the application: its function, and where in its code; see `Borrower`."""

UNKNOWN_PLACE: Final[Place] = (None, 0)

_PLACE_OF: Final[Callable[[Borrower], Place]] = itemgetter(0, 1)


class Lately:
    """
    The connection-seconds of holds that have ended, by line, for each second of the clock.

    by_second: what was held in each of the last seconds, by the clock's reading when it began.

    The caller of a method holds the ledger's lock. A row is replaced and never changed, so that an
    interrupted event can be taken back.
    """

    __slots__ = ("_changes", "by_second")

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.by_second: dict[int, dict[Place, float]] = {}

    def add(self, borrower: Borrower, since: float, until: float) -> None:
        """Add a hold that has ended."""
        second = int(until)
        if since >= second:
            self._put(second, {_PLACE_OF(borrower): until - since})
        else:
            self._spread([(_PLACE_OF(borrower), since, until)])

    def add_batch(self, batch: Sequence[FinishedHold]) -> None:
        """Add several holds that have ended."""
        if not batch:
            return
        _, borrowers, _, begun, ended, _ = zip(*batch, strict=True)
        places = list(map(_PLACE_OF, borrowers))
        second = int(max(ended))
        if min(begun) < second:
            self._spread(zip(places, begun, ended, strict=True))
        elif places.count(places[0]) == len(places):
            self._put(second, {places[0]: sum(map(sub, ended, begun))})
        else:
            row: dict[Place, float] = {}
            for place, held in zip(places, map(sub, ended, begun), strict=True):
                row[place] = row.get(place, 0.0) + held
            self._put(second, row)

    def _spread(self, holds: Iterable[tuple[Place, float, float]]) -> None:
        """Add holds to each of the seconds in which they were held, if it is not too long ago."""
        rows: dict[int, dict[Place, float]] = {}
        for place, since, until in holds:
            last = int(until)
            for second in range(max(int(since), last - WINDOW), last + 1):
                held = min(until, second + 1.0) - max(since, second)
                if held or since == until:  # not if it has ended as the second began
                    row = rows.setdefault(second, {})
                    row[place] = row.get(place, 0.0) + held
        for second in sorted(rows):
            self._put(second, rows[second])

    def _put(self, second: int, row: dict[Place, float]) -> None:
        """Add a row to what is known of its second."""
        known = self.by_second.get(second)
        if known is not None:
            row = _sum(known, row)
        else:
            for old in [key for key in self.by_second if key < second - WINDOW]:
                self._changes.pop(self.by_second, old)
        self._changes.put(self.by_second, second, row)

    def sums(self, now: float) -> dict[Place, float]:
        """Return the connection-seconds by line of the last `WINDOW` seconds at most."""
        sums: dict[Place, float] = {}
        for second, row in self.by_second.copy().items():
            if second >= now - WINDOW:
                for place, held in row.items():
                    sums[place] = sums.get(place, 0.0) + held
        return sums


def _sum(known: dict[Place, float], more: dict[Place, float]) -> dict[Place, float]:
    """Return the sums of two rows, with a bounded number of lines."""
    sums = known.copy()
    for place, held in more.items():
        named = place if place in sums or len(sums) < MAX_PLACES else UNKNOWN_PLACE
        sums[named] = sums.get(named, 0.0) + held
    return sums

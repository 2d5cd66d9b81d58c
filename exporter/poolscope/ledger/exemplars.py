"""Which attempts and holds of a pool become exemplars."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable
from functools import reduce
from operator import setitem
from typing import Final

from poolscope.callsites.borrower import trace_of
from poolscope.callsites.traces import Trace
from poolscope.ledger import cells as c
from poolscope.ledger.changes import Changes
from poolscope.ledger.open_holds import FinishedHold
from poolscope.ledger.segment import Segment
from poolscope.readings.exemplars import ACQUIRES, HOLDS, NUMBERS, Exemplar, number_of, replaces

_WORD: Final = 1 << 32

_LATEST: Final = 1e15
"""Seconds; no time and no duration is that large."""


class KeptExemplars:
    """
    The exemplars of a pool. Of a trace that is not sampled nobody can find anything, so it is none.

    by_number: by the number of their bucket.
    """

    __slots__ = ("_changes", "_segment", "by_number")

    def __init__(self, changes: Changes, segment: Segment) -> None:
        self._changes = changes
        self._segment = segment
        self.by_number: Final[dict[int, Exemplar]] = {}

    def observe(self, histogram: str, seconds: float, trace: Trace | None) -> None:
        """A value was observed. The caller holds the ledger's lock, and makes it final."""
        if trace is None or not trace.is_sampled:
            return
        number, new = number_of(histogram, seconds), Exemplar(trace.number, seconds, time.time())
        if replaces(new, self.by_number.get(number)):
            self._changes.put(self.by_number, number, new)
            if self._segment.shared:
                first = c.FIRST_EXEMPLAR + c.EXEMPLAR_CELLS * number
                where = slice(first, first + c.EXEMPLAR_CELLS)
                self._changes.at_commit(setitem, self._segment.cells, where, _cells_of(new))

    def observe_finished(self, batch: Iterable[FinishedHold]) -> None:
        """These holds are added to the histograms."""
        for _, borrower, asked, since, ended, _ in batch:
            trace = trace_of(borrower)
            self.observe(ACQUIRES, since - asked, trace)
            self.observe(HOLDS, ended - since, trace)


def _cells_of(exemplar: Exemplar) -> array[float]:
    number, seconds, at = exemplar
    words = [number // _WORD**place % _WORD for place in (3, 2, 1, 0)]
    return array("d", [seconds, at, *words])


def exemplars_in(cells: memoryview[float]) -> dict[int, Exemplar]:
    """Return the exemplars in the cells of a file; what is impossible is left out."""
    found = {}
    for number in range(NUMBERS):
        first = c.FIRST_EXEMPLAR + c.EXEMPLAR_CELLS * number
        seconds, at, *words = cells[first : first + c.EXEMPLAR_CELLS].tolist()
        are_possible = all(0.0 <= word < _WORD and word == int(word) for word in words)
        if 0.0 < at < _LATEST and 0.0 <= seconds < _LATEST and are_possible:
            trace = reduce(lambda high, low: high * _WORD + int(low), words, 0)
            found[number] = Exemplar(trace, seconds, at)
    return found

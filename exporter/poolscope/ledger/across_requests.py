"""
The holds of a database pool that were open while their callers waited for another server.

A request by HTTP that a caller begins while it holds a connection is under way until the pool of
the other server has its connection back, or has given up. While one or more are under way, each
second of the hold counts once.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from typing import NamedTuple

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Place
from poolscope.ledger import cells as c
from poolscope.ledger.changes import Changes


class Across(NamedTuple):
    """
    A hold during which its caller has begun a request.

    borrower: that of the hold.
    place: where the first of the requests under way was begun.
    since: the clock when it was begun.
    requests: what identifies those that are under way.
    """

    borrower: Borrower
    place: Place
    since: float
    requests: frozenset[Hashable]


class AcrossRequests:
    """
    The holds that are, or were, open across a request, until they end; by the key of the
    connection.

    The caller of a method holds the ledger's lock. An entry is replaced and never changed, so that
    an interrupted event can be taken back.
    """

    __slots__ = ("_changes", "_numbers", "by_key")

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self.by_key: dict[Hashable, Across] = {}

    def start(self, numbers: array[float]) -> None:
        """Begin without holds, in cells that are all 0.0."""
        self._numbers = numbers
        self.by_key.clear()

    def begin(
        self, key: Hashable, borrower: Borrower, request: Hashable, place: Place, now: float
    ) -> None:
        """The caller that holds a connection begins a request."""
        known = self.by_key.get(key)
        if known is None:
            self._numbers[c.ACROSS_HOLDS] += 1
        if known is None or not known.requests:
            known = Across(borrower, place, now, frozenset())
            c.count_overflow(self._numbers, c.ACROSS_NOW, c.ACROSS_NOW_SINCE, 1, now)
        requests = known.requests | {request}
        self._changes.put(self.by_key, key, known._replace(requests=requests))

    def end(self, key: Hashable, request: Hashable, now: float) -> None:
        """A request ends; one that is not under way changes nothing."""
        known = self.by_key.get(key)
        if known is None or request not in known.requests:
            return
        requests = known.requests - {request}
        self._changes.put(self.by_key, key, known._replace(requests=requests))
        if not requests:
            self._add(known, now)

    def hold_ended(self, key: Hashable, now: float) -> None:
        """A hold ends, and with it what counts of the requests that are still under way."""
        known = self._changes.pop(self.by_key, key)
        if known is not None and known.requests:
            self._add(known, now)

    def _add(self, across: Across, now: float) -> None:
        self._numbers[c.ACROSS_SECONDS] += max(0.0, now - across.since)
        c.count_overflow(self._numbers, c.ACROSS_NOW, c.ACROSS_NOW_SINCE, -1, across.since)

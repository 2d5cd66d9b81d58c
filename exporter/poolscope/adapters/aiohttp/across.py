"""A request that a caller makes while it holds connections of a database."""

from __future__ import annotations

import itertools
from typing import Final

from poolscope.callsites.frames import Place
from poolscope.ledger.holding import holdings
from poolscope.ledger.ledger import Ledger

_numbers: Final = itertools.count(1)


class RequestAcross:
    """Records a request in the ledgers of the databases whose connections its caller holds."""

    __slots__ = ("_ledgers", "_number")

    _ledgers: list[Ledger]

    def __init__(self) -> None:
        # A number, as the ledgers must not refer to themselves.
        self._number: Final = next(_numbers)
        self._ledgers = []

    def begin(self, place: Place) -> None:
        """What runs now begins the request at that place."""
        for ledger, borrower_key in holdings():
            self._ledgers.append(ledger)
            ledger.request_begins(borrower_key, self._number, place)

    def end(self) -> None:
        """The request has failed, or its connection is given back; again, it changes nothing."""
        for ledger in self._ledgers:
            ledger.request_ended(self._number, ledger.clock())
        self._ledgers.clear()

    def __del__(self) -> None:
        # An exception from outside may have come before anybody got to know of the request.
        if getattr(self, "_ledgers", None):
            self.end()

"""Looks at the connections of an asyncpg pool for those that nobody can return any more."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Collection, Hashable
from typing import Any, Final

from poolscope.adapters.asyncpg.lost import (
    count_missing,
    holder_of,
    is_being_released,
    is_lost,
)
from poolscope.adapters.channels import check_channels
from poolscope.adapters.missing_slots import MissingSlots
from poolscope.callsites.borrower import Borrower
from poolscope.errors import harmless
from poolscope.ledger import cells
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import OpenHold
from poolscope.watching.hooks import Hooks

BEGUN_WITHIN: Final = 1.0
"""Seconds after which a caller has the connection that the fast path has recorded."""


class Looks(Hooks):
    """Finds what is abandoned or lost, in one pool."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger: Final = ledger
        self.clock: Final = ledger.clock
        # The list of the pool's holders, if it has one.
        self.holders: Callable[[], Any] = type(None)
        # The ids of the holders that callers are acquiring.
        self._acquiring: set[int] = set()
        # Connections that callers can lose.
        self._live: weakref.WeakSet[Any] = weakref.WeakSet()
        # By connection: a hold that nobody has, and when that was seen first.
        self._not_begun: dict[int, tuple[OpenHold, float]] = {}
        self._missing_slots: Final = MissingSlots(ledger)

    @harmless
    def find_abandoned(self) -> None:
        for connection in list(self._live):
            check_channels(connection)
            if connection._proxy is None:
                self._find_not_begun(connection)
            else:
                self._is_abandoned(connection)
        self.find_lost_slots()

    def find_dropped(self, keys: frozenset[Hashable]) -> Collection[Hashable]:
        return {
            id(connection)
            for connection in list(self._live)
            if id(connection) in keys and self._is_abandoned(connection)
        }

    def _is_abandoned(self, connection: Any) -> bool:
        """Whether nobody can return a connection; tell the ledger then."""
        if is_lost(connection, self.ledger.who(id(connection))):
            holder = holder_of(connection)
            if id(holder) not in self._acquiring and not is_being_released(holder):
                self.ledger.abandoned(id(connection), self.clock())
                return True
        return False

    @harmless
    def find_lost_slots(self, lost_by: Borrower | None = None) -> None:
        """Find holders that asyncpg has lost; `lost_by`: whose attempt has just lost one."""
        holders = self.holders()
        if holders:
            self._missing_slots.look(self.missing_counter(holders), lost_by)

    def missing_counter(self, holders: Any) -> Callable[[], int]:
        return functools.partial(count_missing, holders, self.ledger, self._acquiring)

    def _find_not_begun(self, connection: Any) -> None:
        """
        End a hold of a connection that nobody has: an exception came between its two halves.

        The fast path records a hold before the caller has the connection, so one that has just
        begun looks the same.
        """
        key, now = id(connection), self.clock()
        hold = self.ledger.holds.in_use.get(key)
        if hold is None or hold[0] == cells.TAKEN:
            self._not_begun.pop(key, None)
            return
        seen_hold, since = self._not_begun.setdefault(key, (hold, now))
        if seen_hold is not hold:
            self._not_begun[key] = hold, now
        elif now - since >= BEGUN_WITHIN:
            del self._not_begun[key]
            self.ledger.returned(key, now)

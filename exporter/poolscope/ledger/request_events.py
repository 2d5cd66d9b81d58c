"""The events of requests by HTTP that callers begin while they hold connections of a pool."""

from __future__ import annotations

from collections.abc import Hashable

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Place, site_of
from poolscope.ledger.paused import PausedState
from poolscope.ledger.recorder import recorded, recorded_if_awake
from poolscope.readings.evidence import HELD_ACROSS_REQUEST, TwoSites


class RequestEvents(PausedState):
    """These events; see `Events`."""

    __slots__ = ()

    def request_begins(self, borrower_key: Hashable, request: Hashable, place: Place) -> None:
        """
        What runs now begins a request by HTTP, and has taken connections of this pool.

        Those that it has returned, dropped or handed on do not count, nor those that are held on
        purpose.

        borrower_key: what has taken them; see `Borrower`.
        request: identifies the request until `request_ended`.
        place: the line that makes it.
        """
        kept = self._still_held(borrower_key, self.holds.held_by(borrower_key))
        if kept:
            self._request_begun(kept, borrower_key, request, place, self.clock())

    def across(self) -> list[TwoSites]:
        """Return the lines of the holds whose callers have requests under way."""
        return [
            TwoSites(across.borrower.site, site_of(across.place))
            for across in self.holds.across.by_key.copy().values()
            if across.requests
        ]

    def _still_held(self, borrower_key: Hashable, held: frozenset[Hashable]) -> frozenset[Hashable]:
        """Return which of the connections that a caller has taken it still has."""

        def still_held() -> frozenset[Hashable]:
            return self.holds.held_by(borrower_key)

        kept = held.difference(self._find_dropped(held, still_held) or ()) if held else held
        # Who has got one may have returned it meanwhile.
        return kept & still_held() if kept else kept

    @recorded
    def _request_begun(
        self,
        keys: frozenset[Hashable],
        borrower_key: Hashable,
        request: Hashable,
        place: Place,
        now: float,
    ) -> None:
        for key in keys:
            hold = self.holds.in_use.get(key)
            if (
                hold is None
                or hold[2][2] != borrower_key
                or not self.holds.leave_to_events(key, hold)
            ):
                continue
            borrower = Borrower(*hold[2])
            self.holds.across.begin(key, borrower, request, place, now)
            sites = borrower.site, site_of(place)
            self.evidence.add(HELD_ACROSS_REQUEST, TwoSites(*sites) if any(sites) else None)

    @recorded
    def end_slowly(self, key: Hashable) -> None:
        """The hot path leaves the end of this hold, if it is open, to `returned`."""
        hold = self.holds.in_use.get(key)
        if hold is not None:
            self.holds.leave_to_events(key, hold)

    @recorded_if_awake
    def request_ended(self, request: Hashable, now: float) -> None:
        """A request has ended: its pool has the connection back, or has given up."""
        for key in list(self.holds.across.by_key):
            self.holds.across.end(key, request, now)

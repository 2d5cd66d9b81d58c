"""One attempt to get a connection of an aiohttp connector."""

from __future__ import annotations

from poolscope.callsites.borrower import Borrower


class Attempt:
    """
    One attempt to get a connection.

    started, waiting_since, opening_since: the clock when it began, began to wait for a slot, and
        began to open a connection.
    seconds: how long it took, set when it has failed.
    open_seconds: how long it took to open the connection.
    queued: seconds that it has waited for a slot; None if it did not have to wait.
    in_queue: whether it has ended while it waited for a slot.
    has_failed: whether it has ended without a connection.
    who: who asks, once it has been found out.
    """

    host: str
    started: float

    # Defaults in the class, because most attempts set none of these.
    seconds = waiting_since = opening_since = open_seconds = 0.0
    queued: float | None = None
    in_queue = False
    has_failed = False
    who: Borrower | None = None

    @property
    def number(self) -> int:
        """Return what identifies the attempt among all that are in flight."""
        return id(self)

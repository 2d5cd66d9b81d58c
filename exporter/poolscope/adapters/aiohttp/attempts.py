"""One attempt of an aiohttp pool to get a connection."""

from __future__ import annotations

from poolscope.callsites.borrower import Borrower


class Attempt:
    """
    What is known of one attempt to get a connection.

    who: who asks, once somebody wanted to know.
    started, seconds: when it began; how long it took, once it has failed.
    queued: seconds of waiting for a slot; None if it did not have to.
    """

    host: str
    started: float

    # Most attempts end without any of these, so they are not set for each.
    seconds = waiting_since = opening_since = open_seconds = 0.0
    queued: float | None = None
    who: Borrower | None = None

    @property
    def number(self) -> int:
        """Return what tells it from all others while it lasts."""
        return id(self)

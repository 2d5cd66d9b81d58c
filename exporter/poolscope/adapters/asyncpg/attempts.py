"""Attempts of asyncpg pools to get a connection that are followed step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolscope.callsites.borrower import Borrower


# By task.
pending_attempts: dict[int, PendingAttempt] = {}


class PendingAttempt:
    """
    An attempt that may wait, connect, or fail, and is followed step by step.

    queued: seconds of waiting for a slot; None if it did not have to.
    waiting_since: None if it does not wait.
    """

    __slots__ = ("queued", "started", "waiting_since", "who")

    def __init__(self, started: float, who: Borrower) -> None:
        self.started = started
        self.who = who
        self.waiting_since: float | None = None
        self.queued: float | None = None

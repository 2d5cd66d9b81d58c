"""Attempts to get a connection of an asyncpg pool that are followed step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolscope.callsites.borrower import Borrower


# By the id of the task that makes the attempt.
pending_attempts: dict[int, PendingAttempt] = {}


class PendingAttempt:
    """
    An attempt that may wait, connect, or fail, and is followed step by step.

    queued: seconds that it has waited for a slot; None if it did not have to wait.
    waiting_since: the clock when it began to wait; None if it is not waiting.
    is_counted: whether it is counted as one that got a connection, whatever comes afterwards.
    holder: the one that has served it, once one has.
    in_queue: whether it has begun to wait, and no holder has served it.
    """

    __slots__ = ("holder", "in_queue", "is_counted", "queued", "started", "waiting_since", "who")

    def __init__(self, started: float, who: Borrower) -> None:
        self.started = started
        self.who = who
        self.waiting_since: float | None = None
        self.queued: float | None = None
        self.is_counted = False
        self.holder: Any = None
        self.in_queue = False

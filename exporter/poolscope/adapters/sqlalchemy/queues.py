"""
Where callers of a SQLAlchemy pool wait for a slot, and how long each of them has waited.

Threads block in the condition variable of the pool's queue, which they reach only when the queue
is empty; callers of an async engine wait in the queue's `get`.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy.pool import Pool
from sqlalchemy.util import queue as sqla_queue

from poolscope.adapters.patches import replace_method, restore_method, wrap_method
from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import NOWHERE
from poolscope.callsites.owners import place_of_caller
from poolscope.errors import harmless
from poolscope.ledger.ledger import Ledger
from poolscope.watching.watched_pool import WatchedPool

try:
    from greenlet import getcurrent
except ImportError:  # SQLAlchemy needs it for async engines only
    current_caller = threading.get_ident
else:

    def current_caller() -> int:
        """Return the id of the greenlet: each call of an async engine has one, and each thread."""
        return id(getcurrent())


# Checked with SQLAlchemy 2.0.0, 2.0.58 and 2.1.9:
#   QueuePool._pool, with not_empty.wait(timeout), or get(block, timeout) and empty()


class Waited(NamedTuple):
    """The seconds that an attempt has waited for a slot, and who asks, if that is known."""

    seconds: float
    who: Borrower | None


NOT_WAITED: Final = Waited(0.0, None)


class WaitTracker:
    """
    Records the callers that wait for a slot of one pool object.

    ended: by caller, the wait of its attempt in flight.
    """

    __slots__ = ("_asked", "_ledger", "_watched", "ended")

    def __init__(self, watched: WatchedPool, ledger: Ledger) -> None:
        self.ended: Final[dict[int, Waited]] = {}
        self._asked: Final[dict[int, Borrower]] = {}
        self._watched: Final = watched
        self._ledger: Final = ledger

    def hook(self, pool: Pool) -> None:
        target, name = _waiting_method(pool)
        if name == "get":
            wrap_method(target, name, functools.partial(_wrap_async_get, target), self)
        elif name == "wait":
            replace_method(target, name, WaitTracker._block, self)

    def unhook(self, pool: Pool) -> None:
        target, name = _waiting_method(pool)
        if name:
            restore_method(target, name, self)

    def _block(self, _: object, original: Callable[..., bool], timeout: float | None = None) -> Any:
        self._check_event_loop()
        return self.wait_in(original, timeout)

    def wait_in(self, original: Callable[..., Any], *args: Any) -> Any:
        started = self._watched.clock()
        self._begin_wait(started)
        try:
            return original(*args)
        finally:
            self._end_wait(started)

    @harmless
    def _check_event_loop(self) -> None:
        """A thread is about to block, and with it the event loop that runs in it, if any."""
        if asyncio._get_running_loop() is not None:
            place = place_of_caller(sys._getframe()) if self._watched.call_sites else NOWHERE
            self._watched.evidence.add_at("blocks-event-loop", place)

    @harmless
    def _begin_wait(self, now: float) -> None:
        key = current_caller()
        # A caller that is woken and finds no connection waits again; it has asked only once.
        self._asked[key] = self.ended.get(key, NOT_WAITED).who or self._ledger.ask(pool_locked=True)
        self._ledger.waiting(key, now)

    @harmless
    def _end_wait(self, started: float) -> None:
        now, key = self._watched.clock(), current_caller()
        self._ledger.stopped_waiting(key, now)
        before = self.ended.get(key, NOT_WAITED).seconds
        self.ended[key] = Waited(before + now - started, self._asked.pop(key, None))


def _wrap_async_get(queue: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    def get(tracker: WaitTracker, block: bool = True, timeout: float | None = None) -> Any:
        if not block or not queue.empty() or (timeout is not None and timeout <= 0.0):
            return original(block, timeout)
        return tracker.wait_in(original, True, timeout)

    return get


def _waiting_method(pool: Pool) -> tuple[Any, str]:
    """Return the object and the name of its method in which callers wait; "" if they never do."""
    queue = getattr(pool, "_pool", None)
    if isinstance(queue, sqla_queue.AsyncAdaptedQueue):
        return queue, "get"
    if isinstance(queue, sqla_queue.Queue):
        return queue.not_empty, "wait"
    return None, ""

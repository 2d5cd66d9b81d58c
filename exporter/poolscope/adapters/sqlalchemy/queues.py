"""
Where the callers of a SQLAlchemy pool wait for a slot, and for how long they have.

They wait in the pool's queue: threads in its condition, which only those get to for whom there is
nothing in the queue, and the callers of an async engine in its `get`.
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
from poolscope.ledger.events import LOCKED
from poolscope.ledger.ledger import Ledger
from poolscope.watching.watched_pool import WatchedPool

try:
    from greenlet import getcurrent
except ImportError:  # SQLAlchemy needs it for async engines only
    caller = threading.get_ident
else:

    def caller() -> int:
        """Return what identifies the code that is asking: an async engine's greenlet, a thread."""
        return id(getcurrent())


# Checked with SQLAlchemy 2.0.0, 2.0.58 and 2.1.9:
#   QueuePool._pool, with not_empty.wait(timeout), or get(block, timeout) and empty()


class Waited(NamedTuple):
    """An attempt that had to wait: for how many seconds, and who asks, if that is known."""

    seconds: float
    who: Borrower | None


NOT_WAITED: Final = Waited(0.0, None)


class WaitTracker:
    """
    Those who wait for a slot of one pool object.

    ended: by caller, of the attempt in flight, how long that has waited, and who asks.
    """

    __slots__ = ("_asked", "_ledger", "_watched", "ended")

    def __init__(self, watched: WatchedPool, ledger: Ledger) -> None:
        self.ended: Final[dict[int, Waited]] = {}
        self._asked: Final[dict[int, Borrower]] = {}
        self._watched: Final = watched
        self._ledger: Final = ledger

    def wrap_method(self, pool: Pool) -> None:
        target, name = _place_of(pool)
        if name == "get":
            wrap_method(target, name, functools.partial(_wrap_async_get, target), self)
        elif name == "wait":
            replace_method(target, name, WaitTracker._block, self)

    def restore_method(self, pool: Pool) -> None:
        target, name = _place_of(pool)
        if name:
            restore_method(target, name, self)

    def _block(self, _: object, original: Callable[..., bool], timeout: float | None = None) -> Any:
        self._blocking()
        return self._wait(original, timeout)

    def _wait(self, original: Callable[..., Any], *args: Any) -> Any:
        started = self._watched.clock()
        self._waiting(started)
        try:
            return original(*args)
        finally:
            self._stopped_waiting(started)

    @harmless
    def _blocking(self) -> None:
        """A thread is about to wait, and with it an event loop if one runs there."""
        if asyncio._get_running_loop() is not None:
            place = place_of_caller(sys._getframe()) if self._watched.call_sites else NOWHERE
            self._watched.evidence.add_at("blocks-event-loop", place)

    @harmless
    def _waiting(self, now: float) -> None:
        key = caller()
        # Woken in vain, it waits again, and has not asked again.
        self._asked[key] = self.ended.get(key, NOT_WAITED).who or self._ledger.ask(key=LOCKED)
        self._ledger.waiting(key, now)

    @harmless
    def _stopped_waiting(self, started: float) -> None:
        now, key = self._watched.clock(), caller()
        self._ledger.stopped_waiting(key, now)
        before = self.ended.get(key, NOT_WAITED).seconds
        self.ended[key] = Waited(before + now - started, self._asked.pop(key, None))


def _wrap_async_get(queue: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    def get(tracker: WaitTracker, block: bool = True, timeout: float | None = None) -> Any:
        if not block or not queue.empty() or (timeout is not None and timeout <= 0.0):
            return original(block, timeout)
        return tracker._wait(original, True, timeout)

    return get


def _place_of(pool: Pool) -> tuple[Any, str]:
    """Return what callers wait in, and the method that they wait in, or "" if they never wait."""
    queue = getattr(pool, "_pool", None)
    if isinstance(queue, sqla_queue.AsyncAdaptedQueue):
        return queue, "get"
    if isinstance(queue, sqla_queue.Queue):
        return queue.not_empty, "wait"
    return None, ""

"""
Where callers of a SQLAlchemy pool wait for a slot, and how long each of them has waited.

Threads block in the condition variable of the pool's queue, which they reach only when the queue
is empty; callers of an async engine wait in the queue's `get`.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy.pool import Pool
from sqlalchemy.util import queue as sqla_queue

from poolscope.adapters.classes import (
    Factory,
    bound,
    is_watched,
    stock_of,
    unwatch_object,
    watch_object,
)
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
    """
    How an attempt has waited for a slot.

    seconds: how long.
    who: who asks, if that is known.
    since: the clock when it began to wait.
    got_none: whether it has got no slot since, as far as is known.
    outer: how the caller has waited before; if that was before an attempt began, it belongs to an
        outer attempt of the same caller, as in `in_flight`.
    """

    seconds: float
    who: Borrower | None
    since: float
    got_none: bool = True
    outer: Waited | None = None


NOT_WAITED: Final = Waited(0.0, None, -math.inf)


class WaitTracker:
    """
    Records the callers that wait for a slot of one pool object.

    ended: by caller, the wait of its attempt in flight; `NOT_WAITED` if it is here for another
        reason.
    """

    __slots__ = ("_asked", "_ledger", "_watched", "ended")

    def __init__(self, watched: WatchedPool, ledger: Ledger) -> None:
        self.ended: Final[dict[int, Waited]] = {}
        self._asked: Final[dict[int, Borrower]] = {}
        self._watched: Final = watched
        self._ledger: Final = ledger

    def hook(self, pool: Pool) -> None:
        target, methods = _waiting_in(pool)
        if target is not None:
            target._poolscope_hooks = self
            watch_object(target, methods)

    def unhook(self, pool: Pool) -> None:
        target, _ = _waiting_in(pool)
        if target is not None:
            unwatch_object(target)

    def take(self, started: float) -> Waited | None:
        """
        Remove and return how the caller's attempt that began at `started` has waited; None if it
        has not.
        """
        caller = current_caller()
        latest = first = self.ended.get(caller)
        seconds = 0.0
        while first is not None and first.since >= started:
            seconds, first = seconds + first.seconds, first.outer
        if first is None or latest is NOT_WAITED:
            self.ended.pop(caller, None)
        elif first is not latest:
            self.ended[caller] = first
        if latest is None or latest is first:
            return None
        return latest._replace(seconds=seconds)

    def got_slot(self) -> None:
        """The attempt of this caller has a slot: if it fails now, it has not given up waiting."""
        if self.ended:
            key = current_caller()
            waited = self.ended.get(key, NOT_WAITED)
            if waited is not NOT_WAITED:
                self.ended[key] = waited._replace(got_none=False)

    def block(self, original: Callable[..., Any], timeout: float | None) -> Any:
        self._check_event_loop()
        return self.wait_in(original, timeout)

    def wait_in(self, original: Callable[..., Any], *args: Any) -> Any:
        started = self._watched.clock()
        try:
            self._begin_wait(started)
            result = original(*args)
            self._end_wait(started)
            return result
        except BaseException:
            try:
                self._end_wait(started)
            except BaseException:
                # Another exception has come meanwhile; a second time changes nothing.
                self._end_wait(started)
                raise
            raise

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
        # Read once: a signal handler may wait here, too, as the same caller.
        who = self._asked.get(key)
        if who is not None:
            outer = self.ended.get(key)
            if outer is None or outer.since != started:  # or it has been noted already
                self.ended[key] = Waited(now - started, who, started, outer=outer)
            self._asked.pop(key, None)


def _wait(base: Any) -> Any:
    """The `wait` of a condition variable."""

    def wait(self: Any, timeout: float | None = None) -> Any:
        original = bound(base, "wait", self)
        if not is_watched(self):
            return original(timeout)
        return self._poolscope_hooks.block(original, timeout)

    return wait


def _get(base: Any) -> Any:
    """The `get` of the queue of an async engine."""

    stock = stock_of(base, "get")

    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
        if block and self.empty() and (timeout is None or timeout > 0.0) and is_watched(self):
            original = bound(base, "get", self)
            return self._poolscope_hooks.wait_in(original, True, timeout)
        if base.get is stock:
            return stock(self, block, timeout)
        return bound(base, "get", self)(block, timeout)

    return get


_WAIT: Final[dict[str, Factory]] = {"wait": _wait}
_GET: Final[dict[str, Factory]] = {"get": _get}


def _waiting_in(pool: Pool) -> tuple[Any, dict[str, Factory]]:
    """Return the object in which callers wait, and its method for that; None if they never do."""
    queue: Any = getattr(pool, "_pool", None)
    if isinstance(queue, sqla_queue.AsyncAdaptedQueue):
        return queue, _GET
    if isinstance(queue, sqla_queue.Queue):
        return queue.not_empty, _WAIT
    return None, {}

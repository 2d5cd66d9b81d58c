"""
Whether a connection of asyncpg that is out can still be returned.

What the caller has is a proxy. Pool and connection refer to it for as long as it is out, so Python
never collects it; but when they alone do, nobody is left who could return it. The number of
references says so at any moment, as whoever uses the proxy, waits with it or keeps it has one.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final

import asyncpg.pool

from poolscope.adapters.references import COUNTS_ARE_EXACT, references
from poolscope.callsites.borrower import Borrower

# Checked with asyncpg 0.29.0 to 0.32.0: Connection._proxy, ._listeners, ._log_listeners;
#   PoolConnectionProxy._holder; PoolConnectionHolder._proxy, release(timeout); Pool._loop


_RELEASE: Final = asyncpg.pool.PoolConnectionHolder.release.__code__


def holder_of(connection: Any) -> Any:
    """Return the holder of a connection that is out."""
    return getattr(connection._proxy, "_holder", None)


def is_lost(connection: Any, who: Borrower | None) -> bool:
    """Whether nobody can return the connection; False if it is not out."""
    if not COUNTS_ARE_EXACT or connection._proxy is None:
        return False
    if connection._listeners or connection._log_listeners:
        return False  # they are given the proxy when something arrives
    others = references(lambda: connection._proxy) - 2
    return others == 0 or (others > 0 and others == _remembered(connection, who))


def is_being_released(holder: Any) -> bool:
    """
    Whether the pool is taking the holder back, for a caller who was cancelled meanwhile.

    It does that in a task of its own, whose coroutine is the holder's `release`.
    """
    for task in asyncio.all_tasks(holder._pool._loop):
        frame = getattr(task.get_coro(), "cr_frame", None)
        if frame is not None and frame.f_code is _RELEASE and frame.f_locals.get("self") is holder:
            return True
    return False


def _remembered(connection: Any, who: Borrower | None) -> int:
    """
    Return how many references the frames of the task have that took the connection.

    It has ended with an error, and somebody keeps that; but nothing runs in those frames any more.
    """
    task: Any = who.borrower_key() if who is not None and callable(who.borrower_key) else None
    if task is None or not task.done() or task.cancelled():
        return 0
    # Not `exception()`, after which asyncio does not complain that nobody has seen it.
    frames = {id(frame): frame for frame in _frames(task._exception, set())}
    return sum(
        referent is connection._proxy
        for frame in frames.values()
        for referent in gc.get_referents(frame)
    )


def _frames(error: BaseException | None, seen: set[int]) -> Iterator[FrameType]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next
    yield from _frames(error.__cause__, seen)
    yield from _frames(error.__context__, seen)
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _frames(inner, seen)

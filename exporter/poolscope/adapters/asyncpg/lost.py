"""
Whether an asyncpg connection in use can still be returned, and which holders the pool has lost.

A caller gets a proxy. The pool and the connection refer to it while the connection is in use, so
Python never collects it; when they hold the only references, nobody can return the connection any
more. The reference count shows that at any moment, because code that uses the proxy, awaits with
it or stores it holds a reference of its own.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Collection, Iterator, Sequence
from types import FrameType
from typing import Any, Final

import asyncpg.pool

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.threads import frame_of
from poolscope.callsites.variables import variable_of
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.references import COUNTS_ARE_EXACT, references

# Checked with asyncpg 0.29.0 to 0.32.0: Connection._proxy, ._listeners, ._log_listeners;
#   PoolConnectionProxy._holder; PoolConnectionHolder._pool, ._proxy, ._in_use, release(timeout);
#   Pool._loop, ._queue, ._initialized, ._closing, ._closed; the queue is a LifoQueue with _queue


_RELEASE: Final = asyncpg.pool.PoolConnectionHolder.release.__code__


def holder_of(connection: Any) -> Any:
    """Return the holder of a connection in use, or None."""
    return getattr(connection._proxy, "_holder", None)


def is_lost(connection: Any, who: Borrower | None) -> bool:
    """Whether nobody can return the connection; False if it is not in use."""
    if not COUNTS_ARE_EXACT or connection._proxy is None:
        return False
    if connection._listeners or connection._log_listeners:
        return False  # asyncpg passes the proxy to a listener when something arrives
    others = references(lambda: connection._proxy) - 2
    return others == 0 or (others > 0 and others == _references_of_failed_task(connection, who))


def is_being_released(holder: Any) -> bool:
    """
    Whether a task of asyncpg is returning the holder's connection.

    The task runs the holder's `release`, and goes on when the caller is cancelled meanwhile.
    """
    for task in asyncio.all_tasks(holder._pool._loop):
        frame = frame_of(task.get_coro(), "cr_frame")
        if frame is not None and frame.f_code is _RELEASE and variable_of(frame, "self") is holder:
            return True
    return False


def is_missing(holder: Any) -> bool:
    """Whether the holder, if there is one, is neither anybody's nor in its pool's queue."""
    return (
        holder is not None
        and holder._in_use is None
        and not any(free is holder for free in list(holder._pool._queue._queue))
    )


def count_missing(holders: Sequence[Any], ledger: Ledger, acquiring: Collection[int]) -> int:
    """
    Return how many holders of a pool are neither anybody's nor in its queue.

    acquiring: the ids of the holders that may be connecting, or calling `setup`.
    """
    pool = holders[0]._pool
    if pool._closing or pool._closed or not pool._initialized:
        return 0
    missing = [holder for holder in holders if is_missing(holder)]
    if not missing:
        return 0
    in_use, opening = ledger.slots()
    return max(
        0,
        sum(
            id(holder) not in acquiring and id(holder._con) not in in_use and is_missing(holder)
            for holder in missing
        )
        - opening,
    )


def _references_of_failed_task(connection: Any, who: Borrower | None) -> int:
    """
    Return how many references to the proxy the frames of a failed task hold; 0 for other tasks.

    The task's exception keeps the frames, but no code runs in them any more.
    """
    task: Any = who.borrower_key() if who is not None and callable(who.borrower_key) else None
    if task is None or not task.done() or task.cancelled():
        return 0
    # Not `exception()`: asyncio would then not log that the exception was never retrieved.
    frames = {id(frame): frame for frame in _frames_of(task._exception, set())}
    return sum(
        referent is connection._proxy
        for frame in frames.values()
        for referent in gc.get_referents(frame)
    )


def _frames_of(error: BaseException | None, visited: set[int]) -> Iterator[FrameType]:
    if error is None or id(error) in visited:
        return
    visited.add(id(error))
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next
    yield from _frames_of(error.__cause__, visited)
    yield from _frames_of(error.__context__, visited)
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _frames_of(inner, visited)

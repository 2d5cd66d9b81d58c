"""
What runs at a moment, where asyncio has no current task: a thread, a task of trio, or a job that a
task of asyncio has given to a thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import sys
import weakref
from collections.abc import Hashable
from concurrent.futures import Future
from threading import get_ident
from types import FrameType
from typing import Any, Final

from poolscope.callsites.variables import variables_of

trio_was_seen: Final[list[bool]] = []
"""Empty until a task of trio is seen, so that until then nobody need look for one."""


def identify() -> Hashable:
    """Return what identifies the thread, or the task of trio, that calls this."""
    task = trio_task()
    return get_ident() if task is None else weakref.ref(task)


def trio_task() -> Any:
    """Return the current task of trio, or None."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        task = trio.lowlevel.current_task()
    except (RuntimeError, AttributeError):  # none runs in this thread; it is being imported
        return None
    if not trio_was_seen:
        trio_was_seen.append(True)
    return task


# Checked with anyio 4.4.0 and 4.16.0: threadlocals.current_cancel_scope of a worker thread;
#   CancelScope.shield, _child_scopes, _host_task.
def waiting_task() -> asyncio.Task[Any] | None:
    """
    Return the task that waits for the job of this thread, if anyio runs it: in `anyio.to_thread`,
    and so in Starlette and FastAPI. A task waits for one job at a time.

    None if that cannot be told, or if the task may go on before the job ends.
    """
    anyio = sys.modules.get("anyio._core._eventloop")
    scope = getattr(getattr(anyio, "threadlocals", None), "current_cancel_scope", None)
    if scope is None:
        return None
    try:
        # anyio gives the thread the scope in which the task waits, or the one outside of that.
        inner = list(scope._child_scopes) or [scope]
        if len(inner) == 1 and inner[0].shield and isinstance(inner[0]._host_task, asyncio.Task):
            return inner[0]._host_task
    except (AttributeError, RuntimeError):  # of another version; or the scopes have just changed
        pass
    return None


# Checked with CPython 3.11 to 3.14: concurrent.futures.thread._WorkItem.run() and .future,
#   Future._done_callbacks and _state, asyncio.futures._chain_future() with the future of asyncio in
#   `destination`, whose _callbacks have methods of the task that awaits it.
_RUN_JOB: Final = concurrent.futures.thread._WorkItem.run.__code__
_ENDED: Final = (concurrent.futures._base.CANCELLED_AND_NOTIFIED, concurrent.futures._base.FINISHED)


def job_of_executor() -> Future[Any] | None:
    """Return the job that this thread runs for an executor of threads, or None."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _RUN_JOB:
            item = (variables_of(frame) or {}).get("self")
            return getattr(item, "future", None)
        frame = frame.f_back
    return None


def task_that_awaits(job: Any) -> asyncio.Task[Any] | None:
    """
    Return the task that awaits this very job of an executor, as in `await asyncio.to_thread()` and
    `await loop.run_in_executor()`.

    None if several jobs are awaited together, and if the task has not come to that yet.
    """
    try:
        for wakes, _ in list(future_for(job)._callbacks or ()):
            task = getattr(wakes, "__self__", None)
            if isinstance(task, asyncio.Task):
                return task
    except (AttributeError, TypeError, ValueError):  # it is of another kind
        pass
    return None


def future_for(job: Any) -> Any:
    """Return the future with which asyncio waits for a job of an executor, or None."""
    try:
        for callback in list(job._done_callbacks):
            names = callback.__code__.co_freevars
            if "destination" in names:
                return callback.__closure__[names.index("destination")].cell_contents
    except (AttributeError, TypeError, ValueError):  # it is of another kind
        pass
    return None


def has_ended(job: Future[Any] | None) -> bool:
    """Whether the function of a job has returned. This takes no lock, unlike its `done`."""
    return job is None or job._state in _ENDED

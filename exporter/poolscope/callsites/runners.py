"""
What runs at a moment, where asyncio has no current task: a thread, a task of trio, or a job that a
task of asyncio has given to a thread.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Hashable
from threading import get_ident
from typing import Any, Final

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

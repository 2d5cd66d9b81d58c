"""The task or the thread that asks for a connection."""

from __future__ import annotations

import asyncio
import threading
import weakref
from asyncio import current_task
from contextvars import ContextVar
from threading import get_ident, get_native_id
from types import FrameType
from typing import Any, Final

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import NOWHERE, Place, find_place

# Checked with CPython 3.11 to 3.14: threading._active, which nobody replaces by another dictionary.
_threads: Final[dict[int, threading.Thread]] = vars(threading)["_active"]


class ThreadJob:
    """
    What one thread does in one context: all of its work, or one request of a web service.

    A worker thread runs each request in its own context, and another thread may return the
    connection. So requests are told apart by their context, not by their thread.

    name: the name of the thread when the job began. For a thread that Python did not start it is
        `thread ` and the number that the system gives it.
    thread: the identifier of the thread.
    """

    __slots__ = ("_known", "name", "thread")

    def __init__(self, thread: int) -> None:
        self.thread: Final = thread
        # Not `current_thread()`: for a thread that Python did not start, it makes an object that
        # stays in `threading.enumerate()` for ever (CPython 3.11, and partly later).
        known = _threads.get(thread)
        self.name: Final = known.name if known is not None else f"thread {get_native_id()}"
        self._known: Final = weakref.ref(known) if known is not None else None

    def get_name(self) -> str | None:
        """Return the name that the thread has now, or None if it is not known."""
        known = self._known() if self._known is not None else None
        return known.name if known is not None else None


current_job: Final[ContextVar[ThreadJob | None]] = ContextVar("poolscope_thread_job", default=None)
"""The job of the context. A context that was copied from another thread has that thread's job."""


def new_job() -> ThreadJob:
    """Begin a new job of this thread and context."""
    job = ThreadJob(get_ident())
    current_job.set(job)
    return job


def find_borrower(frame: FrameType | None, call_sites: bool) -> Borrower:
    """
    Return the caller that asks for a connection: its task or thread and, with `call_sites`, its
    place, from the frame outwards.

    `ledger.hot_path` does the same in fewer steps.
    """
    borrower_key: object
    task = _running_task()
    if task is not None:
        # Weak: a finished task keeps its exception, whose frames keep the connections that they
        # never returned.
        borrower_key, owner = weakref.ref(task), task.get_name()
    else:
        job = current_job.get()
        if job is None or job.thread != get_ident():
            job = new_job()
        borrower_key, owner = job, job.name
    function, at = find_place(frame, outermost_frame(task)) if call_sites else NOWHERE
    return Borrower(function, at, borrower_key, owner)


def place_of_caller(frame: FrameType | None) -> Place:
    """Return the place of the application that is running, from the frame outwards."""
    return find_place(frame, outermost_frame(_running_task()))


def _running_task() -> asyncio.Task[Any] | None:
    return current_task() if asyncio._get_running_loop() is not None else None


def outermost_frame(task: asyncio.Task[Any] | None) -> FrameType | None:
    """Return the outermost frame of a task, the one of its coroutine."""
    if task is None:
        return None
    coroutine: Any = task.get_coro()
    # aiohttp's `session.get()` returns an object that wraps a coroutine (3.9.0 to 3.14.5).
    frame: FrameType | None = getattr(getattr(coroutine, "_coro", coroutine), "cr_frame", None)
    return frame

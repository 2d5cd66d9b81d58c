"""The task or the thread that asks for a connection."""

from __future__ import annotations

import asyncio
import threading
import weakref
from asyncio import current_task
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextvars import ContextVar
from threading import get_ident, get_native_id
from types import FrameType
from typing import Any, Final

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import NOWHERE, Place, find_place
from poolscope.callsites.operations import Operation, current_operation
from poolscope.callsites.runners import (
    future_for,
    has_ended,
    identify,
    job_of_executor,
    task_that_awaits,
    trio_task,
    waiting_task,
)
from poolscope.callsites.traces import trace_of_caller
from poolscope.callsites.variables import variables_of
from poolscope.callsites.waiters import is_applications, place_in, place_that_waits

# Checked with CPython 3.11 to 3.14: threading._active, which nobody replaces by another dictionary.
known_threads: Final[dict[int, threading.Thread]] = vars(threading)["_active"]


class ThreadJob:
    """
    What one thread, or one task of trio, does in one context: all of its work, or one request of a
    web service. The jobs that a task has given to threads, one after the other, are one job: those
    that anyio runs, and those of executors that have the same operation.

    A worker thread runs each request in its own context, and another thread may return the
    connection. So requests are told apart by their context, not by their thread.

    name: the name of the thread or task when the job began. For a thread that Python did not start
        it is `thread ` and the number that the system gives it.
    runner: what identifies the thread or task; see `runners`.
    operation: what it is done for, if it is known.
    """

    __slots__ = ("_given", "_named", "name", "operation", "runner")

    name: str
    runner: Hashable

    def __init__(self, operation: Operation | None = None) -> None:
        self.operation: Final = operation
        self._given: Callable[[], Future[Any] | None] = _nothing
        self.begin()

    def give(self, given: Future[Any] | None) -> bool:
        """
        The task gives the next job to this thread: `given` to an executor, or None to anyio.

        Return False if an earlier one goes on, which the task no longer waits for. Then this is a
        job of its own.
        """
        before = self._given()
        if before is not given and not has_ended(before):
            return False
        # A reference to the job would keep alive what it returns.
        self._given = weakref.ref(given) if given is not None else _nothing
        self.begin()
        return True

    def begin(self) -> None:
        """The job begins, or goes on, in the thread or task that calls this."""
        self.runner = identify()
        # Not `current_thread()`: for a thread that Python did not start, it makes an object that
        # stays in `threading.enumerate()` for ever (CPython 3.11, and partly later).
        named: Any = trio_task() if callable(self.runner) else known_threads.get(get_ident())
        self.name = str(named.name) if named is not None else f"thread {get_native_id()}"
        self._named = weakref.ref(named) if named is not None else None

    def is_of(self, ident: int) -> bool:
        """Whether that thread, which runs, is the one of the job: numbers are given out again."""
        thread = known_threads.get(ident)
        return thread is not None and self._named is not None and self._named() is thread

    def get_name(self) -> str | None:
        """Return the name that the thread or task has now, or None if it is not known."""
        named = self._named() if self._named is not None else None
        return str(named.name) if named is not None else None


def _nothing() -> None:
    return None


NO_JOB: Final = ThreadJob()
NO_JOB.runner = None

current_job: Final[ContextVar[ThreadJob]] = ContextVar("poolscope_thread_job", default=NO_JOB)
"""
The job of the context, which is that of nothing if it has none. A context that was copied from
another thread has that thread's job.
"""

jobs_by_task: Final[weakref.WeakKeyDictionary[asyncio.Task[Any], ThreadJob]] = (
    weakref.WeakKeyDictionary()
)
"""For each task, the jobs that it has given to threads, and waited for, one after the other."""


def new_job() -> ThreadJob:
    """
    Return the job of what runs now, where the context is known to have that of another thread, or
    none: a new one, or that of the task that waits for this thread.
    """
    job, task = current_job.get(), waiting_task()
    if task is not None:
        job = _job_of(task, None)
    elif job.runner != identify():  # it may be that of the same task of trio
        given = job_of_executor() if current_operation() is not None else None
        task = task_that_awaits(given) if given is not None else None
        job = _job_of(task, given) if task is not None else ThreadJob()
    current_job.set(job)
    return job


def _job_of(task: asyncio.Task[Any], given: Future[Any] | None) -> ThreadJob:
    """Return the job of a task that has given the next one to this thread; see `ThreadJob.give`."""
    operation = current_operation()
    job = jobs_by_task.get(task)
    if job is None or (given is not None and job.operation is not operation):
        job = jobs_by_task[task] = ThreadJob(operation)
    return job if job.give(given) else ThreadJob()


def task_of_job(job: ThreadJob) -> asyncio.Task[Any] | None:
    """Return the task that has given the jobs of this `ThreadJob` to threads, if there is one."""
    return next((task for task, known in list(jobs_by_task.items()) if known is job), None)


def awaited_job(task: asyncio.Task[Any]) -> ThreadJob | None:
    """
    Return the job of this thread, if the thread has begun the running task and waits until it ends,
    as in `asyncio.run` and `loop.run_until_complete`.
    """
    job = current_job.get()
    if job.runner != get_ident():
        return None
    frame = outermost_frame(task)
    # Outside of the task, only asyncio runs, and the code that waits.
    while frame is not None:
        if frame.f_code in _WAITS:
            values = (variables_of(frame) or {}).values()
            return job if any(value is task for value in values) else None
        frame = frame.f_back
    return None


# Checked with CPython 3.11 to 3.14: both have the task in a variable. uvloop has no frames.
_WAITS: Final = (
    asyncio.Runner.run.__code__,
    asyncio.BaseEventLoop.run_until_complete.__code__,
)


def job_in_callback() -> ThreadJob:
    """
    Return the job of a callback of asyncio's event loop: each time that it asks, a new one.

    Its context is a copy of that of whoever has scheduled it, and two callbacks may share one, so
    nothing tells whether the same one has asked before.
    """
    return ThreadJob() if trio_task() is None else new_job()  # trio may be a guest of the loop


def find_borrower(frame: FrameType | None, call_sites: bool) -> Borrower:
    """
    Return the caller that asks for a connection: its task or thread, its operation and, with
    `call_sites`, its place, from the frame outwards.

    `ledger.hot_path` does the same in fewer steps.
    """
    borrower_key: object
    task = _running_task()
    if task is not None:
        # Weak: a finished task keeps its exception, whose frames keep the connections that they
        # never returned.
        borrower_key, owner = weakref.ref(task), task.get_name()
    else:
        job = job_of_caller()
        borrower_key, owner = job, job.name
    function, at = place_of(task, frame) if call_sites else NOWHERE
    operation, trace = current_operation(), trace_of_caller()
    return Borrower(function, at, borrower_key, owner, operation, trace)


def apart(borrower: Borrower) -> Borrower:
    """
    Return the caller, told apart from another one that has the same job: it runs in a task of trio,
    which the hot path did not look for.
    """
    job: Any = borrower[2]
    if not isinstance(job, ThreadJob) or job.runner == identify():
        return borrower
    job = new_job()
    return Borrower(*borrower)._replace(borrower_key=job, owner=job.name)


def job_of_caller() -> ThreadJob:
    """Return the job of what runs now, in a thread, in a task of trio, or in an event loop."""
    if asyncio._get_running_loop() is not None:
        return job_in_callback()
    job = current_job.get()
    return job if job.runner == identify() else new_job()


def place_of_caller(frame: FrameType | None) -> Place:
    """Return the place of the application that is running, from the frame outwards."""
    return place_of(_running_task(), frame)


def place_of(task: asyncio.Task[Any] | None, frame: FrameType | None) -> Place:
    """
    Return the place of the application that is running in the task, if there is one, from the frame
    outwards. Where only libraries run there, it is the place that waits for the task, or for the
    job of this thread.
    """
    place = find_place(frame, outermost_frame(task))
    if is_applications(place):
        return place
    waited_for: asyncio.Future[Any] | None = task
    if task is None and asyncio._get_running_loop() is None:
        waits = waiting_task()
        if waits is not None and is_applications(found := place_in(waits)):
            return found
        waited_for = waits or future_for(job_of_executor())
    found = place_that_waits(waited_for) if waited_for is not None else NOWHERE
    return found if is_applications(found) else place


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

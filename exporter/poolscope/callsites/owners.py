"""Who is asking: a task or a thread."""

from __future__ import annotations

import asyncio
import threading
from asyncio import current_task
from contextvars import ContextVar
from threading import get_ident
from types import FrameType
from typing import Any, Final

from poolscope.callsites.frames import Place, find


class ThreadJob:
    """
    What a thread is about: all that it does, or, where it works for others, one job.

    A thread of a pool runs each request of a web service in a context of its own, and what one
    request took, another thread may return. So requests that met the same thread are told apart.

    name: of the thread, as it was when this began.
    """

    __slots__ = ("name", "thread")

    def __init__(self, thread: int) -> None:
        self.thread: Final = thread
        self.name: Final = threading.current_thread().name


current_job: Final[ContextVar[ThreadJob | None]] = ContextVar("poolscope_errand", default=None)
"""Its context's; one that was copied to this thread brings along another's."""


def new_job() -> ThreadJob:
    """Begin a new errand of this thread and context."""
    new = ThreadJob(get_ident())
    current_job.set(new)
    return new


def place_of_caller(frame: FrameType | None) -> Place:
    """Return where somebody asks, found from the frame outwards."""
    task = current_task() if asyncio._get_running_loop() is not None else None
    return find(frame, outermost(task))


def outermost(task: asyncio.Task[Any] | None) -> FrameType | None:
    """Return the frame of a task that stands outside of all others."""
    if task is None:
        return None
    coroutine: Any = task.get_coro()
    # What `session.get()` of aiohttp returns is a coroutine around one (3.9.0 to 3.14.5).
    frame: FrameType | None = getattr(getattr(coroutine, "_coro", coroutine), "cr_frame", None)
    return frame

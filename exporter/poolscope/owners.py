"""Who is asking: a task or a thread. Adapters need it; it imports asyncio, which they do anyway."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from types import FrameType
from typing import Any, Final

from poolscope.holders import Who
from poolscope.sites import Site


def who_asks(here: Callable[[FrameType | None], Site | None]) -> Who:
    """Return the site, which `here` finds, and the task or the thread."""
    task = asyncio.current_task() if asyncio._get_running_loop() is not None else None
    if task is None:
        return Who(here(None), threading.current_thread().name, _errand())
    coroutine: Any = task.get_coro()
    # What `session.get()` of aiohttp returns is a coroutine around one (3.9.0 to 3.14.5).
    coroutine = getattr(coroutine, "_coro", coroutine)
    # Weak: a task that is done has its error, whose frames have what they forgot to return.
    return Who(here(getattr(coroutine, "cr_frame", None)), task.get_name(), weakref.ref(task))


class Errand:
    """
    What a thread is about: all that it does, or, where it works for others, one job.

    A thread of a pool runs each request of a web service in a context of its own, and what one
    request took, another thread may return. So requests that met the same thread are told apart.
    """

    __slots__ = ("thread",)

    def __init__(self, thread: int) -> None:
        self.thread: Final = thread


_current: ContextVar[Errand | None] = ContextVar("poolscope_errand", default=None)


def _errand() -> Errand:
    thread, errand = threading.get_ident(), _current.get()
    # A context that was copied to another thread brings along that of where it comes from.
    if errand is None or errand.thread != thread:
        errand = Errand(thread)
        _current.set(errand)
    return errand

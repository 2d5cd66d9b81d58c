"""Who is asking: a task or a thread. Adapters need it; it imports asyncio, which they do anyway."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref
from asyncio import current_task
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from threading import get_ident
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from poolscope.holders import Who
from poolscope.sites import Place, find, know, known

if TYPE_CHECKING:
    from poolscope.ledger import Ledger


class Errand:
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


_current: ContextVar[Errand | None] = ContextVar("poolscope_errand", default=None)


def _errand() -> Errand:
    """Begin a new errand; a context that was copied to this thread brings along another's."""
    errand = Errand(get_ident())
    _current.set(errand)
    return errand


def asking(ledger: Ledger, look: Callable[[], object], call_sites: bool) -> Callable[..., Who]:
    """
    Return `asks(now, depth=2)`, which is called whenever somebody asks for a connection.

    It says who that is, found from that frame outwards, where 1 is its caller's; and tells the
    ledger of nested requests, and `look` when something may be overdue.
    """
    holds, pending = ledger.holds, ledger.pending
    askers, current, running_loop = holds.askers, _current.get, asyncio._get_running_loop
    thread, frame_of = get_ident, sys._getframe

    def asks(now: float, depth: int = 2) -> Any:
        asker: Hashable
        task, loop = None, running_loop()
        if loop is None or (task := current_task(loop)) is None:
            asker = current()
            if asker is None or asker.thread != thread():
                asker = _errand()
            owner = asker.name
        else:
            # Weak: a task that is done has its error, whose frames have what they forgot to return.
            asker, owner = weakref.ref(task), task.get_name()
        if call_sites:
            frame: FrameType | None = frame_of(depth)
            while frame is not None:
                function = known(id(frame.f_code)) or know(frame)
                if function.asks:
                    break
                frame = frame.f_back
            # Of code that is not a coroutine's own, only the task knows whether it runs in there.
            if frame is None or (task is not None and not function.awaits):
                who = *find(frame_of(depth), _outermost(task)), asker, owner
            else:
                who = function, frame.f_lasti, asker, owner
        else:
            who = None, 0, asker, owner
        if asker in askers or pending:
            ledger.nested(Who(*who))
        if now >= holds.look_at:
            look()
        return who

    return asks


def place_of_asker(frame: FrameType | None) -> Place:
    """Return where somebody asks, found from the frame outwards."""
    task = current_task() if asyncio._get_running_loop() is not None else None
    return find(frame, _outermost(task))


def _outermost(task: asyncio.Task[Any] | None) -> FrameType | None:
    """Return the frame of a task that stands outside of all others."""
    if task is None:
        return None
    coroutine: Any = task.get_coro()
    # What `session.get()` of aiohttp returns is a coroutine around one (3.9.0 to 3.14.5).
    frame: FrameType | None = getattr(getattr(coroutine, "_coro", coroutine), "cr_frame", None)
    return frame

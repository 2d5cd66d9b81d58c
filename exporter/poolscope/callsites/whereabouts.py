"""
Where the holders of connections are now: the line at which each of them waits, or runs.

This is looked up when somebody asks, and never when a connection is taken.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Iterator
from threading import get_ident
from types import CodeType, FrameType
from typing import Any, Final

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import (
    NOWHERE,
    Place,
    Site,
    find_place,
    innermost_place,
    parent_greenlets_frame,
    site_of,
)
from poolscope.callsites.owners import ThreadJob, task_of_job
from poolscope.callsites.threads import frames_of_threads, outer_frame
from poolscope.callsites.waiters import awaited_frames, place_that_waits

MAX_FRAMES: Final = 1000
"""Frames of a thread that are looked at, the innermost ones."""


class Whereabouts:
    """The stacks of all threads at one moment."""

    def __init__(self) -> None:
        self._others: Final = frames_of_threads()
        # A frame with a variable that leads to itself would keep what all of them refer to alive.
        self._others.pop(get_ident(), None)

    def site(self, who: Borrower) -> Site | None:
        """
        Return the line at which a holder is; None if it has ended, or that cannot be known.

        A job that another one gave to a thread may be over, and the thread at work for others: then
        only a task that waits for the job can say where that is.
        """
        key: Any = who.borrower_key
        task = key() if isinstance(key, weakref.ref) else None
        if isinstance(task, asyncio.Task):
            place = self._of_coroutine(task.get_coro())
            return site_of(place if place[0] is not None else place_that_waits(task))
        if not isinstance(key, ThreadJob):
            return None
        runner: Any = key.runner
        if isinstance(runner, weakref.ref):  # a task of trio
            return site_of(self._of_coroutine(getattr(runner(), "coro", None)))
        place = self._of_thread(runner, key, who)
        if place is NOWHERE:
            waiting = task_of_job(key)
            place = self._of_coroutine(waiting.get_coro()) if waiting is not None else NOWHERE
        return site_of(place)

    def _of_coroutine(self, coroutine: Any) -> Place:
        frames = list(awaited_frames(coroutine))
        if frames and not _is_suspended(coroutine):
            return self._of_running(frames[0])
        return innermost_place(reversed(frames))

    def _of_running(self, outermost: FrameType) -> Place:
        """Return the place of a coroutine that runs now, in this thread or another one."""
        own = sys._getframe(1)
        if any(frame is outermost for frame in _stack(own, is_own=True)):
            return find_place(own, outermost)
        for innermost in self._others.values():
            frames = list(_stack(innermost))
            if any(frame is outermost for frame in frames):
                return find_place(innermost, outermost)
        return NOWHERE

    def _of_thread(self, ident: int, job: ThreadJob, who: Borrower) -> Place:
        innermost = sys._getframe(1) if ident == get_ident() else self._others.get(ident)
        if innermost is None or not job.is_of(ident):
            return NOWHERE
        if ident == get_ident():
            return find_place(innermost)
        # A thread with a target of its own does one job; others are given one after the other.
        code = who.function.code if who.function is not None else None
        frames = list(_stack(innermost))
        is_known = _runs_one_job(frames) or _is_on(frames, code)
        return find_place(innermost) if is_known else NOWHERE


def _stack(innermost: FrameType, is_own: bool = False) -> Iterator[FrameType]:
    """
    Yield the frames of a thread, the innermost first; if it is our `own`, beyond greenlets.

    To go through another thread's with `f_back` is safe while all of these are held.
    """
    frame: FrameType | None = innermost
    hops = 0
    for _ in range(MAX_FRAMES):
        if frame is None and is_own:
            hops += 1
            frame = parent_greenlets_frame(hops)
        if frame is None:
            return
        yield frame
        frame = frame.f_back if is_own else outer_frame(frame)


_RUNS_JOBS: Final = frozenset({"concurrent.futures.thread", "anyio._backends._asyncio"})
"""Modules of Python and anyio whose threads are given one job after the other."""


def _is_on(frames: list[FrameType], code: CodeType | None) -> bool:
    return any(frame.f_code is code for frame in frames)


def _runs_one_job(frames: list[FrameType]) -> bool:
    return all(frame.f_globals.get("__name__") not in _RUNS_JOBS for frame in frames)


def _is_suspended(coroutine: Any) -> bool:
    for name in ("cr_suspended", "gi_suspended"):
        if hasattr(coroutine, name):
            return bool(getattr(coroutine, name))
    return True

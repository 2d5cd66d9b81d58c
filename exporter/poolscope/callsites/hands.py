"""
In whose hands a connection is: whether who took it may have handed it on to another task or thread.

Who took it holds it where it is found in one of its own variables, or where all variables, of all
tasks and threads, were searched and nobody else has it, nor is about to be given it. Else it may
be another's, and nobody is blamed. Nothing is hooked; what is looked at is not changed.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import sys
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final, NamedTuple

from poolscope.callsites.frames import known_function, parent_greenlets_frame, remember_function
from poolscope.callsites.libraries import Library
from poolscope.callsites.origins import SKIPPED
from poolscope.callsites.owners import (
    current_job,
    known_threads,
    outermost_frame,
    task_of_job,
)
from poolscope.callsites.reach import Search
from poolscope.callsites.runners import identify
from poolscope.callsites.threads import frames_of_threads, outer_frame
from poolscope.callsites.variables import pending_variable, variables_of
from poolscope.callsites.waiters import awaited_frames

MAX_OTHERS: Final = 1000
"""Other tasks, or threads, that are searched; where there are more, one of them may have it."""

MAX_FRAMES: Final = 200
"""Frames of each that are searched, the innermost ones."""

LOOKS_AT_THREADS: Final = 3
"""
How often the threads are searched before nobody has it: they go on meanwhile, and a thread that has
been looked at may take what another one has just given away.
"""

ALWAYS_SEARCHED: Final = 8
"""
Calls at a place that are each looked into, until so many in a row had one answer. Of the later
ones, those are whose number is a power of two; the others are taken to be as the last one was. An
answer that differs begins anew.
"""

MAX_CHANGES: Final = 20
"""
How often a place begins anew. Where connections are handed on now and then, not each call is
searched: those that are not are taken to be handed on, since nothing is proven.
"""

MAX_PLACES: Final = 1000

_HAS_GIL: Final[bool] = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Without it, the variables of a thread that runs cannot be looked at."""

_YOUNG: Final = 0 if sys.version_info >= (3, 14) else 1
"""
The generation of the garbage collector up to which it takes less than about a millisecond. In 3.14
another one is a part of what is old.
"""

_PUTS_UNSEEN: Final = sys.version_info >= (3, 13)
"""
Whether `put` of a `SimpleQueue` gives a thing to a thread that waits for it, where no variable has
it until that thread runs.
"""

_RUNS_JOBS: Final = ("concurrent.futures.thread", "threading", "queue", "anyio._backends._asyncio")
"""Modules of Python and anyio whose frames have the job of a thread, before it begins."""


# Checked with CPython 3.11 to 3.14 and anyio 4.4.0 to 4.16.0.
_RETURNED: Final = {
    "concurrent.futures.thread": ("result",),
    "anyio._backends._asyncio": ("result", "future", "item"),
}
"""
The variables of such a frame, by module, that have what a job has returned, for a moment after
whoever waits for the job has got it.
"""

_BEGUN: Final = frozenset(("result", "func"))
"""One of them is there once the job has begun; before, all is still in others."""


class _Seen(NamedTuple):
    """
    calls: how many had this answer, one after the other.
    changes: how often the answer has differed from the one before.
    """

    calls: int
    handed_on: bool
    changes: int = 0


class Hands:
    """Remembers for one pool where connections are handed on."""

    __slots__ = ("_library", "_seen")

    def __init__(self, library: Library) -> None:
        self._library = library
        self._seen: dict[tuple[int, int], _Seen] = {}

    def handed_on(
        self, keys: frozenset[Hashable], still_held: Callable[[], Collection[Hashable]]
    ) -> Collection[Hashable]:
        """
        Return which of these connections, by their id, the running task or thread has handed on,
        or may have: a search has limits.

        It has taken all of them. A search proves nothing of those that are not `still_held`.
        """
        frames = list(_own_frames())
        if not frames:
            return keys
        place = id(frames[0].f_code), frames[0].f_lasti
        seen = self._seen.get(place)
        calls = seen.calls + 1 if seen is not None else 1
        if seen is not None and calls > ALWAYS_SEARCHED and calls & (calls - 1):
            self._seen[place] = seen._replace(calls=calls)
            return keys if seen.handed_on or seen.changes > MAX_CHANGES else ()
        found = self._find(frames, keys)
        if len(found) < len(keys) and keys.difference(found).isdisjoint(still_held()):
            return found  # whoever had the others has returned them meanwhile
        handed_on, changes = len(found) == len(keys), seen.changes if seen is not None else 0
        if seen is not None and handed_on != seen.handed_on:
            changes += 1
            calls = 1 if changes <= MAX_CHANGES else calls
        if seen is not None or len(self._seen) < MAX_PLACES:
            self._seen[place] = _Seen(calls, handed_on, changes)
        return found

    def _find(self, frames: list[FrameType], keys: AbstractSet[Hashable]) -> AbstractSet[Hashable]:
        own = Search(self._library, keys, levels=1)
        roots: list[Iterable[Any]] = []
        for frame in frames:
            variables = variables_of(frame)
            if variables is not None:
                # What the call is about to replace is not used any more.
                pending = pending_variable(frame)
                variables.pop(pending, None)
                own.ignored.add(pending)
                roots.append(variables.values())
        own.look(itertools.chain(*roots, contextvars.copy_context().values()))
        others = Search(self._library, keys - own.found, levels=2, of_others=True)
        if own.is_cut_short or len(roots) < len(frames) or not others.wanted:
            return others.wanted
        _search_tasks(others)
        # A task may give it to a thread, too; but to look there has kept a pool alive.
        if not others.is_done and asyncio._get_running_loop() is None:
            for _ in range(LOOKS_AT_THREADS):
                if not others.is_done:
                    others.forget_seen()
                    _search_threads(others)
        if len(others.found) < len(others.wanted) and not others.is_cut_short:
            _collect_young()
        return others.wanted if others.is_cut_short else others.found


def _collect_young() -> None:
    """
    Collect what was dropped lately: nobody has the connection, so it may be part of a cycle.

    Python does the same after each few thousand new objects; here it comes sooner. Not where the
    application has disabled the collector, and not without the GIL, where all would be collected.
    """
    if _HAS_GIL and gc.isenabled():
        gc.collect(_YOUNG)


def _own_frames() -> Iterator[FrameType]:
    """
    Yield the frames of the application on the stack, the innermost first; then those of the task
    that waits for the job of this thread, if there is one.
    """
    yield from _frames_on_stack()
    waiting = _waiting_task()
    if waiting is not None:
        awaited = list(awaited_frames(waiting.get_coro()))
        yield from filter(_is_of_application, reversed(awaited[-MAX_FRAMES:]))


def _frames_on_stack() -> Iterator[FrameType]:
    task = asyncio.current_task() if asyncio._get_running_loop() is not None else None
    outermost = outermost_frame(task)
    frame: FrameType | None = sys._getframe(1)
    hops = 0
    for _ in range(MAX_FRAMES):
        if frame is None:
            hops += 1
            frame = parent_greenlets_frame(hops)
            if frame is None:
                return
        if _is_of_application(frame):
            yield frame
        if frame is outermost:
            return
        frame = frame.f_back


def _is_of_application(frame: FrameType) -> bool:
    function = known_function(id(frame.f_code)) or remember_function(frame)
    return function.rank < SKIPPED


def _waiting_task() -> asyncio.Task[Any] | None:
    """Return the task that has given this thread the job that it does, and waits for it."""
    job = current_job.get()
    if asyncio._get_running_loop() is not None or job.runner != identify():
        return None
    return task_of_job(job)


def _search_tasks(search: Search) -> None:
    """Search the other tasks of the event loop that runs in this thread, or waits for its job."""
    loop, waiting = asyncio._get_running_loop(), _waiting_task()
    if loop is not None:
        current = asyncio.current_task()
    elif waiting is not None:
        loop, current = waiting.get_loop(), waiting
    else:
        return
    tasks = asyncio.all_tasks(loop)
    if len(tasks) > MAX_OTHERS:
        search.is_cut_short = True
        return
    coroutines: list[Any] = [task.get_coro() for task in tasks if task is not current]
    search.look(getattr(coroutine, "_coro", coroutine) for coroutine in coroutines)


def _search_threads(search: Search) -> None:
    """Search the other threads: what they have, and what they are about to do."""
    frames, own = frames_of_threads(), threading.get_ident()
    if not _HAS_GIL or len(frames) > MAX_OTHERS:
        search.is_cut_short = True
        return
    # A frame with a variable that leads to itself would keep what all of them refer to alive.
    frames.pop(own, None)
    # Not `threading.enumerate()`, which takes a lock.
    threads = [vars(thread) for thread in list(known_threads.values()) if thread.ident != own]
    roots: list[Iterable[Any]] = [
        [thread.get(name) for thread in threads for name in ("_args", "_kwargs")]
    ]
    is_receiving = False
    for innermost in frames.values():
        variables = list(_variables_of_thread(innermost))
        roots += variables
        is_receiving |= any(SimpleQueue in map(type, values) for values in variables[:1])
    search.look(itertools.chain(*roots))
    search.is_cut_short |= is_receiving and _PUTS_UNSEEN


def _variables_of_thread(innermost: FrameType) -> Iterator[Collection[Any]]:
    """Yield the variables of each frame that may have a connection, the innermost first."""
    frame: FrameType | None = innermost
    for _ in range(MAX_FRAMES):
        if frame is None:
            return
        module = frame.f_globals.get("__name__")
        if module in _RUNS_JOBS or _is_of_application(frame):
            variables = variables_of(frame) or {}
            for name in _RETURNED.get(str(module), ()) if variables.keys() & _BEGUN else ():
                variables.pop(name, None)
            yield list(variables.values())
        frame = outer_frame(frame)

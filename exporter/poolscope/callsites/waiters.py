"""Which tasks and futures wait for a task, and the line at which a task does so."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Iterator
from types import FrameType, FunctionType
from typing import Any, Final

from poolscope.callsites.frames import NOWHERE, Place, innermost_place
from poolscope.callsites.origins import WRAPPER
from poolscope.callsites.threads import frame_of

MAX_WAITERS: Final = 100
"""Tasks and futures that are searched for who waits for them."""

MAX_AWAITS: Final = 200
"""Coroutines of a task that are looked at, the outermost ones."""

# Checked with CPython 3.11 to 3.14:
#   Future._callbacks, pairs of a callback and its context; a task that awaits a future adds its own
#     method, and has the future in `_fut_waiter`; `TaskGroup._on_task_done`, whose group has
#     _parent_task and, once that waits at the end of the block, _on_completed_fut
#   `gather`, `shield` and `wait` add closures that refer to the future which is awaited, and
#     `wait_for` of 3.11 a `partial` with it
# With anyio 4.0 to 4.16: the callback of a group's tasks is a closure that refers to the group;
#   TaskGroup.cancel_scope, CancelScope._host_task

_OF_A_GROUP: Final = ("_parent_task", "_host_task", "_on_completed_fut")


def waiting_for(task: asyncio.Future[Any]) -> dict[int, Any]:
    """
    Return the task and what waits for it, directly or not: tasks and futures, by their id, the
    nearest first. One that has begun a group of tasks waits for these at the latest at its end.
    """
    waiting: dict[int, Any] = {id(task): task}
    unseen: deque[Any] = deque([task])
    while unseen and len(waiting) < MAX_WAITERS:
        # Futures of other libraries may have none, or others.
        for pair in attribute(unseen.popleft(), "_callbacks") or ():
            for waiter in _waiters_of(pair[0]) if type(pair) is tuple else ():
                if id(waiter) not in waiting:
                    waiting[id(waiter)] = waiter
                    unseen.append(waiter)
    return waiting


def place_that_waits(task: asyncio.Future[Any]) -> Place:
    """Return the application's place, in another task, that awaits this one; see `waiting_for`."""
    waiting = waiting_for(task)
    for waiter in waiting.values():
        if waiter is not task and id(attribute(waiter, "_fut_waiter")) in waiting:
            place = place_in(waiter)
            if is_applications(place):
                return place
    return NOWHERE


def place_in(task: Any) -> Place:
    """Return the innermost place of the application in what a task awaits."""
    return innermost_place(reversed(list(awaited_frames(task.get_coro()))))


def is_applications(place: Place) -> bool:
    """Whether it is in the application, and not only in a library that passes requests on."""
    function = place[0]
    return function is not None and function.rank < WRAPPER


def awaited_frames(coroutine: Any) -> Iterator[FrameType]:
    """Yield the frames of a coroutine and of what it awaits, the outermost first."""
    for _ in range(MAX_AWAITS):
        coroutine = getattr(coroutine, "_coro", coroutine)  # aiohttp's `session.get()`
        for prefix in ("cr", "gi", "ag"):
            frame = frame_of(coroutine, f"{prefix}_frame")
            if frame is not None:
                yield frame
                awaited = "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await"
                coroutine = getattr(coroutine, awaited, None)
                break
        else:
            return


def _waiters_of(callback: Any) -> Iterator[Any]:
    """Yield the tasks and futures that go on when a future calls this."""
    for referent in (attribute(callback, "__self__"), *given(callback)):
        if is_future(referent):
            yield referent
            continue
        for group in (referent, attribute(referent, "cancel_scope")):
            for name in _OF_A_GROUP:
                if is_future(waiter := attribute(group, name)):
                    yield waiter


def given(callback: Any) -> Iterator[Any]:
    """Yield what a callback was given when it was made: its arguments or its variables."""
    if type(callback) is functools.partial:
        yield from callback.args
    elif type(callback) is FunctionType:
        for cell in callback.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # it has not been set
                continue


# Neither of these may call a method of the application, as a proxy object's `__getattr__` or
# `__class__` is.


def is_future(value: object) -> bool:
    return hasattr(type(value), "_asyncio_future_blocking")


def attribute(value: object, name: str) -> Any:
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return None

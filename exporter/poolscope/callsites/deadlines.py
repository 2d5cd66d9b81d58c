"""
Whether a deadline stands around the code that runs, so that it does not wait for ever.

A deadline is a timer of the event loop that ends the current task, or a task that waits for it:
`asyncio.timeout`, `wait_for`, async_timeout, the scopes of anyio, or `call_later(5, task.cancel)`.
So the timers are searched, of which there are few, and never the heap. Nothing is hooked or kept.

Where this cannot tell, it says that there may be a deadline.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import math
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any, Final

from poolscope.callsites.owners import outermost_frame
from poolscope.errors import harmless_once

MAX_TIMERS: Final = 500
"""Timers that are searched; a loop with more of them may have any deadline."""

MAX_WAITERS: Final = 100
"""Tasks and futures that are searched for who waits for them."""

# Checked with CPython 3.11 to 3.14:
#   BaseEventLoop._scheduled, ._ready; Handle._cancelled, whose attributes are in slots
#   Future._callbacks, pairs of a callback and its context; a task that awaits a future adds its own
#     method; `TaskGroup._on_task_done`, whose group has _parent_task
#   `gather`, `shield` and `wait` add closures that refer to the future which is awaited, and
#     `wait_for` of 3.11 a `partial` with it; the timer that ends its wait has it, too
# With uvloop 0.17 to 0.23: its Loop refers to a set of TimerHandle and to a deque of Handle, and
#   these to their callback and its arguments
# With async_timeout 3.0 to 5.0, which gives its callback the task, or has it in an attribute
# With anyio 4.0 to 4.16: the callback of a group's tasks is a closure that refers to the group;
#   TaskGroup.cancel_scope, CancelScope._host_task


_COROUTINE: Final = 0x80
"""`inspect.CO_COROUTINE`"""

_IN_C: Final = ("uvloop", "winloop")
"""Modules with event loops that have no attributes for their timers, but refer to them."""

_HANDLES: Final = ("TimerHandle", "Handle")


@harmless_once
def unless_deadline(found: Callable[[], object]) -> None:
    """
    Call `found` if it is certain that no deadline ends what the current task of asyncio does.

    At once, but for a task that has just begun in the middle of another one, as eager tasks do:
    soon, once the other one waits for it.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None or _is_in_scope():
        return
    if _has_begun_in_another(task):
        loop.call_soon(_later, weakref.ref(task), found)
    elif _waits_for_ever(loop, task):
        found()


@harmless_once
def _later(reference: weakref.ref[asyncio.Task[Any]], found: Callable[[], object]) -> None:
    task = reference()
    if task is not None and not task.done() and _waits_for_ever(task.get_loop(), task):
        found()


def _has_begun_in_another(task: asyncio.Task[Any]) -> bool:
    frame = outermost_frame(task)
    while frame is not None and (frame := frame.f_back) is not None:
        if frame.f_code.co_flags & _COROUTINE:
            return True
    return False


def _waits_for_ever(loop: Any, task: asyncio.Task[Any]) -> bool:
    handles = _handles(loop)
    if handles is None or len(handles) > MAX_TIMERS:
        return False
    return not _is_ended(_waiting_for(task), handles)


def _is_in_scope() -> bool:
    """Whether a scope of anyio limits the current task, or has been cancelled."""
    anyio = sys.modules.get("anyio")
    effective_deadline = getattr(anyio, "current_effective_deadline", None)
    return effective_deadline is not None and effective_deadline() != math.inf


def _handles(loop: Any) -> list[Any] | None:
    """Return the timers of a loop, and what it is about to call; None if they are not known."""
    if isinstance(loop, asyncio.BaseEventLoop):
        names: Any = vars(loop)
        return [*names["_scheduled"], *names["_ready"]]
    if not any(kind.__module__.startswith(_IN_C) for kind in type(loop).__mro__):
        return None
    # Its other sets have handles of the transports.
    found = [one for one in gc.get_referents(loop) if isinstance(one, (set, deque))]
    return [one for each in found for one in each if type(one).__name__ in _HANDLES]


# Who waits


def _waiting_for(task: asyncio.Task[Any]) -> dict[int, Any]:
    """Return the task and what waits for it, directly or not: tasks and futures, by their id."""
    waiting: dict[int, Any] = {id(task): task}
    unseen: deque[Any] = deque([task])
    while unseen and len(waiting) < MAX_WAITERS:
        for callback, _ in unseen.popleft()._callbacks or ():
            for waiter in _waiters_of(callback):
                if id(waiter) not in waiting:
                    waiting[id(waiter)] = waiter
                    unseen.append(waiter)
    return waiting


def _waiters_of(callback: Any) -> Iterator[Any]:
    """Yield the tasks and futures that go on when a future calls this."""
    for referent in (_attribute(callback, "__self__"), *_given(callback)):
        if _is_future(referent):
            yield referent
            continue
        for group in (referent, _attribute(referent, "cancel_scope")):
            for name in ("_parent_task", "_host_task"):
                if _is_future(task := _attribute(group, name)):
                    yield task


def _given(callback: Any) -> Iterator[Any]:
    """Yield what a callback was given when it was made: its arguments or its variables."""
    if type(callback) is functools.partial:
        yield from callback.args
    elif type(callback) is FunctionType:
        for cell in callback.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # it has not been set
                continue


# What ends


def _is_ended(waiting: dict[int, Any], handles: list[Any]) -> bool:
    """Whether a timer ends one of the tasks, or the wait of one."""
    managers: dict[type, bool] = {}
    for handle in handles:
        # A cancelled one has neither callback nor arguments.
        referents = gc.get_referents(handle)
        for callback in referents:
            kind = type(callback)
            if kind is MethodType or kind is BuiltinMethodType:
                owner = callback.__self__
                if id(owner) in waiting:
                    # The method of a task that makes it go on is none that ends it.
                    if callback.__name__ == "cancel":
                        return True
                    continue
                # Timers of other objects, such as a protocol's, may refer to a task and let it be:
                # deadlines are context managers.
                is_manager = managers.get(type(owner))
                if is_manager is None:
                    is_manager = managers[type(owner)] = _is_context_manager(type(owner))
                if is_manager and _refers([owner, *_arguments(referents)], waiting):
                    return True
            elif (kind is FunctionType or kind is functools.partial) and _is_given_one(
                callback, referents, waiting
            ):
                return True
    return False


def _refers(objects: list[Any], waiting: dict[int, Any]) -> bool:
    values = gc.get_referents(*objects)
    for attributes in [value for value in values if type(value) is dict]:
        values += attributes.copy().values()
    return not waiting.keys().isdisjoint(map(id, values))


def _arguments(referents: list[Any]) -> list[Any]:
    """Return the tuples of them: the arguments of a handle."""
    return [one for one in referents if type(one) is tuple]


def _is_given_one(callback: Any, referents: list[Any], waiting: dict[int, Any]) -> bool:
    """Whether a function is given a future that it ends, or a task that it cancels."""
    given = [*_given(callback), *itertools.chain(*_arguments(referents))]
    found = [value for value in given if id(value) in waiting]
    if not found:
        return False
    function = callback.func if type(callback) is functools.partial else callback
    # A future that is awaited is ended by its result; a task, by `cancel` only.
    return any(not issubclass(type(value), asyncio.Task) for value in found) or (
        type(function) is FunctionType and "cancel" in function.__code__.co_names
    )


# Nothing here may call a method of the application, as a proxy object's `__getattr__` or
# `__class__` is.


def _is_context_manager(kind: type) -> bool:
    return hasattr(kind, "__aexit__") or hasattr(kind, "__exit__")


def _is_future(value: object) -> bool:
    return hasattr(type(value), "_asyncio_future_blocking")


def _attribute(value: object, name: str) -> Any:
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return None

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
from collections.abc import Callable
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any, Final

from poolscope.callsites.owners import outermost_frame
from poolscope.callsites.waiters import given, waiting_for
from poolscope.errors import harmless_once

MAX_TIMERS: Final = 500
"""Timers that are searched; a loop with more of them may have any deadline."""

# Checked with CPython 3.11 to 3.14:
#   BaseEventLoop._scheduled, ._ready; Handle._cancelled, whose attributes are in slots
#   `wait_for` of 3.11: the timer that ends its wait has the future that is awaited
# With uvloop 0.17 to 0.23: its Loop refers to a set of TimerHandle and to a deque of Handle, and
#   these to their callback and its arguments
# With async_timeout 3.0 to 5.0, which gives its callback the task, or has it in an attribute


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
    return not _is_ended(waiting_for(task), handles)


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
    values = [*given(callback), *itertools.chain(*_arguments(referents))]
    found = [value for value in values if id(value) in waiting]
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

"""What the machine of aiohttp expects: how attempts end, and which errors the loop reports."""

from __future__ import annotations

import asyncio
from typing import Any


def end_of(error: BaseException) -> str:
    """Return the name of the counter of attempts that end with the error."""
    if isinstance(error, TimeoutError):
        return "timed_out"
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"


def is_expected(problem: str) -> bool:
    """
    Whether the machine expects this error of the event loop.

    Connections are left unclosed on purpose. Since Python 3.14 the loop also reports a look-up
    that fails after its caller was cancelled, because aiohttp shields the look-up. An exception
    that lands in a finalizer may come out where the server begins to read, in the same thread.
    """
    unasked = "exception in shielded future" in problem and "_resolve_host" in problem
    deaf = problem.startswith("Exception in callback _SelectorTransport._add_reader")
    return unasked or deaf or "Unclosed" in problem


def looks_up(task: asyncio.Task[Any]) -> bool:
    """Whether the task resolves a name for aiohttp."""
    coroutine: Any = task.get_coro()
    return "_resolve_host" in coroutine.__qualname__

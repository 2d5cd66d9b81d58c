"""Who is asking: a task or a thread. Adapters need it; it imports asyncio, which they do anyway."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from poolscope.holders import Who
from poolscope.sites import Site


def who_asks(here: Callable[[FrameType | None], Site | None]) -> Who:
    """Return the site, which `here` finds, and the name of the task or the thread."""
    task = asyncio.current_task() if asyncio._get_running_loop() is not None else None
    if task is None:
        return Who(here(None), threading.current_thread().name)
    coroutine: Any = task.get_coro()
    # What `session.get()` of aiohttp returns is a coroutine around one (3.9.0 to 3.14.5).
    coroutine = getattr(coroutine, "_coro", coroutine)
    return Who(here(getattr(coroutine, "cr_frame", None)), task.get_name())

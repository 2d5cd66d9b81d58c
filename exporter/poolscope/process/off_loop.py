"""Work on files for a thread that runs an event loop, and so must do none itself."""

from __future__ import annotations

import _thread
import queue
import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def off_loop(work: Callable[[], T]) -> T:
    """
    Return what `work` returns, or raise what it raises.

    If this thread runs an event loop, a thread of its own does the work, and this one waits for it:
    a few calls on a local file take microseconds, but tools that look for blocking calls, such as
    blockbuster, would make each of them fail.

    The thread is unknown to `threading`, so that the application never sees it. In return the work
    must log nothing: a log record asks for the current thread, and would make it known for ever.
    """
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:
        return work()
    # Both are looked up at each call: they belong together where gevent has replaced them.
    done: Any = queue.SimpleQueue()
    try:
        _thread.start_new_thread(_do, (work, done))
    except RuntimeError:  # the system, or an interpreter that is ending, allows no further thread
        return work()
    result, error = done.get()
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]  # it went through the queue


def _do(work: Callable[[], object], done: Any) -> None:
    try:
        done.put((work(), None))
    except BaseException as error:
        done.put((None, error))

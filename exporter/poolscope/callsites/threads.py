"""
The stacks of other threads, read so that these cannot change meanwhile.

In CPython 3.11 the garbage collector may run wherever an object is allocated, and what it finalizes
may let another thread run. So a thread may return from a frame whose address CPython is about to
use, or take a lock that it already has: the process crashes, or stops for good. From 3.12 on, the
collector runs only between two instructions.
"""

from __future__ import annotations

import gc
import operator
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final

_COLLECTS_ANYWHERE: Final = sys.version_info < (3, 12)


def undisturbed(*reads: Callable[[], Any]) -> list[Any]:
    """
    Call functions of C one after the other, and return what they return.

    No other thread runs from the beginning of the first to the end of the last one, and no garbage
    is collected, unless one of them finalizes an object.
    """
    calls: Any = map(operator.call, reads)
    if not _COLLECTS_ANYWHERE:
        return list(calls)
    # Threads take turns after calls and at jumps backwards, but not between the calls of a `map`,
    # nor in what follows these two lines.
    are_collected: Any = map(operator.call, (gc.isenabled,))
    uncollected: Any = map(operator.call, (gc.disable, *reads, gc.enable))
    found: list[Any]
    (is_collected,) = are_collected
    if not is_collected:
        return list(calls)
    try:
        _, *found, _ = uncollected
    except BaseException:
        gc.enable()
        raise
    return found


def frames_of_threads() -> dict[int, FrameType]:
    """Return the innermost frame of each thread, by the thread's identifier."""
    frames: dict[int, FrameType]
    (frames,) = undisturbed(sys._current_frames)
    return frames


def outer_frame(frame: FrameType) -> FrameType | None:
    """Return the frame that has called this one, which may be of another thread that runs on."""
    return frame_of(frame, "f_back")


def frame_of(value: object, name: str) -> FrameType | None:
    """Return the frame in an attribute, of a coroutine or a frame that another thread may run."""
    frame: FrameType | None
    if not _COLLECTS_ANYWHERE:
        return getattr(value, name, None)
    (frame,) = undisturbed(partial(getattr, value, name, None))
    return frame

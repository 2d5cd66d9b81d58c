"""Exceptions that land anywhere in poolscope, as those of signal handlers do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import poolscope

PACKAGE: Final = str(Path(poolscope.__file__).parent)


class InterruptionError(Exception):
    """Such as the soft time limit of a task queue."""


class Interruption(BaseException):
    """Such as a KeyboardInterrupt."""


@contextmanager
def landing(step: int, error: type[BaseException]) -> Iterator[list[str]]:
    """
    Raise the error before bytecode number `step` that poolscope executes in this thread.

    Yields the line at which it has landed, once it has. What lets it pass raises it here.
    """
    steps = 0
    landed: list[str] = []

    def trace_opcodes(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        if event == "opcode" and not landed:
            steps += 1
            if steps >= step:
                landed.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
                raise error
        return trace_opcodes

    def trace_calls(frame: FrameType, _: str, __: object) -> Any:
        if landed or not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return trace_opcodes

    before = sys.gettrace()
    sys.settrace(trace_calls)
    try:
        yield landed
    except error:
        if not landed:
            raise
    finally:
        sys.settrace(before)

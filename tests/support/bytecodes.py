"""Does something at a bytecode of poolscope, where Python lets signal handlers and threads in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import poolscope

OURS: Final = str(Path(poolscope.__file__).parent)
CLOCK: Final = str(Path(OURS) / "testing.py")
"""The clock of tests, which is not in C code as that of applications is."""

STEP: Final = int(os.environ.get("BYTECODE_STEP", "7"))
"""Which bytecodes are tried: each, or for less time every so many. `make every-bytecode` sets 1."""


class Interruption(Exception):  # noqa: N818  # it stands for the time limits of task queues
    """An exception as a signal handler of the application raises it."""


class HardInterruption(BaseException):
    """An exception that `except Exception` does not catch, of `PyThreadState_SetAsyncExc`."""


class AtBytecode:
    """
    A trace function that calls `action` once, before the bytecode `number` of poolscope.

    where: the file, line and function of that bytecode; "" if there were not as many.
    """

    def __init__(self, number: int, action: Callable[[], object]) -> None:
        self._left = number
        self._action = action
        self.where = ""
        # Python 3.12 traces bytecodes only if a frame asks for them before `settrace`.
        sys._getframe().f_trace_opcodes = True

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        file = frame.f_code.co_filename
        if OURS not in file or file == CLOCK or self.where:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._count

    def _count(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode" and not self.where:
            self._left -= 1
            if not self._left:
                code = frame.f_code
                self.where = f"{Path(code.co_filename).name}:{frame.f_lineno} in {code.co_qualname}"
                self._action()
        return self._count


@contextmanager
def at_bytecode(number: int, action: Callable[[], object]) -> Iterator[AtBytecode]:
    """Call `action` before the bytecode `number` of the block."""
    tracer, before = AtBytecode(number, action), sys.gettrace()
    sys.settrace(tracer)
    try:
        yield tracer
    finally:
        sys.settrace(before)


def interruption(number: int) -> Callable[[], object]:
    """Return an action that raises, of one type for even numbers and of another for odd ones."""

    def interrupt() -> None:
        raise (Interruption, HardInterruption)[number % 2]

    return interrupt

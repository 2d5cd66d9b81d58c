"""Does something at a bytecode of poolscope, where Python lets signal handlers and threads in."""

from __future__ import annotations

import dis
import gc
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import poolscope
from support.waiting import PATIENCE

OURS: Final = str(Path(poolscope.__file__).parent)
CLOCK: Final = str(Path(OURS) / "testing.py")
"""The clock of tests, which is not in C code as that of applications is."""

STEP: Final = int(os.environ.get("BYTECODE_STEP", "7"))
"""Which bytecodes are tried: each, or for less time every so many. `make every-bytecode` sets 1."""

LETS_IN: Final = ("CALL", "JUMP_BACKWARD", "RESUME", "YIELD_VALUE")
"""
How the names of the bytecodes begin at whose end Python lets signal handlers and threads in: of
YIELD_VALUE, when the coroutine goes on.
"""


class Interruption(Exception):  # noqa: N818  # it stands for the time limits of task queues
    """An exception as a signal handler of the application raises it."""


class HardInterruption(BaseException):
    """An exception that `except Exception` does not catch, of `PyThreadState_SetAsyncExc`."""


COUNTS_LATER: Final = sys.version_info >= (3, 12)
"""Whether the bytecodes of a function may be traced only when it is called again."""

_in_vain: Final = [0]
"""How many tracers, one after the other, have not come to their bytecode."""


class AtBytecode:
    """
    A trace function that calls `action` once, before the bytecode `number` of poolscope.

    let_in: count only the bytecodes before which Python itself lets others in: after a call or a
        jump back, and where a function begins or goes on.
    where: the file, line and function of that bytecode; "" if there were not as many.
    stack: the names of the functions that were running, the innermost first.
    """

    def __init__(self, number: int, action: Callable[[], object], let_in: bool) -> None:
        self._left = number
        self._let_in = let_in
        self._action = action
        self._before: dict[FrameType, str] = {}
        self.where = ""
        self._is_first = self._goes_on = False
        self.stack: list[str] = []
        # Python 3.12 traces bytecodes only if a frame asks for them before `settrace`.
        sys._getframe().f_trace_opcodes = True

    @property
    def is_beyond_the_last(self) -> bool:
        """Whether there were fewer bytecodes, and for the tracer before this one, too."""
        return not self.where and (not COUNTS_LATER or _in_vain[0] > 1)

    def begins(self, function: str) -> bool:
        """Whether it was the first bytecode of a function of that name."""
        return self._is_first and self.stack[0] == function

    def goes_on(self, coroutine: str) -> bool:
        """Whether it was where a coroutine of that name goes on, after it has waited."""
        return self._goes_on and self.stack[0] == coroutine

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        file = frame.f_code.co_filename
        if OURS not in file or file == CLOCK:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._count if not self.where else None

    def _count(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "return" and not frame.f_code.co_flags & inspect.CO_COROUTINE:
            self._before.pop(frame, None)  # a coroutine may go on
        if event == "exception" and not self.where:
            self._before[frame] = "an exception"
        if event != "opcode" or self.where:
            return self._count
        code, before = frame.f_code, self._before.get(frame, "RESUME")
        if frame.f_lineno is None:
            # What the compiler adds to generators, which an exception passes through, such as that
            # of a generator that is closed.
            before = "an exception"
        if not self._let_in or (before.startswith(LETS_IN) and "NO_INTERRUPT" not in before):
            self._left -= 1
        if self._left:
            self._before[frame] = dis.opname[code.co_code[frame.f_lasti]]
            return self._count
        self.where = f"{Path(code.co_filename).name}:{frame.f_lineno} in {code.co_qualname}"
        # RESUME says by its argument whether it begins a function: 0, or goes on after waiting.
        argument_of_resume = code.co_code[frame.f_lasti - 1] & 3 if before == "RESUME" else None
        self._is_first = argument_of_resume == 0
        self._goes_on = before == "YIELD_VALUE" or bool(argument_of_resume)
        self.stack = [_name_of(each) for each in _outwards(frame)]
        # It would keep what the frames refer to.
        self._before.clear()
        self._action()
        return self._count


def _name_of(frame: FrameType) -> str:
    """Return the name of the function; that of the hook for what `harmless` makes of one."""
    name = frame.f_code.co_name
    return frame.f_locals["hook"].__name__ if name == "guarded" else name


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


@contextmanager
def at_bytecode(
    number: int, action: Callable[[], object], let_in: bool = False
) -> Iterator[AtBytecode]:
    """
    Call `action` before the bytecode `number` of the block; see `AtBytecode`.

    Meanwhile nothing collects garbage: it may be what an earlier test has left.
    """
    tracer, before = AtBytecode(number, action, let_in), sys.gettrace()
    collects = gc.isenabled()
    gc.disable()
    sys.settrace(tracer)
    try:
        yield tracer
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
        # Those who go through all bytecodes begin with the first one.
        _in_vain[0] = 0 if tracer.where else 1 if number == 1 else _in_vain[0] + 1


def interruption(number: int) -> Callable[[], object]:
    """Return an action that raises, of one type for even numbers and of another for odd ones."""

    def interrupt() -> None:
        raise (Interruption, HardInterruption)[number % 2]

    return interrupt


def in_a_thread(act: Callable[[], object]) -> Callable[[], None]:
    """Return an action that does the same in another thread, while this one does not run."""

    def run() -> None:
        errors: list[BaseException] = []

        def do() -> None:
            try:
                act()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=do, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the other thread waits for this one"
        for error in errors:
            raise error

    return run


def is_free(lock: Any) -> bool:
    """Whether no other thread holds a lock."""
    free: bool = lock.acquire(blocking=False)
    if free:
        lock.release()
    return free

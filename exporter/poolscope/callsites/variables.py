"""The variables of a frame that runs, read so that nothing of it is changed or kept alive."""

from __future__ import annotations

import itertools
import sys
from collections import deque
from functools import partial
from opcode import opmap
from types import CodeType, FrameType
from typing import Any, Final

from poolscope.callsites.threads import undisturbed

_FUNCTION: Final = 0x1
"""`inspect.CO_OPTIMIZED`: the frame has its variables for itself; those of a module are global."""

_KEEPS_VARIABLES: Final = sys.version_info < (3, 13)
"""
Whether `f_locals` makes a dictionary that stays with the frame, and keeps what its variables had.
"""

_REFERENCES: Final = 4
"""To such a dictionary if nobody else has it: of its frame, a list, `compress`, and a call."""


def variables_of(frame: FrameType) -> dict[str, Any] | None:
    """
    Return the variables of a frame, which may be that of another thread; None if a debugger may be
    looking at it, which puts the dictionary's values back into it.
    """
    if not (_KEEPS_VARIABLES and frame.f_code.co_flags & _FUNCTION):
        return dict(frame.f_locals)
    if frame.f_trace is not None or sys.gettrace() is not None:
        return None
    kept: list[Any] = []
    variables: list[dict[str, Any]] = []
    # The application has the dictionary, too, if it has called `locals()`.
    is_ours = map(_REFERENCES.__ge__, map(sys.getrefcount, kept))
    undisturbed(
        partial(kept.extend, map(getattr, (frame,), ("f_locals",))),
        partial(variables.extend, map(dict, kept)),
        partial(deque, map(dict.clear, itertools.compress(kept, is_ours)), 0),
    )
    return variables[0]


def variable_of(frame: FrameType, name: str) -> Any:
    """Return one of the variables of a frame; None if it is not set."""
    variables = variables_of(frame)
    return (frame.f_locals if variables is None else variables).get(name)


# Checked with CPython 3.11 to 3.14: what follows a call, or an `await`, whose result is stored.
_BETWEEN: Final = frozenset(
    opmap[name]
    for name in (
        *("CACHE", "NOP", "EXTENDED_ARG", "SEND", "YIELD_VALUE", "RESUME", "END_SEND"),
        *("JUMP_BACKWARD_NO_INTERRUPT", "NOT_TAKEN"),
    )
    if name in opmap
)
_STORE_FAST: Final = opmap["STORE_FAST"]
_STORE_DEREF: Final = opmap["STORE_DEREF"]
_STORE_TWO: Final = (opmap.get("STORE_FAST_LOAD_FAST"), opmap.get("STORE_FAST_STORE_FAST"))
_STORE_NAME: Final = (opmap["STORE_NAME"], opmap["STORE_GLOBAL"])


def pending_variable(frame: FrameType) -> str:
    """
    Return the variable that the result of the frame's running call, or `await`, is stored in: its
    value is not used any more. It is "" if there is none.
    """
    code = frame.f_code
    instructions, at = code.co_code, frame.f_lasti + 2
    while 0 < at < len(instructions) - 1 and instructions[at] in _BETWEEN:
        at += 2
    if not 0 < at < len(instructions) - 1:
        return ""
    operation, argument = instructions[at], instructions[at + 1]
    if operation in _STORE_TWO:
        operation, argument = _STORE_FAST, argument >> 4
    if operation in (_STORE_FAST, _STORE_DEREF):
        return _name(_variables(code), argument)
    return _name(code.co_names, argument) if operation in _STORE_NAME else ""


def _variables(code: CodeType) -> tuple[str, ...]:
    cells = tuple(name for name in code.co_cellvars if name not in code.co_varnames)
    return code.co_varnames + cells + code.co_freevars


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else ""

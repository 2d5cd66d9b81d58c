"""
Finds the line of the application that asks for a connection, its call site.

That is the innermost frame that belongs to the application (see `origins`): not to Python, not to
an installed package, and not to poolscope. If there is none, the application is itself an installed
package that nothing names: then it is the innermost frame of the packages that come next in rank.

A generator that contextlib runs, such as `@contextmanager def connection()`, asks for whoever
enters it: it is passed over if a frame of the application lies outside of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

from poolscope.callsites import origins
from poolscope.callsites.origins import SKIPPED, rank_of
from poolscope.callsites.paths import file_of, separator, shown_path
from poolscope.callsites.program import MAIN
from poolscope.label_values import MAX_CHARACTERS, label_value, printable

APPLICATION: Final = origins.APPLICATION


SHOWN_SITES: Final = 50
"""Functions of a pool that have a label of their own: the first ones that ask."""

MAX_KNOWN_FUNCTIONS: Final = 10_000
"""Size of a cache, which is cleared when full: code that is generated at run time has no end."""

_CONTEXTLIBS: Final = ("contextlib", "contextlib2", "asyncstdlib.contextlib")
"""Modules with `@contextmanager` or `@asynccontextmanager`."""

# Flags of `inspect`, which is slow to import: `CO_GENERATOR`, `CO_COROUTINE`, `CO_ASYNC_GENERATOR`.
_COROUTINE: Final = 0x80
_GENERATOR: Final = 0x20 | 0x200


class Function:
    """
    A function on the stack: what it is called, and whether it is the application's.

    code: its code object, kept so that no other one gets the same `id`.
    rank: whose it is; see `origins`.
    path: the path of its file, relative to where its package is imported from.
    label: `module:function`, which stays the same when lines move.
    is_application: whether it belongs to the application.
    is_generator: whether it is a generator, asynchronous or not.
    has_exact_frames: whether its frames know which bytecode they execute; those of a compiler,
        such as Nuitka, know only the line.
    is_site: whether it is a call site wherever it is the innermost function of the application.
    is_task_site: likewise in a task.
    """

    __slots__ = (
        "code",
        "has_exact_frames",
        "is_application",
        "is_generator",
        "is_site",
        "is_task_site",
        "label",
        "name",
        "path",
        "rank",
    )

    def __init__(
        self,
        code: CodeType | None,
        rank: int,
        path: str,
        name: str,
        label: str,
        flags: int = 0,
        has_exact_frames: bool = True,
    ) -> None:
        """`flags` are those of the code."""
        self.code: Final = code
        self.rank: Final = rank
        self.path: Final = path
        self.name: Final = name
        self.label: Final = label
        self.is_application: Final = rank == APPLICATION
        self.is_generator: Final = bool(flags & _GENERATOR)
        self.has_exact_frames: Final = has_exact_frames
        self.is_site: Final = self.is_application and has_exact_frames and not self.is_generator
        # A function that is not async may have called the event loop, beyond the task.
        self.is_task_site: Final = self.is_site and bool(flags & _COROUTINE)

    def line(self, at: int) -> int:
        """Return the line of the bytecode at that offset; without exact frames, the offset."""
        if self.code is None or not self.has_exact_frames:
            return at
        return _line(self.code, at) or self.code.co_firstlineno

    def place(self, frame: FrameType) -> Place:
        return self, frame.f_lasti if self.has_exact_frames else frame.f_lineno


class Site(NamedTuple):
    """A line in a function of the application."""

    function: Function
    line: int

    def __str__(self) -> str:
        path = self.function.path
        return f"{path}{separator(path)}{self.line} in {self.function.name}"


_NO_FUNCTION: Final = Function(None, SKIPPED, "", "", "")

_functions: dict[int, Function] = {}
"""By the `id` of their code: Python takes equal code of two files for the same."""

known_function: Final = _functions.get
"""Returns the function whose code has that `id`, or None if it was not seen before."""


Place = tuple[Function | None, int]
"""
A function, if it is known, and the offset of the bytecode that it executes; of one without exact
frames, the line.
"""

NOWHERE: Final[Place] = (None, 0)


def site_of(place: Place) -> Site | None:
    """Return the line of a place, or None if it is not known."""
    function, at = place
    return Site(function, function.line(at)) if function is not None else None


def here() -> Site | None:
    """Return the call site of this call, or None if only libraries are on the stack."""
    return site_of(find_place(sys._getframe(1)))


def find_place(frame: FrameType | None, outermost: FrameType | None = None) -> Place:
    """
    Return the innermost place of the application, from a frame outwards.

    Frames beyond `outermost`, a task's, only run the event loop.
    """
    found, rank, is_helper = NOWHERE, SKIPPED, False
    hops = 0
    while frame is not None:
        function = known_function(id(frame.f_code)) or remember_function(frame)
        if function.rank < rank or (is_helper and function.rank == rank):
            found, rank = function.place(frame), function.rank
            # Of helpers alone the outermost one is found.
            is_helper = function.is_generator and _is_run_by_contextlib(frame)
            if rank == APPLICATION and not is_helper:
                break
        if frame is outermost:
            break
        outer = frame.f_back
        if outer is None:
            hops += 1
            outer = parent_greenlets_frame(hops)
        frame = outer
    return found


def innermost_place(frames: Iterable[FrameType]) -> Place:
    """Return the innermost place of the application; `frames` are those of no running code."""
    found, rank = NOWHERE, SKIPPED
    for frame in frames:
        function = known_function(id(frame.f_code)) or remember_function(frame)
        if function.rank < rank:
            found, rank = function.place(frame), function.rank
    return found


def _is_run_by_contextlib(generator: FrameType) -> bool:
    caller = generator.f_back
    return caller is not None and caller.f_globals.get("__name__") in _CONTEXTLIBS


def find_awaiting_function() -> tuple[Function, Any]:
    """
    Return the application's innermost function that awaits this greenlet, and its frame.

    If there is none, return a function that is no site, and None.
    """
    frame = parent_greenlets_frame(1)
    while frame is not None:
        function = known_function(id(frame.f_code)) or remember_function(frame)
        if function.is_application:
            return function, frame
        frame = frame.f_back
    return _NO_FUNCTION, None


def parent_greenlets_frame(hops: int) -> FrameType | None:
    """
    Return the frame in which the parent greenlet waits for this one, `hops` parents up.

    An async engine of SQLAlchemy runs in a greenlet of its own, so the code that awaits it is not
    on the same stack.
    """
    greenlet: Any = sys.modules.get("greenlet")
    current = greenlet.getcurrent() if greenlet is not None else None
    for _ in range(hops):
        current = current.parent if current is not None else None
    frame: FrameType | None = current.gr_frame if current is not None else None
    return frame


def remember_function(frame: FrameType) -> Function:
    """Return the function of a frame, and keep it for `known_function`."""
    code, names = frame.f_code, frame.f_globals
    module, is_script = _module_of(names, code.co_filename)
    at_line = _line(code, frame.f_lasti)
    function = Function(
        code=code,
        rank=rank_of(module, file_of(names, code.co_filename, module), is_script),
        path=_short(shown_path(code.co_filename, module)),
        name=_short(code.co_qualname),
        label=label_value(f"{module}:{code.co_qualname}"),
        flags=code.co_flags,
        # Nuitka leaves `__compiled__` in each of its modules.
        has_exact_frames="__compiled__" not in names and at_line in (frame.f_lineno, None),
    )
    if len(_functions) >= MAX_KNOWN_FUNCTIONS:
        _functions.clear()
    _functions[id(code)] = function
    return function


def _line(code: CodeType, at: int) -> int | None:
    """Return the line of the bytecode at that offset, or None if it has none."""
    return next((line for start, end, line in code.co_lines() if start <= at < end), None)


def _short(text: str) -> str:
    """Return the text in one line, or, if it is longer than a label may be, the end of it."""
    shown = printable(text[-MAX_CHARACTERS:])
    if len(text) <= MAX_CHARACTERS >= len(shown):
        return shown
    return f"...{shown[3 - MAX_CHARACTERS :]}"


def _module_of(names: dict[str, Any], code_file: str) -> tuple[str, bool]:
    """
    Return the name of the module with these globals, and whether it is a script.

    That is the main program if it is run by its file; it is named as if it were imported.
    """
    name = str(names.get("__name__", "?"))
    if name not in MAIN:
        return name, False
    spec = names.get("__spec__")
    if spec is not None:
        return str(spec.name), spec.name in MAIN
    file = names.get("__file__")
    if file is None and PurePath(code_file).name == PurePath(_started_by()).name:
        # CPython deletes `__file__` after the last line of a script; its threads go on.
        file = code_file
    return PurePath(str(file or name)).stem, True


def _started_by() -> str:
    """Return the file that the interpreter was started with, "" if it is not known."""
    return str(next(iter(getattr(sys, "argv", None) or ()), ""))

"""
Finds the line of the application that asks for a connection, its call site.

That is the innermost frame that belongs to the application: not to the standard library, not to an
installed package, and not to poolscope. If there is none, the application is itself an installed
package: then it is the innermost frame of an installed package that is not a pool's library.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePath
from types import CodeType, FrameType
from typing import Any, Final, NamedTuple

OTHER_SITES: Final = "other"

SHOWN_SITES: Final = 50
"""Functions of a pool that have a label of their own: the first ones that ask."""

APPLICATION: Final = 0
INSTALLED: Final = 1
SKIPPED: Final = 2
"""The rank of a function whose lines are never call sites."""

POOL_LIBRARIES: Final = frozenset({"aiohttp", "asyncpg", "greenlet", "sqlalchemy"})
"""Packages that only pass on requests for connections."""

MAX_KNOWN_FUNCTIONS: Final = 10_000
"""Size of a cache, which is cleared when full: code that is generated at run time has no end."""

MAX_LABEL_LENGTH: Final = 120
"""Characters of a path, of a function's name, and of a label."""

_AWAITS: Final = 0x80 | 0x200
"""`CO_COROUTINE` and `CO_ASYNC_GENERATOR` of `inspect`, which is slow to import."""

_OWN: Final = f"{Path(__file__).parent.parent}{os.sep}"
_DEMO: Final = f"{_OWN}demo{os.sep}"
_STANDARD_LIBRARY: Final = f"{Path(os.__file__).parent}{os.sep}"
_COMMANDS: Final = Path(sys.executable).parent
_PACKAGES: Final = re.compile(r"(?:^|[\\/])(?:site|dist)-packages[\\/](\w+)")


class Function:
    """
    A function on the stack: what it is called, and whether it is the application's.

    code: its code object, kept so that no other one gets the same `id`.
    rank: `APPLICATION`, `INSTALLED` or `SKIPPED`.
    path: the path of its file, relative to where its package is imported from.
    label: `module:function`, which stays the same when lines move.
    is_application: whether it belongs to the application.
    is_async: whether it is a coroutine function or an asynchronous generator.
    """

    __slots__ = ("code", "is_application", "is_async", "label", "name", "path", "rank")

    def __init__(
        self,
        code: CodeType | None,
        rank: int,
        path: str,
        name: str,
        label: str,
        is_async: bool = False,
    ) -> None:
        self.code: Final = code
        self.rank: Final = rank
        self.path: Final = path
        self.name: Final = name
        self.label: Final = label
        self.is_application: Final = rank == APPLICATION
        self.is_async: Final = is_async

    def line(self, at: int) -> int:
        """Return the line of the bytecode at that offset; without code, return the offset."""
        if self.code is None:
            return at
        lines = (line for start, end, line in self.code.co_lines() if start <= at < end)
        return next(lines, None) or self.code.co_firstlineno


class Site(NamedTuple):
    """A line in a function of the application."""

    function: Function
    line: int

    def __str__(self) -> str:
        return f"{self.function.path}:{self.line} in {self.function.name}"


_functions: dict[int, Function] = {}
"""By the `id` of their code: Python takes equal code of two files for the same."""

known_function: Final = _functions.get
"""Returns the function whose code has that `id`, or None if it was not seen before."""


Place = tuple[Function | None, int]
"""A function, if it is known, and the offset of the bytecode that it executes."""

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
    installed = NOWHERE
    hops = 0
    while frame is not None:
        function = known_function(id(frame.f_code)) or remember_function(frame)
        if function.rank == APPLICATION:
            return function, frame.f_lasti
        if function.rank == INSTALLED and installed is NOWHERE:
            installed = function, frame.f_lasti
        if frame is outermost:
            break
        outer = frame.f_back
        if outer is None:
            hops += 1
            outer = _parent_greenlets_frame(hops)
        frame = outer
    return installed


def find_awaiting_function() -> tuple[Any, FrameType | None]:
    """Return the application's innermost function that awaits this greenlet, and its frame."""
    frame = _parent_greenlets_frame(1)
    while frame is not None:
        function = known_function(id(frame.f_code)) or remember_function(frame)
        if function.is_application:
            return function, frame
        frame = frame.f_back
    return None, None


def _parent_greenlets_frame(hops: int) -> FrameType | None:
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
    code = frame.f_code
    module = _module_of(frame.f_globals)
    path = _path_of(code.co_filename, module)
    function = Function(
        code=code,
        rank=_rank(path),
        path=_short(_path_in(path, module)),
        name=_short(code.co_qualname),
        label=_short(f"{module}:{code.co_qualname}"),
        is_async=bool(code.co_flags & _AWAITS),
    )
    if len(_functions) >= MAX_KNOWN_FUNCTIONS:
        _functions.clear()
    _functions[id(code)] = function
    return function


def _short(text: str) -> str:
    """Return the text, or, if it is longer than `MAX_LABEL_LENGTH`, the end of it."""
    return text if len(text) <= MAX_LABEL_LENGTH else f"...{text[3 - MAX_LABEL_LENGTH :]}"


def _path_of(path: str, module: str) -> str:
    """Return the path of the code's file; for code generated at run time, that of its module."""
    if not path.startswith("<") or path.startswith("<frozen "):
        return path
    while module:
        if file := getattr(sys.modules.get(module), "__file__", None):
            return str(file)
        module = module.rpartition(".")[0]
    return path


def _rank(path: str) -> int:
    if path.startswith(_DEMO):
        return APPLICATION
    if path.startswith((_OWN, "<frozen ")):
        return SKIPPED
    if package := _PACKAGES.search(path):
        return SKIPPED if package.group(1) in POOL_LIBRARIES else INSTALLED
    if path.startswith(_STANDARD_LIBRARY):
        return SKIPPED
    # Commands of installed packages, such as uvicorn, are in the same folder as Python.
    return INSTALLED if Path(path).parent == _COMMANDS else APPLICATION


def _module_of(names: dict[str, Any]) -> str:
    """Return the name of the module with these globals, also if it is run as `__main__`."""
    name = str(names.get("__name__", "?"))
    if name != "__main__":
        return name
    spec = names.get("__spec__")
    if spec is not None:
        return str(spec.name)
    return PurePath(str(names.get("__file__", name))).stem


def _path_in(path: str, module: str) -> str:
    """Return the path of a module's file, relative to where its package is imported from."""
    parts = PurePath(path or "<unknown>").parts
    names = module.split(".")
    if PurePath(path).stem == "__init__" and names[-1] != "__init__":
        names.append("__init__")
    inside = PurePath(path).with_suffix("").parts[-len(names) :] if path else ()
    return "/".join(parts[-len(names) :]) if inside == tuple(names) else parts[-1]

"""
Which line of the application asked.

A site is the innermost frame that belongs to the application: not to Python's own library, not to
an installed package, not to poolscope. An application that is itself an installed package is found
too: where no other frame is there, the innermost installed package that is no pool's library.
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
"""Functions of a pool that are told apart; the first ones that ask."""

APPLICATION: Final = 0
INSTALLED: Final = 1
NEVER: Final = 2

POOL_LIBRARIES: Final = frozenset({"aiohttp", "asyncpg", "greenlet", "sqlalchemy"})
"""Packages that pass a request for a connection on, and never make one."""

MAX_KNOWN_FUNCTIONS: Final = 10_000
"""Functions that are known by their code; more there only are where code is made all the time."""

MAX_LABEL_LENGTH: Final = 120
"""Characters of a path, and of a function's name."""

_AWAITS: Final = 0x80 | 0x200
"""`CO_COROUTINE` and `CO_ASYNC_GENERATOR` of `inspect`, which need not be imported for this."""

_OWN: Final = f"{Path(__file__).parent.parent}{os.sep}"
_DEMO: Final = f"{_OWN}demo{os.sep}"
_PYTHONS: Final = f"{Path(os.__file__).parent}{os.sep}"
_COMMANDS: Final = Path(sys.executable).parent
_PACKAGES: Final = re.compile(r"(?:^|[\\/])(?:site|dist)-packages[\\/](\w+)")


class Function:
    """
    Of whose code it is, and what it is called.

    code: kept, so that no other code gets its identity.
    rank: `APPLICATION`, `INSTALLED` or `NEVER`.
    path: of the file, from where its package is imported.
    label: `module:function`, which stays the same when lines move.
    asks: whether it is the application's.
    awaits: whether it is a coroutine function, or an asynchronous generator.
    """

    __slots__ = ("asks", "awaits", "code", "label", "name", "path", "rank")

    def __init__(
        self,
        code: CodeType | None,
        rank: int,
        path: str,
        name: str,
        label: str,
        awaits: bool = False,
    ) -> None:
        self.code: Final = code
        self.rank: Final = rank
        self.path: Final = path
        self.name: Final = name
        self.label: Final = label
        self.asks: Final = rank == APPLICATION
        self.awaits: Final = awaits

    def line(self, at: int) -> int:
        """Return the line of the bytecode at that offset; where there is no code, the offset."""
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
"""By the identity of their code: the same text in another file is equal to Python."""

known: Final = _functions.get
"""Returns the function that has the code of that identity, if it was met before."""


Place = tuple[Function | None, int]
"""A function, if it is known, and the offset of the bytecode that is being executed there."""

NOWHERE: Final[Place] = (None, 0)


def site_of(place: Place) -> Site | None:
    """Return the line of a place, or None if it is not known."""
    function, at = place
    return Site(function, function.line(at)) if function is not None else None


def here() -> Site | None:
    """Return the site that is being executed, or None if there is only Python and libraries."""
    return site_of(find(sys._getframe(1)))


def find(frame: FrameType | None, outermost: FrameType | None = None) -> Place:
    """
    Return the innermost place of the application, from a frame outwards.

    What lies beyond the frame `outermost` has not asked: it runs the event loop.
    """
    second = NOWHERE
    hops = 0
    while frame is not None:
        function = known(id(frame.f_code)) or know(frame)
        if function.rank == APPLICATION:
            return function, frame.f_lasti
        if function.rank == INSTALLED and second is NOWHERE:
            second = function, frame.f_lasti
        if frame is outermost:
            break
        back = frame.f_back
        if back is None:
            hops += 1
            back = _parent(hops)
        frame = back
    return second


def awaiting() -> tuple[Any, FrameType | None]:
    """Return the application's innermost function that awaits this greenlet, and its frame."""
    frame = _parent(1)
    while frame is not None:
        function = known(id(frame.f_code)) or know(frame)
        if function.asks:
            return function, frame
        frame = frame.f_back
    return None, None


def _parent(hops: int) -> FrameType | None:
    """
    Return the frame in which the parent greenlet waits for this one, `hops` parents up.

    An async engine of SQLAlchemy runs in a greenlet of its own; the code that awaits it does not
    stand below it on the stack.
    """
    greenlet: Any = sys.modules.get("greenlet")
    current = greenlet.getcurrent() if greenlet is not None else None
    for _ in range(hops):
        current = current.parent if current is not None else None
    frame: FrameType | None = current.gr_frame if current is not None else None
    return frame


def know(frame: FrameType) -> Function:
    """Return the function of a frame, which is remembered."""
    code = frame.f_code
    module = _module_of(frame.f_globals)
    path = _path_of(code.co_filename, module)
    function = Function(
        code=code,
        rank=_rank(path),
        path=_short(_path_in(path, module)),
        name=_short(code.co_qualname),
        label=_short(f"{module}:{code.co_qualname}"),
        awaits=bool(code.co_flags & _AWAITS),
    )
    if len(_functions) >= MAX_KNOWN_FUNCTIONS:
        _functions.clear()
    _functions[id(code)] = function
    return function


def _short(text: str) -> str:
    """Return the end of what is too long to be read, or to be a label."""
    return text if len(text) <= MAX_LABEL_LENGTH else f"...{text[3 - MAX_LABEL_LENGTH :]}"


def _path_of(path: str, module: str) -> str:
    """Return the file of some code, or, where it was made by a module, that of the module."""
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
        return NEVER
    if package := _PACKAGES.search(path):
        return NEVER if package.group(1) in POOL_LIBRARIES else INSTALLED
    if path.startswith(_PYTHONS):
        return NEVER
    # Commands of installed packages, as gunicorn and uvicorn, are in the folder of Python itself.
    return INSTALLED if Path(path).parent == _COMMANDS else APPLICATION


def _module_of(names: dict[str, Any]) -> str:
    """Return the name of a module, also of the one that is run as the program."""
    name = str(names.get("__name__", "?"))
    if name != "__main__":
        return name
    spec = names.get("__spec__")
    if spec is not None:
        return str(spec.name)
    return PurePath(str(names.get("__file__", name))).stem


def _path_in(path: str, module: str) -> str:
    """Return the path of a module's file from where the module is imported."""
    parts = PurePath(path or "<unknown>").parts
    names = module.split(".")
    if PurePath(path).stem == "__init__" and names[-1] != "__init__":
        names.append("__init__")
    inside = PurePath(path).with_suffix("").parts[-len(names) :] if path else ()
    return "/".join(parts[-len(names) :]) if inside == tuple(names) else parts[-1]

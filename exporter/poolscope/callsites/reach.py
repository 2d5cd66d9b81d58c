"""Searches what variables refer to for connections, a few steps far."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import functools
import gc
from collections import deque
from collections.abc import Collection, Hashable, Iterable, Iterator
from queue import Queue, SimpleQueue
from threading import Thread
from types import (
    AsyncGeneratorType,
    BuiltinMethodType,
    CellType,
    CodeType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any, Final

from poolscope.callsites.libraries import Library

MAX_OBJECTS: Final = 5_000
"""Objects that a search looks at, from all of its variables together."""

MAX_ITEMS: Final = 1_000
"""Items of a list, a set or a dictionary; a larger one is not looked into."""


_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes, CodeType, type, ModuleType})
"""Types of objects that refer to nothing of interest."""

_SEQUENCES: Final = (list, tuple, set, frozenset, deque)
_CODE: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)
_AWAITED: Final = (
    *("coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "FutureIter"),
)

_OPEN_PACKAGES: Final = ("contextlib", "functools")
"""Of Python: their objects refer to what the application has given them."""

# Checked with CPython 3.11 to 3.14: the attributes of these (of a job, up to 3.13, and from 3.14
#   on), and that what awaits a future refers to it.
_PASSING: Final[tuple[tuple[type, tuple[str, ...]], ...]] = (
    (asyncio.Queue, ("_queue",)),
    (Queue, ("queue",)),
    (asyncio.Future, ("_result",)),
    (concurrent.futures.Future, ("_result",)),
    (concurrent.futures.thread._WorkItem, ("fn", "args", "kwargs", "task")),
)
"""What passes things to other tasks and threads, and the attributes in which it has them."""


class Search:
    """
    A search for connections.

    wanted: the ids of the connections.
    found: those of them that were found.
    is_cut_short: whether there was more to search; then what was not found may be there, too.
    ignored: names of variables which functions share that are not searched.
    """

    def __init__(
        self,
        library: Library,
        wanted: Collection[Hashable],
        levels: int,
        of_others: bool = False,
    ) -> None:
        """
        levels: how many objects of the application's own classes lie between, at most.
        of_others: whether it is of who may get them: from a queue, a future, or as a thread's job.
        """
        self._library = library
        self.wanted: Final = frozenset(wanted)
        self._levels = levels
        self._of_others = of_others
        self.ignored: Final[set[str]] = set()
        self._seen: dict[int, int] = {}
        self._plain = set(_PLAIN)
        self.found: Final[set[Hashable]] = set()
        self.is_cut_short = False

    @property
    def is_done(self) -> bool:
        return len(self.found) == len(self.wanted) or self.is_cut_short

    def forget_seen(self) -> None:
        """Look at everything again: what it refers to may have changed."""
        self._seen.clear()

    def look(self, roots: Iterable[Any]) -> None:
        """Search what these objects refer to, the nearest first."""
        unseen = deque((root, self._levels) for root in roots)
        while unseen and not self.is_done:
            value, levels = unseen.popleft()
            if type(value) in self._plain or self._seen.get(id(value), -1) >= levels:
                continue
            self._seen[id(value)] = levels
            self.is_cut_short = len(self._seen) >= MAX_OBJECTS
            if id(value) in self.wanted:
                self.found.add(id(value))
            else:
                unseen.extend(self._next(value, levels))

    def _next(self, value: Any, levels: int) -> Iterator[tuple[Any, int]]:
        kind: Any = type(value)
        if kind in _SEQUENCES or kind is dict:
            if len(value) <= MAX_ITEMS:
                items = list(value.values() if kind is dict else value)
                yield from ((item, levels) for item in items)
        elif kind is MethodType or kind is BuiltinMethodType:
            yield value.__self__, levels
        elif kind is functools.partial:
            yield from ((item, levels) for item in (value.func, value.args, value.keywords))
        elif kind is FunctionType:
            for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
                if name not in self.ignored:
                    yield cell, levels
        elif kind in _CODE or kind is CellType or kind.__name__ in _AWAITED:
            yield from ((item, levels) for item in gc.get_referents(value))
        elif not issubclass(kind, type):
            yield from self._of_object(value, kind, levels)

    def _of_object(self, value: Any, kind: type, levels: int) -> Iterator[tuple[Any, int]]:
        package = kind.__module__.partition(".")[0]
        names: Collection[str]
        if any(base.__module__.startswith(self._library.package) for base in kind.__mro__):
            names = self._library.parts
        elif kind is SimpleQueue:
            if self._of_others:
                yield from ((item, levels) for item in gc.get_referents(value))
            return
        elif names := next((names for known, names in _PASSING if issubclass(kind, known)), ()):
            names = names if self._of_others else ()
        elif package in _CLOSED or (issubclass(kind, Thread) and not self._of_others):
            self._plain.add(kind)
            return
        elif levels or package in _OPEN_PACKAGES:
            left = levels - (package not in _OPEN_PACKAGES)
            yield from ((item, left) for item in gc.get_referents(value))
            return
        else:
            return
        for name in names:
            try:
                yield object.__getattribute__(value, name), levels
            except AttributeError:
                continue


_CLOSED: Final = frozenset(
    {"builtins", "types", "weakref", "asyncio", "_asyncio", "uvloop", "contextvars", "_contextvars"}
    | {
        "logging",
        "greenlet",
        "_greenlet",
        "ssl",
        "socket",
        "_thread",
        "concurrent",
        "threading",
        "queue",
    }
    | {"sqlalchemy", "asyncpg", "aiohttp", "psycopg", "sqlite3", "poolscope", "pytest", "_pytest"}
)
"""Packages whose objects refer to much that is not the caller's, such as a pool."""

"""
`poolscope.autowatch`: watches each pool of a supported library that is made from now on.

The classes of a library get an `__init__` that watches the new object once it is complete. That
happens when the module of a class is imported, so nothing is imported that the program does not
import.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import FrameType, ModuleType
from typing import Any, Final

from poolscope.adapters.kinds import MADE
from poolscope.errors import is_of_signal_handler, logger
from poolscope.launching import settings
from poolscope.launching.imports import Imports
from poolscope.launching.methods import Finished, follow, unfollow
from poolscope.launching.names import name_of, names_from
from poolscope.launching.settings import Settings
from poolscope.watching.adapter import ADAPTERS
from poolscope.watching.watch import Watch
from poolscope.watching.watches import Watches, default

Tell = Callable[[Watch], object]


def described(watch: Watch) -> str:
    """Return the name, the kind and the size of a pool, such as `'orders' (sqlalchemy, 5+10)`."""
    snapshot = watch.snapshot()
    limit, kept = snapshot.limit, snapshot.idle_limit
    if limit == math.inf:
        size = "no limit"
    elif kept < limit:
        size = f"{kept:g}+{limit - kept:g}"
    else:
        size = f"{limit:g}"
    return f"{watch.name!r} ({watch.kind}, {size})"


def log_first(watch: Watch) -> None:
    """Log which pool is watched."""
    logger().info("watching %s", described(watch), extra={"poolscope": {"event": "watching"}})


class Autowatch:
    """
    Watches the pools that are made.

    tell: is called with the first watch of each process.
    """

    def __init__(self, watches: Watches = default, tell: Tell = log_first) -> None:
        self._watches = watches
        self._settings: Settings | None = None
        self._imports = Imports(MADE, self.imported)
        self._classes: dict[type[Any], None] = {}
        self.tell = tell
        self._told = 0
        # Of libraries whose pools cannot be watched, so that this is logged once.
        self._failed: set[str] = set()

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            self._settings = settings.of_environment()
        return self._settings

    def begin(self, given: Settings | None = None) -> None:
        """Watch what is made from now on; again: with these settings."""
        if given is not None:
            self._settings = given
        self._imports.begin()

    def end(self) -> None:
        """Watch no more new pools. Those that are watched stay so."""
        self._imports.end()
        for cls in list(self._classes):
            unfollow(cls, "__init__")
        self._classes.clear()

    def imported(self, module: ModuleType) -> None:
        """A module of a library was imported: follow the objects of its classes."""
        for name in MADE.get(module.__name__, ()):
            cls = getattr(module, name, None)
            if isinstance(cls, type):
                self._classes[cls] = None
                follow(cls, "__init__", self._finisher(cls))

    def _finisher(self, cls: type[Any]) -> Finished:
        """Return what is called at the end of the class's own `__init__`."""

        def made(target: Any, maker: FrameType) -> None:
            self._made(cls, target, maker)

        return made

    def _made(self, cls: type[Any], made: Any, maker: FrameType) -> None:
        """An `__init__` of `cls` has ended; the object is complete if no subclass has another."""
        outermost = next((each for each in type(made).__mro__ if each in self._classes), None)
        if outermost is not cls:
            return
        library = cls.__module__.partition(".")[0]
        try:
            adapter: Any = importlib.import_module(f"{ADAPTERS}.{library}")
            if not adapter.is_pool(made, maker):
                return
            names, options = self.settings
            watch = self._watches.watch_made(adapter, made, partial(name_of, names=names), options)
        except (ImportError, RuntimeError, ValueError) as error:
            # A version that is not supported, or a session whose connector is closed.
            if is_of_signal_handler(error):
                raise
            if library not in self._failed:
                self._failed.add(library)
                logger().warning("not all pools of %s are watched: %s", library, error)
            return
        if watch is not None:
            self._tell(watch)

    def _tell(self, watch: Watch) -> None:
        if self._told != os.getpid():
            self._told = os.getpid()
            self.tell(watch)


default_autowatch: Final = Autowatch()


def autowatch(names: Mapping[str, str] | Iterable[str | tuple[str, str]] | None = None) -> None:
    """
    Watch every pool of a supported library that is made from now on, whoever makes it.

    Call it before the first pool is made. It imports no pool library; `import poolscope.auto` does
    the same. Pools that are watched by name already, or unwatched, stay so.

    names: gives pools names by their default names, such as {"orders@*": "orders"}, or
        ["orders@*=orders"]. The first pattern that matches counts (`*`, `?` and `[abc]` as in names
        of files); where none does, a pool has its default name. `watch(pool, name=...)` names a
        pool anew. Without it, those of POOLSCOPE_NAMES count.

    POOLSCOPE_LEAK_AFTER, POOLSCOPE_CALL_SITES and POOLSCOPE_APPLICATION_NAME are the other options
    of these watches. A second call changes the names. Raises TypeError or ValueError if `names` is
    neither.
    """
    pairs = names_from(names)
    found = settings.of_environment()
    if names is not None:
        found = found._replace(names=pairs)
    default_autowatch.begin(found)

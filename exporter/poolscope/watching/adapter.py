"""What a watch asks of the adapter of a library, and which adapter knows an object."""

from __future__ import annotations

import importlib
from types import FrameType
from typing import Any, Final, Protocol, cast

from poolscope.watching.hooks import Hooks
from poolscope.watching.watched_pool import WatchedPool

ADAPTERS: Final = "poolscope.adapters"
"""Imported by name: an adapter imports its library, and stands in a layer above this module."""


class Adapter(Protocol):
    """A module that knows one library."""

    KIND: str

    def check_version(self) -> None:
        """Raise RuntimeError if the installed version of the library is not supported."""

    def accepts(self, target: object) -> bool:
        """Whether `target` is a pool of this library, or has one."""

    def check_open(self, target: Any) -> None:
        """Raise ValueError if the pool is closed."""

    def find(self, target: Any) -> WatchedPool | None:
        """Return the watched pool, or None if the pool is not watched."""

    def default_name(self, target: Any) -> str:
        """Return a name for the pool, without any credential."""

    def is_pool(self, made: Any, maker: FrameType) -> bool:
        """
        Whether an object that was just made is a pool of its own, and not a part of another one.

        maker: the frame that has made it.
        """

    def name_of_both(self, target: Any, before: str) -> str:
        """Return the default name of a pool that had one `before`, now that `target` has it too."""

    def hook(self, target: Any, watched: WatchedPool) -> Hooks:
        """Put hooks into the pool that report to `watched`."""

    def needs_loop(self, target: Any) -> bool:
        """Whether the pool is closed in an event loop."""

    def close(self, target: Any) -> None:
        """Close the pool, which needs no event loop."""

    async def close_in_loop(self, target: Any, timeout: float | None) -> None:
        """
        Close the pool in an event loop.

        timeout: how many seconds to wait for connections that are out, where the pool does so; then
            they are cut off. None: for any time.
        """


def adapter_for(target: object) -> Adapter:
    """Return the adapter of the library that `target`'s type comes from."""
    targets: dict[str, str] = importlib.import_module(f"{ADAPTERS}.kinds").TARGETS
    for cls in type(target).__mro__:
        library = cls.__module__.partition(".")[0]
        if library in targets:
            adapter = cast(Adapter, importlib.import_module(f"{ADAPTERS}.{library}"))
            if adapter.accepts(target):
                return adapter
    *first, last = targets.values()
    supported = f"{', '.join(first)}, or {last}"
    raise TypeError(f"cannot watch {type_name(target)}; supported are {supported}")


def type_name(target: object) -> str:
    cls = type(target)
    module = "" if cls.__module__ == "builtins" else f"{cls.__module__}."
    return f"an object of type {module}{cls.__qualname__}"

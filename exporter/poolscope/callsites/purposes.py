"""What a caller takes a connection for, as far as it says so: to hold it for long on purpose."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Block:
    """
    One `with` block.

    Tasks and thread jobs that begin inside inherit it with their context, and are inside for as
    long as it is open: what they take later is not taken inside of it.

    manager: the object of the `with` statement.
    outer: the block around it, or None.
    """

    __slots__ = ("manager", "open", "outer")

    def __init__(self, manager: held_on_purpose, around: Block | None) -> None:
        self.manager: Final = manager
        self.outer = _first_open(around)
        self.open = True
        if self.outer is not None:
            # Or tasks that each begin the next one inside of a block would never free any.
            self.outer.outer = _first_open(self.outer.outer)


current_block: Final[ContextVar[Block | None]] = ContextVar(
    "poolscope_held_on_purpose", default=None
)
"""The innermost block of the context; it may be closed."""

used: Final[list[bool]] = []
"""Empty until a block is entered in this process, so that until then nobody need ask for it."""


def is_on_purpose() -> bool:
    """Whether what the running code takes now is held for long on purpose."""
    return _first_open(current_block.get()) is not None


def _first_open(block: Block | None) -> Block | None:
    while block is not None and not block.open:
        block = block.outer
    return block


class held_on_purpose:  # noqa: N801  # users write it as a function
    """
    Say that the connections which are taken inside are held for long on purpose.

    They count as in use, but are never overdue, and no partners of nested acquires: for a lock, a
    replication stream, or a worker that keeps its connection. A context manager, for `with` and
    `async with`, and a decorator of functions and coroutines. Blocks may be nested.

        with poolscope.held_on_purpose():
            connection = await pool.acquire()
    """

    def __init__(self) -> None:
        self._blocks: Final[list[Block]] = []

    def __enter__(self) -> None:
        if not used:
            used.append(True)
        block = Block(self, current_block.get())
        try:
            self._blocks.append(block)
            current_block.set(block)
        except BaseException:  # of a signal handler: nobody will leave the block
            block.open = False
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        current = block = current_block.get()
        if block is None or block.manager is not self:
            # This is another context than the one that has entered: generators may end in any.
            block = self._blocks[-1]
        block.open = False
        if block is current:
            current_block.set(block.outer)
        self._blocks.remove(block)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """
        Return the function; all that it does is done inside of a block of its own.

        Raises TypeError for a generator, between whose steps other code runs.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                "held_on_purpose() decorates functions and coroutines; in a generator, write "
                "`with poolscope.held_on_purpose():` around what takes the connection"
            )
        inside: Any = _coroutine if inspect.iscoroutinefunction(function) else _function
        decorated: Callable[P, R] = functools.update_wrapper(inside(function), function)
        return decorated


def _function(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with held_on_purpose():
            return function(*args, **kwargs)

    return call


def _coroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with held_on_purpose():
            return await function(*args, **kwargs)

    return call

"""
What a connection is taken for: the request, the task of a queue, or the job that the code works on.

The context has a box with the operation. All tasks and thread jobs that inherit the context share
the box, so they learn when the answer of a request was sent, and what follows is its background.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

from poolscope.errors import count_error, is_ours
from poolscope.label_values import MAX_CHARACTERS, label_value, printable

P = ParamSpec("P")
R = TypeVar("R")

SHOWN_OPERATIONS: Final = 50
"""Operations of a pool with a label of their own; all later ones share one."""

BACKGROUND: Final = "background: "
"""Begins the name of what a request does after its answer."""


class Operation(ABC):
    """
    What connections are taken for. A subclass may find its name out when somebody asks for it.

    A pool refers to it while it has a connection out for it. So a request must let go of its other
    objects when it ends: a connection that one of them refers to would never be collected.
    """

    __slots__ = ()

    @abstractmethod
    def name(self) -> str | None:
        """Return the name, which never holds the values of a path; None if there is none yet."""


class NamedOperation(Operation):
    """An operation whose name is known from its beginning."""

    __slots__ = ("name",)

    name: Callable[[], str | None]

    def __init__(self, name: str) -> None:
        # A method of the string, which is called in fewer steps than one of this class.
        self.name = name.__str__


class Background(Operation):
    """What is left of an operation once its answer was sent."""

    __slots__ = ("_of",)

    def __init__(self, of: Operation) -> None:
        self._of: Final = of

    def name(self) -> str | None:
        name = self._of.name()
        return BACKGROUND + name if name is not None else None


Box = list[Operation | None]
"""Holds one operation, or None."""

NO_OPERATION: Final[Box] = [None]

current_box: Final[ContextVar[Box]] = ContextVar("poolscope_operation", default=NO_OPERATION)
"""The box of the innermost operation of the context."""


def current_operation() -> Operation | None:
    """Return what the running code takes connections for, if it is known."""
    return current_box.get()[0]


def shown_name(operation: Operation | None) -> str | None:
    """Return the name as it is shown, in one line of bounded length; None if there is none yet."""
    name = found_name(operation) if operation is not None else None
    return label_value(name) if name is not None else None


def found_name(operation: Operation) -> str | None:
    """
    Return the name, which is not fit to be shown yet but not long; None if there is none yet.

    An error of `name` is counted, and ends here. One that does not come again is of a signal
    handler or of a time limit of the application, and is raised.
    """
    try:
        name: object = operation.name()
    except Exception as error:
        raise_if_from_outside(error, operation)
        count_error("Operation.name")
        return None
    return _bounded(name)


def found_names(operations: Sequence[Operation | None]) -> list[str | None]:
    """Return the `found_name` of each operation, and None where there is none; in few steps."""
    first = operations[0]
    if operations.count(first) == len(operations):
        return [found_name(first) if first is not None else None] * len(operations)
    try:
        names: list[Any] = [each.name() if each is not None else None for each in operations]
    except Exception as error:
        raise_if_from_outside(error, *operations)
        return [found_name(each) if each is not None else None for each in operations]
    found = list(filter(None, names))
    if set(map(type, found)) == {str} and max(map(len, found)) <= MAX_CHARACTERS:
        return names
    return list(map(_bounded, names))


def _bounded(name: object) -> str | None:
    if type(name) is str and len(name) <= MAX_CHARACTERS:  # as almost always
        return name
    return label_value(name) if isinstance(name, str) else None


def raise_if_from_outside(error: Exception, *operations: Operation | None) -> None:
    """Raise the error if it is not ours, and the search for no name fails again."""
    if not is_ours(error) and not any(map(_fails, filter(None, operations))):
        raise error


def _fails(operation: Operation) -> bool:
    try:
        operation.name()
    except Exception:
        return True
    return False


class operation:  # noqa: N801  # users write it as a function
    """
    Say what the connections are for that are taken inside.

    A context manager, for `with` and `async with`, and a decorator of functions and coroutines.
    Operations may be nested: the innermost is what a connection is taken for. Tasks and thread jobs
    that begin inside inherit it.

        with poolscope.operation("nightly report"):
            connection = await pool.acquire()

    Raises TypeError if the name is no string.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"operation() takes a name, a string; got {name!r}")
        self._operation: Final = NamedOperation(printable(name))
        self._outer: Final[list[tuple[Box, Box]]] = []

    def __enter__(self) -> None:
        box: Box = [self._operation]
        self._outer.append((box, current_box.get()))
        current_box.set(box)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        current = current_box.get()
        for index in range(len(self._outer) - 1, -1, -1):
            box, outer = self._outer[index]
            if box is current:
                current_box.set(outer)
                del self._outer[index]
                return
        # This is another context than the one that has entered: generators may end in any.
        self._outer.pop()

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
        Return the function; all that it does is done for this operation.

        Raises TypeError for a generator, between whose steps other code runs.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                "operation() decorates functions and coroutines; in a generator, write "
                "`with poolscope.operation(...):` around what takes the connection"
            )
        name = str(self._operation.name())

        def call(*args: Any, **kwargs: Any) -> Any:
            with operation(name):
                return function(*args, **kwargs)

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            with operation(name):
                awaitable: Any = function(*args, **kwargs)
                return await awaitable

        inside: Any = call_async if inspect.iscoroutinefunction(function) else call
        decorated: Callable[P, R] = functools.update_wrapper(inside, function)
        return decorated

"""The names of requests, and what runs as a part of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from poolscope.callsites.operations import (
    Background,
    Box,
    Operation,
    current_box,
    found_name,
)

NO_ROUTE: Final = "(no route)"
"""In the name of a request that no route of the application matches."""

_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "WEBSOCKET"}
)

FindTemplate = Callable[[], "str | None"]


class RequestOperation(Operation):
    """
    A request, by its method and the template of its route, such as `GET /orders/{id}`.

    find_template: returns the template of the route, or None where none matches. It is asked when
        somebody asks for the name, until it knows one.
    find_later: takes its place at the end of the request, and refers to nothing that belongs to it.
        Without it, the name is found at the end, for whoever asks later. A pool refers to the
        operation while a connection is out, and would keep alive what has dropped that connection.
    """

    __slots__ = ("_find_later", "_find_template", "_method", "_name")

    def __init__(
        self,
        method: object,
        find_template: FindTemplate,
        find_later: FindTemplate | None = None,
    ) -> None:
        # A client may send any method; those of HTTP are few.
        self._method: Final = method if method in _METHODS else "OTHER"
        self._find_template: FindTemplate = find_template
        self._find_later: Final = find_later
        self._name: str | None = None

    def name(self) -> str | None:
        if self._name is None:
            template = self._find_template()
            if not isinstance(template, str):
                return f"{self._method} {NO_ROUTE}"
            self._name = f"{self._method} {template}"
        return self._name

    def end(self) -> None:
        """The request ends: forget what belongs to it."""
        if self._find_later is None:
            found_name(self)
        self._find_template = self._find_later or _nothing


def _nothing() -> None:
    return None


@contextmanager
def request_of(operation: RequestOperation) -> Iterator[Box]:
    """Have the code inside be the operation; what outlives it is its background."""
    box: Box = [operation]
    outer = current_box.get()
    current_box.set(box)
    try:
        yield box
    finally:
        current_box.set(outer)
        answered(box, operation)


def answered(box: Box, operation: RequestOperation) -> None:
    """The answer of a request was sent: what follows in its tasks and threads is its background."""
    if box[0] is operation:
        box[0] = Background(operation)
    operation.end()


@contextmanager
def step_of(box: Box) -> Iterator[None]:
    """Have the code inside be one step of what the box is for, in whichever context it runs."""
    outer = current_box.get()
    current_box.set(box)
    try:
        yield
    finally:
        current_box.set(outer)


def goes_on(box: Box, operation: RequestOperation) -> None:
    """The answer is still being made, while it is sent."""
    box[0] = operation


def is_part_of_a_request(scope: Any) -> bool:
    """
    Return whether an outer application has this request as its operation; else, from now on it has.

    scope: the dictionary of the request, of ASGI or WSGI, that the inner one gets too.
    """
    return scope.setdefault("poolscope.request", scope_mark := object()) is not scope_mark

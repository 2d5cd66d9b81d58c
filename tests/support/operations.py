"""Operations as the integrations of frameworks make them."""

from __future__ import annotations

from typing import Any

from poolscope.callsites.operations import Operation


class RoutedOperation(Operation):
    """A request: its scope may hold anything, and its name is known once it was routed."""

    __slots__ = ("__weakref__", "route", "scope")

    def __init__(self, route: str | None = None) -> None:
        self.route = route
        self.scope: dict[str, Any] = {}

    def name(self) -> str | None:
        return self.route

    def end(self) -> None:
        """The request has ended, so its objects are let go of."""
        self.scope = {}


class FailingOperation(Operation):
    """An operation whose name cannot be found."""

    __slots__ = ("_error",)

    def __init__(self, error: Exception) -> None:
        self._error = error

    def name(self) -> str | None:
        raise self._error


class ForeignOperation(Operation):
    """An operation that returns anything for a name."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def name(self) -> str | None:
        found: str | None = self._value
        return found

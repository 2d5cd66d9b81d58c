"""
Errors of the instrumentation itself: counted, logged once for each place, and never raised.

An application must behave the same whether it is watched or not, so an exception inside a hook of
poolscope ends here.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from logging import Logger

P = ParamSpec("P")
R = TypeVar("R")


def logger() -> Logger:
    """Return the logger of poolscope. Imports `logging` only when something is logged."""
    import logging

    return logging.getLogger("poolscope")


class ErrorLog:
    """Counts internal errors, and logs the first one of each place with its traceback."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._places: set[str] = set()
        self.count = 0

    def report(self, place: str) -> None:
        """Count the exception that is being handled. `place` names the hook that raised it."""
        self.count = next(self._numbers)
        if place in self._places:
            return
        self._places.add(place)
        # Logging may fail, too, for example when the stack is exhausted.
        with suppress(Exception):
            logger().error(
                "error inside poolscope, in %s; the application is not affected, but metrics may "
                "be incomplete (logged once per place; counted in connpool_internal_errors_total)",
                place,
                exc_info=True,
            )


internal_errors = ErrorLog()


def report(place: str) -> None:
    """Count the exception that is being handled; for hooks where `harmless` is too slow."""
    internal_errors.report(place)


def harmless(hook: Callable[P, R]) -> Callable[P, R | None]:
    """Decorate a hook: an exception is reported and swallowed, and the hook returns None."""

    @functools.wraps(hook)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return hook(*args, **kwargs)
        except Exception:
            internal_errors.report(hook.__qualname__)
            return None

    return guarded

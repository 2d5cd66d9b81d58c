"""
Errors of the instrumentation itself: counted, logged once each place, and never raised.

An application that is watched must not be able to tell. So whatever goes wrong inside a hook of
ours ends here.
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
    """Return our logger. Python's logging is imported when there is something to say."""
    import logging

    return logging.getLogger("poolscope")


class ErrorLog:
    """Counts internal errors; the first one of each place is logged with its traceback."""

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
        # A log may fail too, as at the end of the stack.
        with suppress(Exception):
            logger().error(
                "error inside poolscope, in %s; the application is not affected, but numbers may "
                "be incomplete (logged once; counted in connpool_internal_errors_total)",
                place,
                exc_info=True,
            )


internal_errors = ErrorLog()


def report(place: str) -> None:
    """Count the exception that is being handled, where `harmless` would cost too much."""
    internal_errors.report(place)


def harmless(hook: Callable[P, R]) -> Callable[P, R | None]:
    """Decorate a hook: what it raises is reported and swallowed, and None is returned."""

    @functools.wraps(hook)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return hook(*args, **kwargs)
        except Exception:
            internal_errors.report(hook.__qualname__)
            return None

    return guarded

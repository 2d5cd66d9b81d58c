"""
Errors of the instrumentation itself: counted, logged once for each place, and never raised.

An application must behave the same whether it is watched or not. So an error of poolscope ends
here, and an exception that is not one of ours goes on to the application: a signal handler and
`PyThreadState_SetAsyncExc` (the time limits of Celery, RQ and others) may raise at any bytecode,
and so in the middle of a hook.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import CodeType
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

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
        self.since: Final = time.time()

    def report(self, place: str) -> None:
        """Count the exception that is being handled. `place` names the hook that raised it."""
        self.count = next(self._numbers)
        if place in self._places:
            return
        self._places.add(place)
        # Logging may fail, too. `suppress` would need a frame when the stack is exhausted.
        try:
            logger().error(
                "error inside poolscope, in %s; the application is not affected, but metrics may "
                "be incomplete (logged once per place; counted in connpool_internal_errors_total)",
                place,
                exc_info=True,
            )
        except RecursionError:
            self._places.discard(place)  # the next one may have more room
        except Exception:
            return


internal_errors = ErrorLog()


OUR_MODULES: Final = frozenset(
    {*sys.stdlib_module_names, "poolscope", "sqlalchemy", "asyncpg", "aiohttp", "greenlet"}
)
"""The top-level modules whose exceptions the code of poolscope may cause."""

NEVER_OURS: Final = (Exception, TimeoutError)
"""
Types that time limits are often written with, and that nothing in poolscope raises. `Exception` is
only meant itself, not its subclasses.
"""


def is_ours(error: BaseException) -> bool:
    """
    Return whether poolscope has caused the exception that one of its hooks has raised.

    An exception from outside is told by its type, or by the signal handler that has raised it. At
    the end of the stack nothing can be found out, and a RecursionError is ours.
    """
    try:
        return _is_ours(error)
    except RecursionError:
        try:
            raise error
        except RecursionError:
            return True
        except BaseException:
            return False


def _is_ours(error: BaseException) -> bool:
    kind = type(error)
    if not isinstance(error, Exception) or kind in NEVER_OURS:
        return False
    if kind.__module__.partition(".")[0] not in OUR_MODULES:
        return False
    return not is_of_signal_handler(error)


def is_of_signal_handler(error: BaseException) -> bool:
    """Return whether a signal handler of the application has raised the exception."""
    handlers = _signal_handlers()
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in handlers:
            return True
        traceback = traceback.tb_next
    return False


def _signal_handlers() -> set[CodeType]:
    """Return the code of all signal handlers that are functions or methods."""
    import signal  # here, because importing poolscope must stay fast

    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    functions = (getattr(handler, "__func__", handler) for handler in handlers)
    codes = (getattr(function, "__code__", None) for function in functions)
    return {code for code in codes if code is not None}


def count_error(place: str) -> None:
    """Count an error of ours at a place."""
    internal_errors.report(place)


def report(place: str, error: BaseException) -> None:
    """Count an error of a hook, for hooks where `harmless` is too slow; raise what is not ours."""
    if not is_ours(error):
        raise error
    internal_errors.report(place)


def harmless(hook: Callable[P, R]) -> Callable[P, R | None]:
    """
    Decorate a hook: an error of ours is reported and swallowed, and the hook returns None.

    An exception from outside is raised, after the hook has been called once more: what it records
    must not be lost. So what a hook records twice must count once.
    """
    return _guarded(hook, again=True)


def harmless_once(hook: Callable[P, R]) -> Callable[P, R | None]:
    """
    Decorate a hook like `harmless`, but do not call it again: it records what would count twice.

    If an exception from outside comes before it has done so, one attempt is not counted.
    """
    return _guarded(hook, again=False)


def _guarded(hook: Callable[P, R], again: bool) -> Callable[P, R | None]:
    @functools.wraps(hook)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return hook(*args, **kwargs)
        except BaseException as error:
            try:
                if is_ours(error):
                    internal_errors.report(hook.__qualname__)
                    return None
            except RecursionError:  # not even `is_ours` can be called
                try:
                    raise error
                except RecursionError:
                    return None
            if again:
                with suppress(Exception):
                    hook(*args, **kwargs)
            raise

    return guarded

"""Errors of the instrumentation are swallowed and counted."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

import pytest

from poolscope.errors import ErrorLog, harmless


def test_an_error_is_counted_even_if_logging_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise RecursionError

    errors = ErrorLog()
    monkeypatch.setattr("poolscope.errors.internal_errors", errors)
    monkeypatch.setattr(logging.getLogger("poolscope"), "error", fail)

    @harmless
    def hook() -> None:
        raise ZeroDivisionError

    assert (None, None) == (hook(), hook())
    assert 2 == errors.count


class TimeLimitError(Exception):
    """An exception type of an application, as the time limits of task queues have."""


@harmless
def count_two(counted: list[int], error: BaseException | None) -> None:
    counted.append(2)
    if error is not None and len(counted) == 1:
        raise error


@pytest.mark.parametrize(
    "error",
    [TimeLimitError(), TimeoutError(), Exception("time is up"), KeyboardInterrupt(), SystemExit()],
    ids=repr,
)
def test_an_exception_that_is_not_ours_reaches_the_application_and_the_hook_is_not_lost(
    error: BaseException,
) -> None:
    counted: list[int] = []
    with pytest.raises(type(error)) as raised:
        count_two(counted, error)
    assert (error, [2, 2]) == (raised.value, counted)


@pytest.mark.parametrize("error", [RuntimeError(), AttributeError(), RecursionError()], ids=repr)
def test_an_exception_that_a_mistake_of_ours_raises_does_not_reach_the_application(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = ErrorLog()
    monkeypatch.setattr("poolscope.errors.internal_errors", errors)
    counted: list[int] = []
    assert (None, [2], 1) == (count_two(counted, error), counted, errors.count)


class Application:
    def limit_time(self, number: int, frame: object) -> None:
        raise RuntimeError("time is up")


def limit_time(number: int, frame: object) -> None:
    raise ValueError("time is up")


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="the system has no such signal")
@pytest.mark.parametrize("handler", [limit_time, Application().limit_time])
def test_an_exception_of_a_signal_handler_reaches_the_application(
    handler: Callable[[int, object], None],
) -> None:
    @harmless
    def hook() -> None:
        calls.append(1)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGALRM)

    calls: list[int] = []
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises((ValueError, RuntimeError), match="time is up"):
            hook()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert 2 == len(calls)

"""`poolscope.operation` as a block and as a decorator, and the names that operations have."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import poolscope
from poolscope.callsites.operations import (
    NO_OPERATION,
    Background,
    NamedOperation,
    Operation,
    current_box,
    current_operation,
    found_name,
    found_names,
    shown_name,
)
from poolscope.errors import internal_errors
from support.operations import FailingOperation, ForeignOperation, RoutedOperation


def current() -> str | None:
    """Return the name of the operation that this runs in."""
    return shown_name(current_operation())


def test_blocks_nest() -> None:
    names = [current()]
    with poolscope.operation("report"):
        names.append(current())
        with poolscope.operation("totals"):
            names.append(current())
        names.append(current())
    assert [None, "report", "totals", "report", None] == [*names, current()]


def test_one_object_may_be_entered_again_inside_of_itself() -> None:
    report = poolscope.operation("report")
    with report:
        with report:
            assert "report" == current()
        assert "report" == current()
    assert None is current()


def test_a_block_that_fails_is_left() -> None:
    with pytest.raises(ZeroDivisionError), poolscope.operation("report"):
        raise ZeroDivisionError
    assert None is current()


def test_a_block_that_another_context_leaves_stays_in_its_own() -> None:
    report = poolscope.operation("report")
    own = contextvars.copy_context()
    own.run(report.__enter__)
    with poolscope.operation("other"):
        report.__exit__(None, None, None)
        assert "other" == current()
    assert (None, "report") == (current(), own.run(current))


def test_a_decorated_function_runs_in_the_operation() -> None:
    @poolscope.operation("report")
    def run(more: int) -> tuple[int, str | None]:
        """Run the report."""
        return run(more - 1) if more else (more, current())

    assert (0, "report") == run(2)
    assert ("run", "Run the report.", None) == (run.__name__, run.__doc__, current())


async def test_a_decorated_coroutine_runs_in_the_operation_and_its_caller_does_not() -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    @poolscope.operation("report")
    async def run() -> str | None:
        inside.set()
        await go_on.wait()
        return current()

    assert inspect.iscoroutinefunction(run)
    running = asyncio.create_task(run())
    await inside.wait()
    assert None is current()
    go_on.set()
    assert ("report", None) == (await running, current())


def test_a_generator_cannot_be_decorated() -> None:
    def rows() -> Iterator[int]:
        yield 1

    async def more_rows() -> AsyncIterator[int]:
        yield 1

    for generator in (rows, more_rows):
        with pytest.raises(TypeError, match=r"write `with poolscope\.operation\(\.\.\.\):` around"):
            poolscope.operation("report")(generator)


@pytest.mark.parametrize("name", [None, 5, b"report", ["report"]])
def test_a_name_that_is_no_string_is_refused(name: Any) -> None:
    with pytest.raises(TypeError, match="takes a name, a string; got"):
        poolscope.operation(name)


def test_a_function_without_a_name_is_not_decorated_by_mistake() -> None:
    """As in `@poolscope.operation`, which a decorator without options looks like."""
    broken: Any = poolscope.operation
    with pytest.raises(TypeError, match="takes a name, a string; got <function"):
        broken(current)


def test_the_default_box_stays_empty() -> None:
    with poolscope.operation("report"):
        pass
    assert ([None], NO_OPERATION) == (NO_OPERATION, current_box.get())


@pytest.mark.parametrize("value", [None, 5, b"GET /"])
def test_what_is_no_string_is_no_name(value: object) -> None:
    assert None is shown_name(ForeignOperation(value))


def test_what_an_operation_without_a_name_does_later_has_no_name_either() -> None:
    request = RoutedOperation()
    assert (None, None) == (shown_name(request), shown_name(Background(request)))
    request.route = "GET /"
    assert "background: GET /" == shown_name(Background(request))


def test_a_name_is_shown_in_one_line_of_bounded_length() -> None:
    long, lines = shown_name(NamedOperation("x" * 1000)), shown_name(NamedOperation("a\nb"))
    assert (120, True) == (len(str(long)), str(lines).startswith("a\\nb"))
    assert shown_name(NamedOperation("x" * 999 + "y")) != long


@pytest.mark.makes_hooks_fail
@pytest.mark.parametrize("error", [AttributeError(), RecursionError(), Exception(), TimeoutError()])
def test_an_error_of_a_name_is_counted_and_not_raised(error: Exception) -> None:
    before = internal_errors.count
    assert None is shown_name(FailingOperation(error))
    assert before + 1 == internal_errors.count


def test_the_names_of_many_are_those_of_each() -> None:
    named = [NamedOperation(f"kind {number}") for number in range(3)]
    foreign = [ForeignOperation(value) for value in (None, 5, "x" * 1000, "")]
    for operations in ([*named, None, named[0]], [*named, *foreign], [None, None], [named[0]] * 3):
        each = [found_name(one) if one is not None else None for one in operations]
        assert each == found_names(operations)


@pytest.mark.makes_hooks_fail
@pytest.mark.parametrize("error", [AttributeError(), Exception()])
def test_one_name_of_many_that_cannot_be_found_keeps_no_other_back(error: Exception) -> None:
    before = internal_errors.count
    operations = [NamedOperation("report"), FailingOperation(error), NamedOperation("mails")]
    assert ["report", None, "mails"] == found_names(operations)
    assert before + 1 == internal_errors.count


class Interrupted(Operation):
    """An exception of a time limit comes while the name is asked for, once."""

    def __init__(self, error: BaseException) -> None:
        self.errors = [error]

    def name(self) -> str:
        while self.errors:
            raise self.errors.pop()
        return "report"


class TimeLimitExceededError(Exception):
    """What a queue of tasks raises in the thread of a task that takes too long."""


@pytest.mark.parametrize(
    "error", [TimeLimitExceededError(), TimeoutError(), KeyboardInterrupt(), SystemExit()]
)
def test_an_exception_from_outside_goes_on(error: BaseException) -> None:
    operation = Interrupted(error)
    with pytest.raises(type(error)):
        shown_name(operation)
    assert "report" == shown_name(operation)
    operation.errors.append(error)
    with pytest.raises(type(error)):
        found_names([None, operation])

"""`instrument` says what it takes, and takes nothing else."""

from __future__ import annotations

from typing import Any

import flask
import pytest
from celery import Celery

from applications.seen import Seen
from poolscope.applications.instrument import instrument
from poolscope.callsites.operations import current_operation, operation


async def one_argument(scope: Any) -> None: ...
def no_argument() -> None: ...
async def two_arguments(environ: Any, start_response: Any) -> None: ...


@pytest.mark.parametrize(
    "app", [None, 1, "app", object(), flask.Flask, one_argument, no_argument, two_arguments]
)
def test_anything_else_is_a_type_error(app: Any) -> None:
    with pytest.raises(TypeError, match=r"instrument\(\) takes an application of FastAPI"):
        instrument(app)


@pytest.mark.parametrize("path", ["", "metrics", 1, b"/metrics"])
def test_a_path_that_is_none(path: Any) -> None:
    with pytest.raises(ValueError, match=r"a path that begins with '/', or None; got "):
        instrument(flask.Flask("shop"), metrics=path)


@pytest.mark.parametrize("name", [None, 1, b"report"])
def test_an_operation_whose_name_is_no_string(name: Any) -> None:
    with pytest.raises(TypeError, match=r"operation\(\) takes a name, a string; got "):
        operation(name)


def test_tasks_of_celery() -> None:
    seen = Seen()
    app, other = Celery("shop", broker="memory://"), Celery("other", broker="memory://")
    instrument(app)
    instrument(app)

    @app.task(name="shop.inner")
    def inner() -> None:
        seen.note("inner")

    @app.task(name="shop.outer")
    def outer() -> None:
        seen.note("before")
        inner.apply()
        seen.note("after")

    @app.task(name="shop.broken")
    def broken() -> None:
        seen.note("broken")
        raise LookupError

    @other.task(name="other.task")
    def task() -> None:
        seen.note("task")

    for each in (outer, broken, task):
        each.apply()
    assert {
        "before": "shop.outer", "inner": "shop.inner", "after": "shop.outer",
        "broken": "shop.broken", "task": None,
    } == seen.names()  # fmt: skip
    assert current_operation() is None

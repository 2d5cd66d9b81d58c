"""`poolscope.instrument`: has the requests or tasks of an application be operations."""

from __future__ import annotations

import inspect
import sys
from typing import Any, Final, TypeVar

from poolscope.applications.asgi import ASGIRequests, template_of_scope
from poolscope.applications.wsgi import WSGIRequests, instrument_flask, template_of_environ

App = TypeVar("App")

SUPPORTED: Final = (
    "instrument() takes an application of FastAPI, Starlette, Litestar, Flask, aiohttp.web or "
    "Celery, or a callable of ASGI or WSGI; for Django, add poolscope.django.Middleware to "
    "MIDDLEWARE"
)


def instrument(app: App, *, metrics: str | None = "/metrics") -> App:
    """
    Have each request of an application, or each task, be an operation: what connections are for.

    A request is named by its method and the template of its route (`GET /orders/{id}`), a task of
    Celery by its own name. What a request does after its answer is `background: GET /orders/{id}`.
    At the path `metrics` the application answers with the metrics; None adds no such route.

    Return the application; for callables of ASGI or WSGI that are of no framework that is known
    here, what is to be served in their place. Call it once, where the application is made.

    Raises TypeError for anything else, and ValueError for a path that does not begin with `/`.
    """
    if metrics is not None and not (isinstance(metrics, str) and metrics.startswith("/")):
        raise ValueError(f"metrics must be a path that begins with '/', or None; got {metrics!r}")
    instrumented: Any = _instrument(app, metrics)
    result: App = instrumented
    return result


def _instrument(app: Any, metrics: str | None) -> Any:
    if isinstance(app, (ASGIRequests, WSGIRequests)):
        return app
    # What a framework needs is imported here: some of it imports asyncio, as poolscope must not.
    if _is_a(app, "starlette.applications", "Starlette"):
        from poolscope.applications.starlette import instrument_starlette

        return instrument_starlette(app, metrics)
    if _is_a(app, "flask", "Flask"):
        return instrument_flask(app, metrics)
    if _is_a(app, "aiohttp.web", "Application"):
        from poolscope.applications.aiohttp_web import instrument_aiohttp

        return instrument_aiohttp(app, metrics)
    if _is_a(app, "celery", "Celery"):
        from poolscope.applications.celery import instrument_celery

        return instrument_celery(app)
    if isinstance(app, type) or type(app).__module__.partition(".")[0] == "django":
        raise TypeError(f"{SUPPORTED}; got {app!r}")
    if _takes(app, 3) and _is_async(app):
        return ASGIRequests(app, template_of_scope, path=metrics)
    if _takes(app, 2) and not _is_async(app):
        return WSGIRequests(app, template_of_environ, by_framework=True, path=metrics)
    raise TypeError(f"{SUPPORTED}; got {app!r}")


def _is_a(app: Any, module: str, name: str) -> bool:
    """Return whether it is of a class of a module, which whoever has made it has imported."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(app, cls)


def _is_async(app: Any) -> bool:
    call: Any = app if inspect.isroutine(app) else app.__call__
    return inspect.iscoroutinefunction(inspect.unwrap(call))


def _takes(app: Any, count: int) -> bool:
    """Return whether it can be called with so many arguments by position."""
    if not callable(app):
        return False
    try:
        inspect.signature(app).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True

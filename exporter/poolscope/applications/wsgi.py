"""Applications of WSGI: Flask, and any other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from poolscope.applications.requests import (
    RequestOperation,
    answered,
    goes_on,
    is_part_of_a_request,
    request_of,
    step_of,
)
from poolscope.callsites.operations import Box, found_name
from poolscope.metrics.wsgi import make_wsgi_app

FindTemplate = Callable[[dict[str, Any]], "str | None"]
"""Returns the template of a request's route, from its environment."""


class WSGIRequests:
    """
    A WSGI application each of whose requests is an operation.

    by_framework: whether `find_template` needs what a framework leaves in the environment, and may
        take away at the end.
    path: where the metrics answer in the place of the application, if anywhere.
    """

    def __init__(
        self, app: Any, find_template: FindTemplate, by_framework: bool, path: str | None = None
    ) -> None:
        self.app = app
        self._find_template = find_template
        self._by_framework = by_framework
        self._path = path.rstrip("/") if path is not None else None
        self._metrics = make_wsgi_app() if path is not None else None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if is_part_of_a_request(environ):
            body: Iterable[bytes] = self.app(environ, start_response)
            return body
        path = str(environ.get("PATH_INFO", "")).rstrip("/")
        app = self._metrics if self._metrics is not None and path == self._path else self.app
        method = environ.get("REQUEST_METHOD")
        known = environ if self._by_framework else _texts(environ)
        find_template = functools.partial(self._find_template, known)
        later = None if self._by_framework else find_template
        operation = RequestOperation(method, find_template, later)

        def start(*args: Any, **kwargs: Any) -> Any:
            found_name(operation)  # while the framework knows it
            return start_response(*args, **kwargs)

        with request_of(operation) as box:
            body = app(environ, start if self._by_framework else start_response)
        if isinstance(body, (list, tuple)) or _is_of_a_file(body, environ):
            return body
        goes_on(box, operation)
        return Body(body, box, operation)


class Body:
    """A body whose parts are made as a part of the request, while they are sent."""

    def __init__(self, body: Iterable[bytes], box: Box, operation: RequestOperation) -> None:
        self._body = body
        self._box = box
        self._operation = operation
        self._parts: Iterator[bytes] | None = None

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        with step_of(self._box):
            if self._parts is None:
                self._parts = iter(self._body)
            return next(self._parts)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                with step_of(self._box):
                    close()
        finally:
            answered(self._box, self._operation)


def _texts(environ: dict[str, Any]) -> dict[str, Any]:
    """Return a copy without the objects of the request; what decides about the route is text."""
    return {name: value for name, value in environ.items() if isinstance(value, str)}


def template_of_environ(environ: dict[str, Any]) -> str | None:
    """Return the template that a framework has left in the environment of a request."""
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)  # Flask, until its end
    if rule is None:
        rule = environ.get("bottle.route")
    template = getattr(rule, "rule", None)
    return template if isinstance(template, str) else None


def _is_of_a_file(body: Any, environ: dict[str, Any]) -> bool:
    """Return whether the server may send the body by itself, which it does only for its own."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


def instrument_flask(app: Any, metrics: str | None) -> Any:
    """Have each request be an operation; add a route to the metrics."""
    if metrics is not None and metrics not in {rule.rule for rule in app.url_map.iter_rules()}:
        served = make_wsgi_app()
        path = metrics.rstrip("/") or "/"
        app.add_url_rule(path, "poolscope_metrics", lambda: served, strict_slashes=False)
        if path != "/":
            app.add_url_rule(f"{path}/", "poolscope_metrics_of_folder", lambda: served)
    if isinstance(app.wsgi_app, WSGIRequests):
        return app
    find_template = functools.partial(_template_in, app.url_map)
    app.wsgi_app = WSGIRequests(app.wsgi_app, find_template, by_framework=False)
    return app


def _template_in(url_map: Any, environ: dict[str, Any]) -> str | None:
    """
    Return the rule that matches. Flask forgets it at the end of a request, so it is found again.
    """
    from werkzeug.exceptions import HTTPException

    try:
        rule, _ = url_map.bind_to_environ(environ).match(return_rule=True)
    except HTTPException:
        return None
    return str(rule.rule)

"""A WSGI app that serves the metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from poolscope.metrics.registries import DEFAULT, Registry
from poolscope.metrics.responses import (
    Response,
    metrics_response,
    short_response,
    text_response,
)

WSGIApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class WSGIMetrics:
    """
    Serves the metrics of a registry, at whichever path it is asked.

    Who mounts it, or calls it, decides at which path that is.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return _start(self._respond(environ), start_response)

    def _respond(self, environ: dict[str, Any]) -> Response:
        method = environ["REQUEST_METHOD"]
        return short_response(method) or metrics_response(
            self._registry,
            method,
            environ.get("HTTP_ACCEPT", ""),
            environ.get("HTTP_ACCEPT_ENCODING", ""),
            environ.get("QUERY_STRING", ""),
        )


def _start(response: Response, start_response: Any) -> list[bytes]:
    start_response(f"{response.status} {response.reason}", response.headers)
    return response.parts


def make_wsgi_app(registry: Registry = DEFAULT) -> WSGIMetrics:
    """
    Return a WSGI app that serves the metrics: mounted in another one, or on its own.

    In Flask, `DispatcherMiddleware(app.wsgi_app, {"/metrics": poolscope.make_wsgi_app()})` of
    werkzeug mounts it; a Flask view may also return it. The registry is by default
    `prometheus_client.REGISTRY`.
    """
    return WSGIMetrics(registry)


def at_path(app: WSGIApp, path: str) -> WSGIApp:
    """Return an app that serves another one at this path, with or without a slash at its end."""

    def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"].removesuffix("/") == path:
            return app(environ, start_response)
        method = environ["REQUEST_METHOD"]
        text = f"the metrics are at {path}"
        return _start(text_response(404, "Not Found", text, method), start_response)

    return serve

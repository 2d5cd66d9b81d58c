"""A WSGI app that serves the metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from poolscope.metrics.registries import DEFAULT, Registry
from poolscope.metrics.responses import Metrics, Request


class WSGIMetrics:
    """
    Serves the metrics of a registry, at whichever path it is asked.

    Who mounts it, or calls it, decides at which path that is.
    """

    def __init__(self, registry: Registry) -> None:
        self._metrics = Metrics(registry)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        response = self._metrics.respond(
            Request(
                environ["REQUEST_METHOD"],
                environ.get("HTTP_ACCEPT", ""),
                environ.get("HTTP_ACCEPT_ENCODING", ""),
                environ.get("QUERY_STRING", ""),
            )
        )
        # Lists of its own, because the response is shared, and middleware may add to them.
        start_response(f"{response.status} {response.reason}", list(response.headers))
        return list(response.parts)


def make_wsgi_app(registry: Registry = DEFAULT) -> WSGIMetrics:
    """
    Return a WSGI app that serves the metrics: mounted in another one, or on its own.

    In Flask, `DispatcherMiddleware(app.wsgi_app, {"/metrics": poolscope.make_wsgi_app()})` of
    werkzeug mounts it; a Flask view may also return it. The registry is by default
    `prometheus_client.REGISTRY`. Requests that come at the same time share one rendering.
    """
    return WSGIMetrics(registry)

"""A WSGI app that serves the metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, overload

from poolscope.metrics.registries import DEFAULT, Registry
from poolscope.metrics.responses import Metrics, Request
from poolscope.metrics.views import view_for


class WSGIApp(Protocol):
    """A WSGI app that may also be a view of Flask, which has no arguments, or of Django."""

    @overload
    def __call__(self, environ: dict[str, Any], start_response: Any, /) -> Iterable[bytes]: ...
    @overload
    def __call__(self, request: Any = ..., /) -> Any: ...


class WSGIMetrics:
    """
    Serves the metrics of a registry, at whichever path it is asked.

    Who mounts it, calls it, or has a route to it, decides at which path that is.
    """

    csrf_exempt = True
    """For Django: no form is sent here, and any method but GET and HEAD is refused."""

    def __init__(self, registry: Registry) -> None:
        self._metrics = Metrics(registry)
        # Flask names the endpoint so, and Django the view.
        self.__name__ = self.__qualname__ = "poolscope_metrics"

    def __call__(self, *args: Any) -> Any:
        if not args:
            return self  # Flask calls what a view returns as a WSGI app
        if len(args) == 1:
            ask, answer = view_for(args[0])
            return answer(self._metrics.respond(ask(args[0])))
        return self._serve(*args)

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
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


def make_wsgi_app(registry: Registry = DEFAULT) -> WSGIApp:
    """
    Return a WSGI app that serves the metrics: as a view of Flask or Django, mounted, or on its own.

    `app.add_url_rule("/metrics", view_func=poolscope.make_wsgi_app(), strict_slashes=False)` of
    Flask, and `re_path("^metrics/?$", poolscope.make_wsgi_app())` of Django, serve `/metrics` and
    `/metrics/`. The registry is by default `prometheus_client.REGISTRY`. Requests that come at the
    same time share one rendering.
    """
    return WSGIMetrics(registry)

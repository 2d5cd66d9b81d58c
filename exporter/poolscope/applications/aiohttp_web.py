"""Applications of aiohttp.web."""

from __future__ import annotations

from typing import Any

from poolscope.applications.requests import RequestOperation, request_of
from poolscope.callsites.operations import current_operation
from poolscope.metrics.http_server import make_asgi_app


def instrument_aiohttp(app: Any, metrics: str | None) -> Any:
    """
    Have each request be an operation; add a route to the metrics.

    Raises RuntimeError if the application has started, after which it takes no middleware.
    """
    from aiohttp import web

    ours = [each for each in app.middlewares if hasattr(each, "_is_poolscope")]
    if ours and (metrics is None or ours[0]._is_poolscope):
        return app
    if app.frozen:
        raise RuntimeError(
            "instrument() must be called before the application starts: it takes no middleware now"
        )
    if ours:
        ours[0]._is_poolscope = metrics
        _add_route(app, str(metrics))
        return app

    @web.middleware
    async def request_is_an_operation(request: Any, handler: Any) -> Any:
        if isinstance(current_operation(), RequestOperation):  # of the application around this one
            return await handler(request)
        operation = RequestOperation(request.method, lambda: _template_of(request))
        with request_of(operation):
            return await handler(request)

    request_is_an_operation._is_poolscope = metrics  # type: ignore[attr-defined]  # a mark
    app.middlewares.insert(0, request_is_an_operation)
    if metrics is not None:
        _add_route(app, metrics)
    return app


def _template_of(request: Any) -> str | None:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else None


def _add_route(app: Any, path: str) -> None:
    metrics = make_asgi_app()
    path = path.rstrip("/") or "/"
    taken = {resource.canonical for resource in app.router.resources()}
    for each in dict.fromkeys((path, f"{path.rstrip('/')}/")):
        if each not in taken:
            app.router.add_get(each, metrics)

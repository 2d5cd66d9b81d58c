"""Applications of ASGI: FastAPI, Starlette, Litestar, and any other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Final

from poolscope.applications.requests import (
    RequestOperation,
    answered,
    is_part_of_a_request,
    request_of,
)
from poolscope.metrics.http_server import make_asgi_app

FindTemplate = Callable[[Any], "str | None"]
"""Returns the template of a request's route, from its scope."""

ROUTING: Final = ("type", "method", "path", "root_path", "headers", "scheme", "server")
"""What of a scope decides about the route."""


class ASGIRequests:
    """
    An ASGI application each of whose requests is an operation.

    The scope is kept while a request lasts, because the route is known only after middleware has
    run.

    find_template: is given the scope as it is when somebody asks.
    match: finds the template anew, from the part of the scope that decides about it, as it was at
        the beginning; None if that is not known here.
    path: where the metrics answer in the place of the application, if anywhere.
    """

    def __init__(
        self,
        app: Any,
        find_template: FindTemplate,
        match: FindTemplate | None = None,
        path: str | None = None,
    ) -> None:
        self.app = app
        self._find_template = find_template
        self._match = match
        self._path = path.rstrip("/") if path is not None else None
        self._metrics = make_asgi_app() if path is not None else None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket") or is_part_of_a_request(scope):
            await self.app(scope, receive, send)
            return
        app: Any = self._metrics if self._is_for_metrics(scope) else self.app
        method = "WEBSOCKET" if scope["type"] == "websocket" else scope.get("method")
        operation = self._operation(method, scope)

        async def send_of_request(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered(box, operation)

        with request_of(operation) as box:
            await app(scope, receive, send_of_request)

    def _operation(self, method: Any, scope: Any) -> RequestOperation:
        if self._match is None:
            return RequestOperation(method, functools.partial(self._find_template, scope))
        # Mounts change it.
        begun = {key: scope[key] for key in ROUTING if key in scope}
        match = functools.partial(self._match, begun)
        root_path = scope.get("root_path")

        def find_template() -> str | None:
            known = self._find_template(scope) if scope.get("root_path") == root_path else None
            return known or match()

        return RequestOperation(method, find_template, match)

    def _is_for_metrics(self, scope: Any) -> bool:
        if self._metrics is None or scope["type"] != "http":
            return False
        path: str = scope.get("path", "")
        return path.removeprefix(scope.get("root_path", "")).rstrip("/") == self._path


def template_of_scope(scope: Any) -> str | None:
    """Return the template that a framework has left in the scope of a request."""
    template = scope.get("path_template")  # Litestar
    if isinstance(template, str):
        return template
    router = scope.get("router")  # Starlette, inside of another application
    if router is not None:
        return template_in(getattr(router, "routes", ()), scope)
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def template_in(routes: Iterable[Any], scope: Any) -> str | None:
    """
    Return the template of the route of Starlette that matches, with those of its mounts.

    To match changes nothing. It is done when somebody asks, and not for each request.
    """
    for route in routes:
        match, child = route.matches(scope)
        if match.name != "FULL":
            continue
        path = getattr(route, "path", "")
        inner = _inner_routes(route)
        if not inner:
            return str(path)
        rest = template_in(inner, {**scope, **child})
        return f"{path}{rest}" if rest is not None else None
    return None


def _inner_routes(route: Any) -> Any:
    """Return the routes of a mount, or of a router of FastAPI that is included; else None."""
    candidates = getattr(route, "effective_candidates", None)  # FastAPI, checked with 0.165
    if candidates is not None:
        return candidates()
    return getattr(getattr(route, "starlette_route", None) or route, "routes", None)

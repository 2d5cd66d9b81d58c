"""An ASGI app that serves the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, overload

from poolscope.metrics import starlette_routes
from poolscope.metrics.awaiting import awaited_response
from poolscope.metrics.registries import Registry
from poolscope.metrics.responses import Metrics, Request, Response

if TYPE_CHECKING:
    from collections.abc import Coroutine


class ASGIApp(Protocol):
    """
    An ASGI app that may also be the endpoint of a route.

    The second form is for type checkers only: in Starlette's types, as opposed to what Starlette
    does, every endpoint takes a request.
    """

    @overload
    def __call__(self, scope: Any, receive: Any, send: Any) -> Coroutine[Any, Any, None]: ...
    @overload
    def __call__(self, request: Any, /) -> Any: ...


class ASGIMetrics:
    """
    Serves the metrics of a registry, at whichever path it is asked.

    Who mounts it, or has a route to it, decides at which path that is. It is an object because
    Starlette takes a function that is an endpoint for one that takes a request.
    """

    def __init__(self, registry: Registry) -> None:
        self._metrics = Metrics(registry)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await _send(await self._respond(scope), send)
        else:
            raise ValueError(f"metrics are served by HTTP only, not by {scope['type']}")

    async def _respond(self, scope: Any) -> Response:
        request = Request(
            scope.get("method", "GET"),
            _header(scope, b"accept"),
            _header(scope, b"accept-encoding"),
            scope.get("query_string", b"").decode("latin-1"),
        )
        return await awaited_response(self._metrics, request)


def app_of(registry: Registry) -> ASGIApp:
    """Return an ASGI app that serves the metrics of the registry."""
    starlette_routes.serve_with_and_without_slash(ASGIMetrics)
    app: Any = ASGIMetrics(registry)
    served: ASGIApp = app
    return served


async def _live(receive: Any, send: Any) -> None:
    """Answer a server, or a dispatcher, that tells the app of its start and its end."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _header(scope: Any, name: bytes) -> str:
    values: list[bytes] = [value for key, value in scope.get("headers", ()) if key.lower() == name]
    return b",".join(values).decode("latin-1")


async def _send(response: Response, send: Any) -> None:
    # In lower case, as ASGI says: middleware that compresses looks for `content-encoding`.
    headers = [(name.lower().encode(), value.encode()) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    for part in response.parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})

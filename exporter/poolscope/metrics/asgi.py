"""An ASGI app that serves the metrics."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import TYPE_CHECKING, Any, Protocol, overload

from poolscope.metrics import starlette_routes
from poolscope.metrics.awaiting import awaited_response
from poolscope.metrics.registries import Registry
from poolscope.metrics.responses import Metrics, Request, Response
from poolscope.metrics.views import view_for

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
    Starlette takes a function that is an endpoint for one that takes a request; so do aiohttp.web
    and Django, which take an object for that, too.
    """

    csrf_exempt = True
    """For Django: no form is sent here, and any method but GET and HEAD is refused."""

    def __init__(self, registry: Registry) -> None:
        self._metrics = Metrics(registry)
        self.__name__ = self.__qualname__ = "poolscope_metrics"  # Django names the view so
        _mark_as_coroutine_function(self)

    async def __call__(self, scope: Any, receive: Any = None, send: Any = None) -> None:
        """With one argument, a request, it returns the response; Litestar must not know of that."""
        if send is None:
            return await self._respond_to(scope)  # type: ignore[no-any-return]  # as it says
        return await self._serve(scope, receive, send)

    async def _respond_to(self, request: Any) -> Any:
        ask, answer = view_for(request)
        return answer(await awaited_response(self._metrics, ask(request)))

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
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


def _mark_as_coroutine_function(app: Any) -> None:
    """Have aiohttp.web and Django await what a call returns."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(app)
    else:
        app._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # private


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

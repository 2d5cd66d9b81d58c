"""An ASGI app that serves the metrics."""

from __future__ import annotations

import functools
from asyncio import _get_running_loop, get_running_loop
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, overload

from poolscope.metrics import starlette_routes
from poolscope.metrics.registries import Registry
from poolscope.metrics.responses import Response, metrics_response, short_response

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


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
        self._registry = registry

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await _send(await self._respond(scope), send)
        else:
            raise ValueError(f"metrics are served by HTTP only, not by {scope['type']}")

    async def _respond(self, scope: Any) -> Response:
        method = scope.get("method", "GET")
        short = short_response(method)
        if short is not None:
            return short
        accept, encoding = _header(scope, b"accept"), _header(scope, b"accept-encoding")
        query = scope.get("query_string", b"").decode("latin-1")
        render = functools.partial(
            metrics_response, self._registry, method, accept, encoding, query
        )
        # The event loop of another library, such as trio, cannot wait for a thread this way.
        return render() if _get_running_loop() is None else await _in_thread(render)


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


async def _in_thread(render: Callable[[], Response]) -> Response:
    """
    Render in a thread, so that the event loop keeps running.

    The thread is a new one: those of the service's executor may all be waiting for a connection,
    and a thread that was started before a fork does not exist in the child.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="poolscope-metrics")
    try:
        return await get_running_loop().run_in_executor(thread, render)
    finally:
        thread.shutdown(wait=False)


def _header(scope: Any, name: bytes) -> str:
    values: list[bytes] = [value for key, value in scope["headers"] if key.lower() == name]
    return b",".join(values).decode("latin-1")


async def _send(response: Response, send: Any) -> None:
    # In lower case, as ASGI says: middleware that compresses looks for `content-encoding`.
    headers = [(name.lower().encode(), value.encode()) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    for part in response.parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})

"""An ASGI app that serves the metrics."""

from __future__ import annotations

import functools
from asyncio import _get_running_loop, get_running_loop
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry

from poolscope.metrics.rendering import Rendered, rendered


def app_of(registry: CollectorRegistry) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """Return an ASGI app that serves the metrics of the registry."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError(f"metrics are served by HTTP only, not by {scope['type']}")
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        accept, encoding = _header(scope, b"accept"), _header(scope, b"accept-encoding")
        render = functools.partial(rendered, registry, accept, encoding, query)
        # The event loop of another library, such as trio, cannot wait for a thread this way.
        await _send(render() if _get_running_loop() is None else await _in_thread(render), send)

    return app


async def _in_thread(render: Callable[[], Rendered]) -> Rendered:
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


async def _send(answer: Rendered, send: Any) -> None:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for part in answer.parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})

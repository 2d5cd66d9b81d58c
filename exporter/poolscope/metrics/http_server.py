"""`/metrics` of the service itself: a server of its own, or an ASGI app to mount."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterable
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIServer

import prometheus_client
from prometheus_client import REGISTRY, CollectorRegistry

from poolscope.metrics.rendering import rendered
from poolscope.pauses import pauses

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

FAVICON: Final = "/favicon.ico"


def start_http_server(
    port: int = 10464,
    addr: str = "127.0.0.1",
    *,
    registry: CollectorRegistry = REGISTRY,
) -> tuple[WSGIServer, Thread]:
    """
    Serve the metrics at `http://ADDR:PORT/metrics` from a daemon thread.

    Returns the server and its thread; `server.shutdown()` and `server.server_close()` stop them.
    With port 0 the system chooses a free port, which is `server.server_port`. Raises OSError if
    the server cannot listen there, as when another process uses the port.
    """
    try:
        server, thread = prometheus_client.start_http_server(port, addr, registry=registry)
    except OSError as error:
        what = f"cannot serve metrics at {addr}:{port}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            what += ", by another process or another worker of this service"
        raise OSError(error.errno, what) from error
    server.set_app(_wsgi_app(registry))
    # The thread wakes up twice a second, to see whether it should end: so it notices pauses.
    pauses().tick_on(thread)
    vars(server)["service_actions"] = pauses().tick
    return server, thread


def _wsgi_app(registry: CollectorRegistry) -> Callable[[Any, Any], Iterable[bytes]]:
    """Return the app of prometheus_client, except that it sends the metrics in parts."""
    original: Any = prometheus_client.make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET" or environ["PATH_INFO"] == FAVICON:
            answer: Iterable[bytes] = original(environ, start_response)
            return answer
        headers, parts = rendered(
            registry,
            environ.get("HTTP_ACCEPT", ""),
            environ.get("HTTP_ACCEPT_ENCODING", ""),
            parse_qs(environ.get("QUERY_STRING", "")),
        )
        start_response("200 OK", headers)
        return parts

    return app


def make_asgi_app(registry: CollectorRegistry = REGISTRY) -> ASGIApp:
    """
    Return an ASGI app that serves the metrics, to be mounted in FastAPI or Starlette.

    The metrics are collected in a thread, so that the event loop keeps running.
    """
    # Imported here because it imports asyncio, which not every service needs.
    from poolscope.metrics.asgi import app_of

    return app_of(registry)

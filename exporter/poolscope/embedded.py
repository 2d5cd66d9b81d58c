"""The exporter inside the service: `/metrics` as a server of its own, or as an ASGI app."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

import prometheus_client
from prometheus_client import REGISTRY, CollectorRegistry

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


def start_http_server(
    port: int = 10464,
    addr: str = "127.0.0.1",
    *,
    registry: CollectorRegistry = REGISTRY,
) -> tuple[WSGIServer, Thread]:
    """
    Serve the metrics at `http://ADDR:PORT/metrics` from a daemon thread.

    Returns the server, whose `shutdown()` and `server_close()` end it, and its thread; with port
    0 the system chooses one, which is in `server.server_port`. Raises OSError if it cannot listen
    there.
    """
    try:
        return prometheus_client.start_http_server(port, addr, registry=registry)
    except OSError as error:
        what = f"cannot serve metrics at {addr}:{port}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            what += ", by another process, or by another worker of this service"
        raise OSError(error.errno, what) from error


def make_asgi_app(registry: CollectorRegistry = REGISTRY) -> ASGIApp:
    """Return an ASGI app that serves the metrics, to be mounted in FastAPI or Starlette."""
    return prometheus_client.make_asgi_app(registry=registry)

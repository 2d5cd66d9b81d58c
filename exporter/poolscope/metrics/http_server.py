"""`/metrics` of the service itself: a server of its own, or an ASGI app to mount."""

from __future__ import annotations

import errno
from threading import Thread
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIServer

import prometheus_client

from poolscope.fleet.folder import DIR_VARIABLE
from poolscope.metrics.registries import DEFAULT, Registry, current
from poolscope.metrics.wsgi import at_path, make_wsgi_app
from poolscope.process.pauses import pauses

if TYPE_CHECKING:
    from poolscope.metrics.asgi import ASGIApp

PATH: Final = "/metrics"


def start_http_server(
    port: int = 10464,
    addr: str = "127.0.0.1",
    *,
    registry: Registry = DEFAULT,
) -> tuple[WSGIServer, Thread]:
    """
    Serve the metrics at `http://ADDR:PORT/metrics` from a daemon thread.

    Returns the server and its thread; `server.shutdown()` and `server.server_close()` stop them.
    With port 0 the system chooses a free port, which is `server.server_port`. The registry is by
    default `prometheus_client.REGISTRY`. Raises OSError if the server cannot listen there, as when
    another process uses the port.
    """
    try:
        server, thread = prometheus_client.start_http_server(port, addr, registry=current(registry))
    except OSError as error:
        what = f"cannot serve metrics at {addr}:{port}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            what += (
                ", perhaps by another worker of this service; for several processes, set "
                f"{DIR_VARIABLE} and run poolscope exporter, which serves the metrics of all"
            )
        raise OSError(error.errno, what) from error
    server.set_app(at_path(make_wsgi_app(registry), PATH))
    # The thread wakes up twice a second, to see whether it should end: so it notices pauses.
    pauses().tick_on(thread)
    vars(server)["service_actions"] = pauses().tick
    return server, thread


def make_asgi_app(registry: Registry = DEFAULT) -> ASGIApp:
    """
    Return an ASGI app that serves the metrics: as a route's endpoint, mounted, or on its own.

    `app.add_route("/metrics", poolscope.make_asgi_app())` of FastAPI and Starlette, and their
    `app.mount`, serve `/metrics` and `/metrics/`, without a redirect. The registry is by default
    `prometheus_client.REGISTRY`. The metrics are collected in a thread, so that the event loop
    keeps running.
    """
    # Imported here because it imports asyncio, which not every service needs.
    from poolscope.metrics.asgi import app_of

    return app_of(registry)

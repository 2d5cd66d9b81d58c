"""`/metrics` of the service itself: a server of its own, or an ASGI app to mount."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any, Protocol

from poolscope.fleet.folder import Folder
from poolscope.metrics.registries import DEFAULT, Registry
from poolscope.metrics.responses import Metrics
from poolscope.metrics.server import BACKLOG, MetricsServer
from poolscope.process.pauses import pauses

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Thread

    from poolscope.metrics.asgi import ASGIApp


class Server(Protocol):
    """What `start_http_server` has started."""

    @property
    def server_address(self) -> Any: ...
    @property
    def server_port(self) -> int: ...
    def shutdown(self) -> None: ...
    def server_close(self) -> None: ...


def start_http_server(
    port: int = 10464,
    addr: str = "127.0.0.1",
    *,
    registry: Registry = DEFAULT,
) -> tuple[Server, Thread]:
    """
    Serve the metrics at `http://ADDR:PORT/metrics` from a daemon thread.

    Returns the server and its thread; `server.shutdown()` stops them, and closes all connections.
    With port 0 the system chooses a free port, which is `server.server_port`. The registry is by
    default `prometheus_client.REGISTRY`. Raises OSError if the server cannot listen there, as when
    another process uses the port.

    With POOLSCOPE_DIR set, all processes of a service may call it with the same port: the first one
    serves the pools of all of them, and another one does when it has ended.
    """
    folder = Folder.of_environment().path if port else None
    try:
        if folder is not None:
            return _started_for_all(folder, addr, port, registry)
        listening = _listen(addr, port)
    except OSError as error:
        what = f"cannot serve metrics at {addr}:{port}: {error.strerror or error}"
        if error.errno == errno.EADDRINUSE:
            what += (
                ", perhaps by another worker of this service: set POOLSCOPE_DIR and run poolscope "
                "exporter (with the folder alone, one worker serves the metrics of all) or "
                "instrument the application with poolscope.instrument(app)"
            )
        raise OSError(error.errno, what) from error
    server = MetricsServer(listening, Metrics(registry))
    thread = server.start()
    # The thread wakes up twice a second, to see whether it should end: so it notices pauses.
    pauses().tick_on(thread)
    return server, thread


def _started_for_all(
    folder: Path, addr: str, port: int, registry: Registry
) -> tuple[Server, Thread]:
    from poolscope.metrics.turns import SharedServer

    server = SharedServer(folder, (addr, port), registry, _listen)
    return server, server.start()


def _listen(addr: str, port: int) -> socket.socket:
    """Return a socket that listens at the first address of the name. Raises OSError."""
    found = socket.getaddrinfo(addr, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


def make_asgi_app(registry: Registry = DEFAULT) -> ASGIApp:
    """
    Return an ASGI app that serves the metrics: as a route's endpoint, mounted, or on its own.

    `app.add_route("/metrics", poolscope.make_asgi_app())` of FastAPI and Starlette, and their
    `app.mount`, serve `/metrics` and `/metrics/`, without a redirect. The registry is by default
    `prometheus_client.REGISTRY`. The metrics are collected in a thread, so that the event loop
    keeps running. Requests that come at the same time share one rendering.
    """
    # Imported here because it imports asyncio, which not every service needs.
    from poolscope.metrics.asgi import app_of

    return app_of(registry)

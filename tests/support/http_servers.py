"""HTTP servers that answer in a thread until the test ends, with TLS or without."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from support.certificates import Certificate

Answer = Callable[[BaseHTTPRequestHandler], object]
"""Sends the answer to a request."""

Start = Callable[..., int]
"""Starts a server for an answer, and perhaps with a certificate; returns its port."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Let clients break off, or distrust its certificate: that is no error of the server."""


@contextmanager
def http_servers() -> Iterator[Start]:
    """Yield what starts a server; end all of them."""
    servers: list[tuple[_Server, Thread]] = []

    def start(send: Answer, shown: Certificate | None = None) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                send(self)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        server = _Server(("127.0.0.1", 0), Handler)
        if shown is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(shown.cert, shown.key)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return server.server_port

    try:
        yield start
    finally:
        for server, thread in servers:
            server.shutdown()
            thread.join()
            server.server_close()

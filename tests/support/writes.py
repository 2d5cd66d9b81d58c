"""A server that Prometheus sends its samples to, so that tests know when there are new ones."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Writes:
    """
    A web server on loopback that receives remote writes, and only counts them.

    A test that waits for data asks Prometheus again after each write.
    """

    def __init__(self) -> None:
        self._number = 0
        self._written = threading.Condition()
        writes = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                writes._add()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Write no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _add(self) -> None:
        with self._written:
            self._number += 1
            self._written.notify_all()

    @property
    def configuration(self) -> dict[str, Any]:
        """Return its entry in `remote_write` of the configuration of Prometheus."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {"url": url, "queue_config": {"batch_send_deadline": "100ms"}}

    @property
    def number(self) -> int:
        """How many writes have come."""
        return self._number

    def wait_for_more(self, number: int, deadline: float) -> bool:
        """Wait until more than `number` have come; return False if the deadline passes first."""
        with self._written:
            timeout = max(0.0, deadline - time.monotonic())
            return self._written.wait_for(lambda: self._number > number, timeout)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

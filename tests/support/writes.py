"""Who is told by a Prometheus whenever it has new samples."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Writes:
    """
    A web server on loopback that a Prometheus writes its samples to, as it would to a store.

    What they are does not matter, only that there are some: whoever waits for data looks again.
    """

    def __init__(self) -> None:
        self._number = 0
        self._news = threading.Condition()
        writes = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                writes._add()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _add(self) -> None:
        with self._news:
            self._number += 1
            self._news.notify_all()

    @property
    def configuration(self) -> dict[str, Any]:
        """Return what it is in the configuration of the Prometheus."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        return {"url": url, "queue_config": {"batch_send_deadline": "100ms"}}

    @property
    def number(self) -> int:
        """How many there were."""
        return self._number

    def wait_for_more(self, number: int, deadline: float) -> bool:
        """Wait until there were more than that; False if that is not before the deadline."""
        with self._news:
            left = max(0.0, deadline - time.monotonic())
            return self._news.wait_for(lambda: self._number > number, left)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

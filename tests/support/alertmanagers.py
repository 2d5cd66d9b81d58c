"""A real Alertmanager, and a receiver of its notifications."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.logs import LoggingProcess

LISTENING = re.compile(r"msg=\"Listening on\" address=(\S+:\d+)|address=(127\.0\.0\.1:\d+)")


class AlertmanagerProcess:
    """
    An Alertmanager on a free port of loopback.

    Raises AssertionError, with its log, if it does not accept the configuration.
    """

    def __init__(self, program: str, folder: Path, configuration: Path) -> None:
        self._process = LoggingProcess(
            [
                program,
                f"--config.file={configuration}",
                f"--storage.path={folder / 'alertmanager'}",
                "--web.listen-address=127.0.0.1:0",
                "--cluster.listen-address=",
            ]
        )
        try:
            listening = self._process.wait_for(LISTENING)
        except BaseException:
            self.kill()
            raise
        self.address = listening[1] or listening[2]

    def kill(self) -> None:
        self._process.kill()


class Receiver:
    """
    A web server on loopback that keeps the alerts of all webhooks it receives.

    notices: the path and the alert of each; secrets: the values of the Authorization header.
    """

    def __init__(self) -> None:
        self.notices: list[tuple[str, Any]] = []
        self.secrets: set[str] = set()
        self._received = threading.Condition()
        notices, secrets, received = self.notices, self.secrets, self._received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"]))
                secrets.add(self.headers["Authorization"])
                alerts = json.loads(text)["alerts"]
                with received:
                    notices.extend((self.path, alert) for alert in alerts)
                    received.notify_all()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Write no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def wait_for(self, wanted: Callable[[str, Any], bool], patience: float = 90.0) -> Any:
        """Return the first alert that is wanted, and wait for it if it has not come yet."""

        def first() -> Any:
            return next((alert for path, alert in self.notices if wanted(path, alert)), None)

        with self._received:
            alert = self._received.wait_for(first, patience)
        assert alert, self.notices
        return alert

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

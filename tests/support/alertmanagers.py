"""A real Alertmanager, and who gets its notices."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.waiting import PATIENCE

LISTENING = re.compile(r"msg=\"Listening on\" address=(\S+:\d+)|address=(127\.0\.0\.1:\d+)")


class AlertmanagerProcess:
    """One on a free port of loopback; fails with its log if it does not accept the file."""

    def __init__(self, program: str, folder: Path, configuration: Path) -> None:
        self.log = folder / "alertmanager.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    program,
                    f"--config.file={configuration}",
                    f"--storage.path={folder / 'alertmanager'}",
                    "--web.listen-address=127.0.0.1:0",
                    "--cluster.listen-address=",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.address = self._address()

    def _address(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while not (found := LISTENING.search(self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        return found[1] or found[2]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Receiver:
    """
    A web server on loopback that keeps what is posted to it.

    notices: path and alert of each; secrets: what came as authorization.
    """

    def __init__(self) -> None:
        self.notices: list[tuple[str, Any]] = []
        self.secrets: set[str] = set()
        notices, secrets = self.notices, self.secrets

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"]))
                secrets.add(self.headers["Authorization"])
                notices.extend((self.path, alert) for alert in json.loads(text)["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def wait_for(self, wanted: Callable[[str, Any], bool], patience: float = 90.0) -> Any:
        """Return the first alert that is wanted, of those that came or come."""
        deadline = time.monotonic() + patience
        while True:
            for path, alert in list(self.notices):
                if wanted(path, alert):
                    return alert
            assert time.monotonic() < deadline, self.notices
            time.sleep(0.05)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

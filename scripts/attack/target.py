"""An exporter to attack, in a process of its own, and what asks it meanwhile."""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Target:
    """
    A running exporter.

    log: what it has written; complete once it has ended.
    """

    def __init__(self, process: Any, port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def memory(self) -> float:
        """Return the resident memory, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    def cpu(self) -> float:
        """Return the seconds of CPU time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208 - only the number

    def ask(
        self, path: str = "/metrics", source: str = "127.0.0.1", user: str | None = None
    ) -> tuple[int, float]:
        """Return the status of a request on a new connection, and the seconds it took."""
        began = time.monotonic()
        headers = {} if user is None else {"Authorization": authorization(user)}
        client = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=60, source_address=(source, 0)
        )
        try:
            client.request("GET", path, headers=headers)
            response = client.getresponse()
            response.read()
            return response.status, time.monotonic() - began
        except (OSError, http.client.HTTPException):
            return 0, time.monotonic() - began
        finally:
            client.close()

    def stop(self) -> tuple[int, float]:
        """End it with SIGTERM; return its exit code, and the seconds it took."""
        began = time.monotonic()
        self.process.terminate()
        return self.process.wait(timeout=60), time.monotonic() - began


def authorization(user: str) -> str:
    """Return the header of a name and a password, `NAME:PASSWORD`."""
    return "Basic " + base64.b64encode(user.encode()).decode()


@contextmanager
def target(web_config: str = "", folder: Path | None = None) -> Iterator[Target]:
    """Run an exporter with this web config file on a free port."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "web.yml").write_text(web_config)
        log = path / "log"
        command = [
            *(sys.executable, "-m", "poolscope", "exporter", "--dir", str(folder or path / "p")),
            *("--web.listen-address", "127.0.0.1:0", "--log.format", "json"),
            *("--web.config.file", str(path / "web.yml")),
        ]
        with log.open("wb") as lines:
            process = subprocess.Popen(command, stderr=lines)
        try:
            while "\n" not in log.read_text():
                time.sleep(0.05)
            url = json.loads(log.read_text().splitlines()[0])["message"].split()[1]
            yield Target(process, int(url.split(":")[2].partition("/")[0]), log)
        finally:
            process.kill()
            process.wait()

"""The command `poolscope exporter` as a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support import pools_schema
from support.waiting import PATIENCE


class ExporterProcess:
    """An exporter on a free port of the loopback interface."""

    def __init__(self, folder: Path, *options: str, address: str = "127.0.0.1:0") -> None:
        self.command = [
            *(sys.executable, "-m", "poolscope", "exporter", "--dir", str(folder)),
            *("--web.listen-address", address, "--log.format", "json", *options),
        ]
        started = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        self.process: Any = started  # Any: its pipe is not None
        self.log = list(self._first_lines())
        self.url = self.log[0]["message"].removeprefix("serving ").rpartition("/")[0]

    def _first_lines(self) -> Iterator[Any]:
        """Yield what it logs when it starts: where it serves, and last what it reads."""
        for line in self.process.stderr:
            entry = json.loads(line)
            yield entry
            if entry["message"].startswith("reading "):
                return

    def wait_for_event(self, event: str) -> Any:
        """Read the log up to the next entry with this event, and return that entry."""
        for line in self.process.stderr:
            self.log.append(json.loads(line))
            if self.log[-1].get("event") == event:
                return self.log[-1]
        raise AssertionError(self.log)

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        request = urllib.request.Request(f"{self.url}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                body = response.read()
                if path == "/api/v1/pools" and "Content-Encoding" not in response.headers:
                    pools_schema.check(json.loads(body))
                return response.status, dict(response.headers), body
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return all samples, by name and labels."""
        text = self.get("/metrics")[2].decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def stop(self) -> int:
        """Stop it with SIGTERM, and return its exit code."""
        self.process.terminate()
        _, rest = self.process.communicate(timeout=PATIENCE)
        self.log += [json.loads(line) for line in rest.splitlines()]
        code: int = self.process.returncode
        return code

    def kill(self) -> None:
        """Kill it unless it has ended."""
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


@pytest.fixture
def exporter(folder: Path) -> Iterator[ExporterProcess]:
    """An exporter of the folder that the workers of the test share."""
    exporter = ExporterProcess(folder)
    yield exporter
    exporter.kill()

"""A real Prometheus, which scrapes what it is told."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from support.waiting import PATIENCE

Job = Mapping[str, Any]

LISTENING = re.compile(r'msg="Listening on".* address=(\S+:\d+)')


def job(name: str, *targets: str, labels: Mapping[str, str] | None = None, **more: Any) -> Job:
    """
    Return the configuration of a job.

    targets: host:port, or the address of a server.
    labels: what all series get besides.
    more: as in Prometheus's configuration, such as relabel_configs.
    """
    hosts = [target.removeprefix("http://").rstrip("/") for target in targets]
    return {"job_name": name, "static_configs": [{"targets": hosts, "labels": labels or {}}]} | more


class PrometheusServer:
    """
    One server on a free port of loopback, in `folder`.

    Raises AssertionError, with its log, when it does not accept its configuration.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        jobs: Sequence[Job],
        *,
        rules: Sequence[Path] = (),
        alertmanagers: Sequence[str] = (),
    ) -> None:
        each_second = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        configuration = folder / "prometheus.yml"
        # JSON is YAML too.
        configuration.write_text(
            json.dumps(
                {
                    "global": each_second,
                    "scrape_configs": list(jobs),
                    "rule_files": [str(rule.absolute()) for rule in rules],
                    "alerting": {
                        "alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]
                    },
                }
            )
        )
        self.log = folder / "prometheus.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    program,
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    "--web.listen-address=127.0.0.1:0",
                    "--log.format=logfmt",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self.client = httpx.Client(base_url=self._address(), timeout=PATIENCE)
            self._until_it_is_ready()
        except BaseException:
            self.kill()
            raise

    def _alive(self, deadline: float) -> None:
        """Fail if it has ended, or if it is too late; else give it a moment."""
        if self.process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(self.log.read_text())
        time.sleep(0.02)

    def _address(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while not (found := LISTENING.search(self.log.read_text())):
            self._alive(deadline)
        return f"http://{found[1]}"

    def _until_it_is_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.client.get("/-/ready").status_code != httpx.codes.OK:
            self._alive(deadline)

    @property
    def url(self) -> str:
        return str(self.client.base_url).rstrip("/")

    def ask(self, path: str, **parameters: Any) -> Any:
        """Return the data of an answer of its API; raises ValueError if it says what is wrong."""
        answer = self.client.get(f"/api/v1/{path}", params=parameters).json()
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        return answer["data"]

    def query(self, expression: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each series, now or at a time; a scalar has no labels."""
        data = self.ask("query", query=expression, **({} if at is None else {"time": at}))
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def query_range(
        self, expression: str, start: float, end: float, step: float
    ) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """Return the labels, and the times and values, of each series; all in seconds."""
        data = self.ask("query_range", query=expression, start=start, end=end, step=step)
        return [
            (series["metric"], [(float(at), float(value)) for at, value in series["values"]])
            for series in data["result"]
        ]

    def series(self, *selectors: str) -> list[dict[str, str]]:
        """Return the labels of all series that there are, `__name__` included."""
        found: list[dict[str, str]] = self.ask("series", **{"match[]": list(selectors)})
        return found

    def label_values(self, label: str, selector: str | None = None) -> list[str]:
        only = {} if selector is None else {"match[]": selector}
        found: list[str] = self.ask(f"label/{label}/values", **only)
        return found

    def wait_for(
        self, expression: str, patience: float = PATIENCE
    ) -> list[tuple[dict[str, str], float]]:
        """Ask again and again until there is something; return that."""
        deadline = time.monotonic() + patience
        while not (found := self.query(expression)):
            assert time.monotonic() < deadline, f"never: {expression}"
            time.sleep(0.02)
        return found

    def kill(self) -> None:
        """End it, if it has not ended."""
        self.process.kill()
        self.process.wait()
        if hasattr(self, "client"):
            self.client.close()

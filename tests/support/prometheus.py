"""A real Prometheus, which scrapes what it is told."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from support.logs import LoggingProcess
from support.waiting import PATIENCE
from support.writes import Writes

Job = Mapping[str, Any]

LISTENING = re.compile(r'msg="Listening on".* address=(\S+:\d+)')

READY = re.compile(r'msg="Server is ready to receive web requests')


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
        self._writes = Writes()
        configuration = folder / "prometheus.yml"
        # JSON is YAML too.
        configuration.write_text(
            json.dumps(
                {
                    "global": each_second,
                    "scrape_configs": list(jobs),
                    "remote_write": [self._writes.configuration],
                    "rule_files": [str(rule.absolute()) for rule in rules],
                    "alerting": {
                        "alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]
                    },
                }
            )
        )
        self._process = LoggingProcess(
            [
                program,
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
                "--log.format=logfmt",
            ]
        )
        try:
            address = self._process.wait_for(LISTENING)[1]
            self._process.wait_for(READY)
            self.client = httpx.Client(base_url=f"http://{address}", timeout=PATIENCE)
        except BaseException:
            self.kill()
            raise

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
        """Ask whenever there are new samples, until there is something; return that."""
        deadline = time.monotonic() + patience
        while True:
            number = self._writes.number
            if found := self.query(expression):
                return found
            assert self._writes.wait_for_more(number, deadline), f"never: {expression}"

    def kill(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()
        self._writes.close()
        if hasattr(self, "client"):
            self.client.close()

"""A real Prometheus that scrapes given targets."""

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
    Return the configuration of a scrape job.

    targets: host:port, or the URL of a server.
    labels: labels that are added to all series.
    more: other settings of Prometheus, such as relabel_configs.
    """
    hosts = [target.removeprefix("http://").rstrip("/") for target in targets]
    return {"job_name": name, "static_configs": [{"targets": hosts, "labels": labels or {}}]} | more


class PrometheusServer:
    """
    A server on a free port of loopback, with its files in `folder`.

    Raises AssertionError, with its log, if it does not accept its configuration.
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
        every_second = {
            "scrape_interval": "1s",
            "scrape_timeout": "1s",
            "evaluation_interval": "1s",
        }
        self._writes = Writes()
        configuration = folder / "prometheus.yml"
        # JSON is YAML too.
        configuration.write_text(
            json.dumps(
                {
                    "global": every_second,
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
        """Return the data of a response of its API; raises ValueError with the error in it."""
        answer = self.client.get(f"/api/v1/{path}", params=parameters).json()
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        return answer["data"]

    def query(self, expression: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Return the labels and value of each series, now or at a time; a scalar has no labels."""
        data = self.ask("query", query=expression, **({} if at is None else {"time": at}))
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def query_range(
        self, expression: str, start: float, end: float, step: float
    ) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """Return the labels and samples (time, value) of each series; times are in seconds."""
        data = self.ask("query_range", query=expression, start=start, end=end, step=step)
        return [
            (series["metric"], [(float(at), float(value)) for at, value in series["values"]])
            for series in data["result"]
        ]

    def series(self, *selectors: str) -> list[dict[str, str]]:
        """Return the labels of all matching series, `__name__` included."""
        series: list[dict[str, str]] = self.ask("series", **{"match[]": list(selectors)})
        return series

    def label_values(self, label: str, selector: str | None = None) -> list[str]:
        matching = {} if selector is None else {"match[]": selector}
        values: list[str] = self.ask(f"label/{label}/values", **matching)
        return values

    def wait_for(
        self, expression: str, patience: float = PATIENCE
    ) -> list[tuple[dict[str, str], float]]:
        """Repeat a query whenever there are new samples, until it returns some; return these."""
        deadline = time.monotonic() + patience
        while True:
            number = self._writes.number
            if samples := self.query(expression):
                return samples
            assert self._writes.wait_for_more(number, deadline), f"no result: {expression}"

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self._process.kill()
        self._writes.close()
        if hasattr(self, "client"):
            self.client.close()

"""From an exhausted pool to the notification of its alert, and to that of its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixin.dashboards.gates.fixtures import prometheus_program
from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.write import write
from poolscope.mixin.thresholds import Thresholds
from support.alertmanagers import AlertmanagerProcess, Receiver
from support.exporters import ExporterProcess
from support.prometheus import PrometheusServer, job
from support.tools import required
from support.workers import Worker

__all__ = ["prometheus_program"]

# Scrapes are a second apart, and all durations are short, so that the test is fast.
SHORT = Thresholds(
    # The callers of this test wait for seconds, which must not be slow enough for another alert.
    acquire_seconds=(30.0, 60.0),
    window="8s",
    exhausted_after="3s",
    page_after="3s",
    resolved_after="1s",
    ticket_after="30s",
    exporter_after="5s",
    absent_after="2m",
)


@pytest.fixture(scope="module")
def alertmanager_program() -> str:
    """The path of Alertmanager, which Debian calls by another name."""
    return required("alertmanager", "prometheus-alertmanager", "prometheus-alertmanager")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def watched(
    tmp_path: Path,
    folder: Path,
    workers: Any,
    receiver: Receiver,
    prometheus_program: str,
    alertmanager_program: str,
) -> Iterator[tuple[Worker, ExporterProcess]]:
    """A worker with one pool, which is scraped and has alerts; yields it and its exporter."""
    rules = tmp_path / "alerts"
    (tmp_path / "webhook-token").write_text("open sesame")
    options = Options(
        webhook=receiver.url,
        secrets=str(tmp_path),
        group_wait="1s",
        group_interval="2s",
        thresholds=SHORT,
    )
    write(rules, options)
    worker, exporter = workers(), ExporterProcess(folder)
    alertmanager = AlertmanagerProcess(alertmanager_program, tmp_path, rules / "alertmanager.yml")
    server = PrometheusServer(
        prometheus_program,
        tmp_path,
        [job("exporter", exporter.url, labels={"service": "shop"})],
        rules=[rules / "recording.yml", rules / "rules.yml"],
        alertmanagers=[alertmanager.address],
    )
    server.wait_for("connpool_limit")
    yield worker, exporter
    server.kill()
    alertmanager.kill()
    exporter.kill()


def alert_names(receiver: Receiver, path: str) -> set[str]:
    """Return the names of all alerts that this path has received."""
    return {alert["labels"]["alertname"] for to, alert in receiver.notices if to == path}


def test_a_page_is_sent_and_resolved_and_a_dead_exporter_opens_a_ticket(
    watched: tuple[Worker, ExporterProcess], receiver: Receiver
) -> None:
    worker, exporter = watched
    worker.tell("take", "take", "take", "take", "wait", "wait", "wait")
    page = receiver.wait_for(lambda path, alert: path == "/page" and alert["status"] == "firing")
    assert {"ConnPoolExhausted"} == alert_names(receiver, "/page")
    expected = {
        "alertname": "ConnPoolExhausted",
        "severity": "critical",
        "service": "shop",
        "pool": "orders",
        "kind": "sqlalchemy",
    }
    assert expected == page["labels"]
    annotations = page["annotations"]
    assert annotations["summary"] == (
        "Callers wait because pool orders (sqlalchemy) of shop has no free connection"
    )
    assert "runbook_url" not in annotations  # nobody has said where runbooks are
    assert "/d/poolscope-pool?" in annotations["dashboard_url"]
    assert "var-pool=orders&var-kind=sqlalchemy" in annotations["dashboard_url"]

    worker.tell("give", "give", "give", "give")
    receiver.wait_for(lambda path, alert: path == "/page" and alert["status"] == "resolved")
    assert {"Bearer open sesame"} == receiver.secrets

    receiver.notices.clear()
    exporter.kill()
    down = receiver.wait_for(lambda path, alert: path == "/ticket")
    assert ("ConnPoolExporterDown", "warning", "firing") == (
        down["labels"]["alertname"],
        down["labels"]["severity"],
        down["status"],
    )
    assert (set(), {"ConnPoolExporterDown"}) == (
        alert_names(receiver, "/page"),
        alert_names(receiver, "/ticket"),
    )

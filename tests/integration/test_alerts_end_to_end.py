"""From a pool that is exhausted to the notice that somebody gets, and back."""

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

# Scrapes are a second apart: all is quick, so that the test is.
QUICK = Thresholds(
    window="8s",
    exhausted_after="3s",
    page_after="3s",
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
    """A service with one pool, and all that watches over it; what it watches, and the exporter."""
    rules = tmp_path / "alerts"
    (tmp_path / "webhook-token").write_text("open sesame")
    options = Options(
        webhook=receiver.url,
        secrets=str(tmp_path),
        group_wait="1s",
        group_interval="2s",
        thresholds=QUICK,
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


def names(receiver: Receiver, path: str) -> set[str]:
    return {alert["labels"]["alertname"] for where, alert in receiver.notices if where == path}


def test_a_page_arrives_and_is_resolved_and_then_only_the_exporter_is_missed(
    watched: tuple[Worker, ExporterProcess], receiver: Receiver
) -> None:
    worker, exporter = watched
    worker.tell("take", "take", "take", "take", "wait", "wait", "wait")
    page = receiver.wait_for(lambda path, alert: path == "/page" and alert["status"] == "firing")
    assert {"ConnPoolExhausted"} == names(receiver, "/page")
    expected = {
        "alertname": "ConnPoolExhausted",
        "severity": "critical",
        "service": "shop",
        "pool": "orders",
        "kind": "sqlalchemy",
    }
    assert expected == page["labels"]
    said = page["annotations"]
    assert said["summary"] == (
        "Callers wait because pool orders (sqlalchemy) has no free connection"
    )
    assert said["runbook_url"].endswith("/ConnPoolExhausted.md")
    assert "/d/poolscope-pool?" in said["dashboard_url"]
    assert "var-pool=orders&var-kind=sqlalchemy" in said["dashboard_url"]

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
        names(receiver, "/page"),
        names(receiver, "/ticket"),
    )

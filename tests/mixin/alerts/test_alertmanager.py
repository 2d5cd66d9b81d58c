"""Alertmanager's configuration: it is valid, and routes alerts to the right receivers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest
import yaml

from mixin.alerts.tools import output, problems
from poolscope.mixin.alerts.alertmanager import SUMMARY
from poolscope.mixin.alerts.model import Alert
from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.rules import alerts
from poolscope.mixin.alerts.write import files, write

RECEIVERS: Final = {
    "critical": "poolscope-page",
    "warning": "poolscope-ticket",
    "info": "poolscope-nobody",
}
WITH_WEBHOOK: Final = Options(webhook="http://127.0.0.1:9/hook", secrets="/run/secrets")


@pytest.mark.parametrize("options", [Options(), WITH_WEBHOOK, Options(cluster="", service="")])
def test_alertmanager_accepts_the_configuration(
    amtool: str, tmp_path: Path, options: Options
) -> None:
    write(tmp_path, options)
    assert "" == problems(amtool, "check-config", tmp_path / "alertmanager.yml")


@pytest.mark.parametrize(
    "alert", alerts(Options()), ids=lambda alert: f"{alert.name}-{alert.severity}"
)
def test_each_severity_has_its_receiver(amtool: str, defaults: Path, alert: Alert) -> None:
    labels = {"alertname": alert.name, "severity": alert.severity, **alert.labels}
    words = [f"{name}={value}" for name, value in labels.items()]
    config = f"--config.file={defaults / 'alertmanager.yml'}"
    code, text = output(amtool, "config", "routes", "test", config, *words)
    receiver = RECEIVERS[labels["severity"]]
    if labels["alertname"] == "ConnPoolWatchdog":
        receiver = "poolscope-watchdog"
    assert (0, receiver) == (code, text.splitlines()[-1])


def test_foreign_noticeare_not_routed(amtool: str, defaults: Path) -> None:
    config = f"--config.file={defaults / 'alertmanager.yml'}"
    command = (amtool, "config", "routes", "test", config)
    _, text = output(*command, "alertname=DiskFull", "severity=critical")
    assert "poolscope-nobody" == text.splitlines()[-1]


@pytest.mark.parametrize(
    ("pools", "expected"), [(["a"], "Pool a is full"), (["a", "b"], "Pool a is full (2 of them)")]
)
def test_a_page_has_the_summary_of_its_first_alert(
    amtool: str, tmp_path: Path, pools: list[str], expected: str
) -> None:
    notice = [{"annotations": {"summary": f"Pool {pool} is full"}} for pool in pools]
    (tmp_path / "data.json").write_text(json.dumps({"alerts": notice}))
    (tmp_path / "none.tmpl").touch()
    command = (amtool, "template", "render", "--template.glob=none.tmpl")
    given = (f"--template.text={SUMMARY}", "--template.data=data.json")
    assert (0, expected) == output(*command, *given, folder=tmp_path)


def test_secrets_are_in_files() -> None:
    for options in (Options(), WITH_WEBHOOK):
        text = files(options)["alertmanager.yml"]
        secret = re.compile(
            r"^\s*-? *\w*(key|password|credentials|token|api_url)\w*:", re.MULTILINE
        )
        assert {found[0].strip(" -") for found in secret.finditer(text)} <= {
            "routing_key_file:",
            "api_url_file:",
            "credentials_file:",
        }
        assert options.secrets in text


def test_a_critical_alert_inhibits_other_noticeof_its_pool() -> None:
    """
    Alertmanager takes a label that is missing on both sides as equal, so that each rule must match
    a pool or an exporter.
    """
    config = yaml.safe_load(files(Options())["alertmanager.yml"])
    pool = ['pool=~".+"', 'alertname=~"ConnPool.+"']
    assert [
        {
            "source_matchers": ['severity="critical"', *pool],
            "target_matchers": ['severity=~"warning|info"', *pool],
            "equal": ["cluster", "service", "pool", "kind"],
        },
        {
            "source_matchers": ['severity="warning"', *pool],
            "target_matchers": ['severity="info"', *pool],
            "equal": ["cluster", "service", "pool", "kind"],
        },
        {
            "source_matchers": ['alertname="ConnPoolExporterDown"', 'coverage="none"'],
            "target_matchers": [
                'alertname=~"ConnPool.+"',
                'alertname!~"ConnPoolExporterDown|ConnPoolWatchdog"',
            ],
            "equal": ["cluster", "service"],
        },
    ] == config["inhibit_rules"]


def test_each_time_is_where_it_belongs() -> None:
    options = Options(group_wait="20s", group_interval="2m", repeat_page="5h", repeat_ticket="2d")
    route = yaml.safe_load(files(options)["alertmanager.yml"])["route"]
    names = ("group_wait", "group_interval", "repeat_interval")
    assert {
        "poolscope-nobody": {"group_wait": "20s", "group_interval": "2m", "repeat_interval": "5h"},
        "poolscope-watchdog": {"group_wait": "0s", "repeat_interval": "2m"},
        "poolscope-page": {},
        "poolscope-ticket": {"repeat_interval": "2d"},
    } == {
        each["receiver"]: {name: each[name] for name in names if name in each}
        for each in (*route["routes"][:-1], route)
    }


def test_with_a_webhook_each_receiver_has_an_address_below_it() -> None:
    receivers = yaml.safe_load(files(WITH_WEBHOOK)["alertmanager.yml"])["receivers"]
    assert {
        "poolscope-nobody": [],
        "poolscope-page": ["http://127.0.0.1:9/hook/page"],
        "poolscope-ticket": ["http://127.0.0.1:9/hook/ticket"],
        "poolscope-watchdog": ["http://127.0.0.1:9/hook/watchdog"],
    } == {
        receiver["name"]: [config["url"] for config in receiver.get("webhook_configs", ())]
        for receiver in receivers
    }

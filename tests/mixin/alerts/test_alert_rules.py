"""The rules: Prometheus accepts them, they pass their tests, and their links are right."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from scripts.needed_rules import needed_rules

from mixin.alerts.tools import problems
from poolscope.mixin.alerts.attempts import BURN_RATES
from poolscope.mixin.alerts.model import Alert
from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.rules import alerts
from poolscope.mixin.alerts.write import files, write
from poolscope.mixin.dashboards.board import TITLES, uid
from poolscope.mixin.dashboards.options import Options as DashboardOptions
from poolscope.mixin.dashboards.write import boards
from poolscope.mixin.thresholds import BurnRate, Thresholds

NAMES: Final = sorted({alert.name for alert in alerts(Options())})
SLOW: Final = "ConnPoolAcquireSlow"
BURNS: Final = [f"{SLOW}-{name.replace('_', '-')}" for name, _ in BURN_RATES]
HOSTS: Final = ["ConnPoolAcquireErrors-hosts", "ConnPoolOpenFailures-hosts"]
TESTS: Final = ["recording", "ConnPoolExhausted-soon", *BURNS, *HOSTS, *sorted({*NAMES} - {SLOW})]
RULES: Final = ["recording.yml", "rules.yml"]
SHORT: Final = Thresholds(
    window="10s",
    rare_event_window="2m",
    predict_from="10m",
    page_after="5s",
    exhausted_after="5s",
    ticket_after="30s",
    overdue_after="40s",
    info_after="1m",
    exporter_after="15s",
    absent_after="25s",
    fast_burn=BurnRate(14.4, "1m", "10s"),
    steady_burn=BurnRate(6, "3m", "20s"),
    slow_burn=BurnRate(3, "4m", "30s"),
    creeping_burn=BurnRate(1, "5m", "3m"),
)
CUSTOM: Final = Thresholds(
    utilization=(0.7, 0.9),
    saturated=(0.05, 0.3),
    waiting=(0.0, 2.0),
    timeouts=(0.0, 0.05),
    acquire_seconds=(0.25, 2.5),
    reuse=(1.0, 0.3),
    events=7,
    slow_events=3,
    objective=0.995,
    server_used=(0.9, 0.95),
    traffic=0.5,
    invalidation_ratio=0.03,
    ticket_after="7m",
)
"""Thresholds that floating point cannot always hit exactly, or that are 0 or 1."""

SCHEMES: Final = {
    "short windows, other label names, matchers": Options(
        cluster="region",
        service="app",
        instance="pod",
        matchers=('env="prod"', 'team=~"shop.*|billing"', 'tier!="test"'),
        thresholds=SHORT,
    ),
    "custom thresholds, only labels of pools": Options(
        cluster="", service="", instance="", thresholds=CUSTOM
    ),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of each scheme."""
    folders = {scheme: tmp_path_factory.mktemp("scheme") for scheme in SCHEMES}
    for scheme, folder in folders.items():
        write(folder, SCHEMES[scheme])
    return folders


def with_its_rules_only(folder: Path, name: str, out: Path) -> Path:
    """Write the test of that name, and of the rules only those that it needs; return its folder."""
    alert = None if name == "recording" else name.partition("-")[0]
    recording, rules = (yaml.safe_load((folder / file).read_text()) for file in RULES)
    for file, document in zip(RULES, needed_rules(recording, rules, alert), strict=True):
        (out / file).write_text(yaml.safe_dump(document))
    (out / "tests").mkdir()
    shutil.copy(folder / "tests" / f"{name}.yml", out / "tests")
    return out / "tests"


def lint(promtool: str, folder: Path) -> str:
    """Return the errors that promtool reports."""
    command = [promtool, "check", "rules", "--lint=all", "--lint-fatal"]
    return problems(*command, folder / "recording.yml", folder / "rules.yml")


def test_prometheus_accepts_the_rules(promtool: str, defaults: Path) -> None:
    assert "" == lint(promtool, defaults)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_prometheus_accepts_the_rules_with_other_options(
    promtool: str, written: dict[str, Path], scheme: str
) -> None:
    assert "" == lint(promtool, written[scheme])


@pytest.mark.parametrize("name", TESTS)
def test_the_rules_pass_their_tests(promtool: str, defaults: Path, name: str) -> None:
    assert "" == problems(promtool, "test", "rules", f"{name}.yml", folder=defaults / "tests")


# A trend takes a day: with a short window, that is too many steps.
@pytest.mark.parametrize("name", sorted({*TESTS} - {"ConnPoolExhaustionPredicted"}))
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_rules_with_other_options_pass_their_tests(
    promtool: str, written: dict[str, Path], tmp_path: Path, scheme: str, name: str
) -> None:
    tests = with_its_rules_only(written[scheme], name, tmp_path)
    assert "" == problems(promtool, "test", "rules", f"{name}.yml", folder=tests)


def rules() -> list[Any]:
    groups = yaml.safe_load(files(Options())["rules.yml"])["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_each_alert_has_tests() -> None:
    tests = {name for name in files(Options()) if name.startswith("tests/")}
    assert {f"tests/{name}.yml" for name in TESTS} == tests


@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
def test_each_rule_has_a_test_in_which_it_fires(severity: str) -> None:
    def key(labels: dict[str, str]) -> tuple[str, ...]:
        return tuple(labels.get(label, "") for label in ("severity", "window", "coverage"))

    wanted = {
        (rule["alert"], *key(rule["labels"]))
        for rule in rules()
        if rule["labels"]["severity"] == severity
    }
    tests = [yaml.safe_load(text) for name, text in files(Options()).items() if "tests/" in name]
    fired = {
        (check["alertname"], *key(alert["exp_labels"]))
        for test in tests
        for each in test["tests"]
        for check in each.get("alert_rule_test", ())
        for alert in check["exp_alerts"]
    }
    assert wanted == {key for key in fired if key[1] == severity}


def test_only_what_callers_notice_is_critical() -> None:
    critical = {rule["alert"] for rule in rules() if rule["labels"]["severity"] == "critical"}
    assert {
        "ConnPoolExhausted",
        "ConnPoolAcquireTimeouts",
        "ConnPoolAcquireErrors",
        "ConnPoolAcquireSlow",
    } == critical


def test_each_alert_links_to_its_runbook() -> None:
    options = Options(runbooks="https://docs.example/runbooks/")
    assert [f"https://docs.example/runbooks/{alert.name}.md" for alert in alerts(options)] == [
        alert.document(options)["annotations"]["runbook_url"] for alert in alerts(options)
    ]


DASHBOARD_URL: Final = re.compile(
    r"https://grafana\.example/d/([\w-]+)\?(.*)&from=\{\{.*\}\}&to=now"
)


def linked_dashboard(alert: Alert, options: Options) -> tuple[str, set[str]]:
    """Return the UID of the dashboard that an alert links to, and the variables that it sets."""
    url = alert.document(options)["annotations"]["dashboard_url"]
    match = DASHBOARD_URL.fullmatch(url.replace("?from", "?&from"))
    assert match, url
    return match[1], set(re.findall(r"var-(\w+)=", match[2]))


@pytest.mark.parametrize("alert", alerts(Options()), ids=lambda alert: alert.name)
def test_each_alert_links_to_a_dashboard_with_its_variables(alert: Alert) -> None:
    options = Options(grafana="https://grafana.example/", uid_prefix="ours")
    dashboards = DashboardOptions(uid_prefix="ours")
    dashboard_uid, variables = linked_dashboard(alert, options)
    board = next(
        board for board in boards(dashboards) if uid(board.key, dashboards) == dashboard_uid
    )
    assert board.key in TITLES
    assert variables - set(dashboards.scope) <= {variable.name for variable in board.variables}
    needed = {variable.name for variable in board.variables if variable.single}
    assert needed <= variables, "the dashboard would show another pool"
    # The server of an alert is one of PostgreSQL, a PgBouncer, or any of both.
    for variable in {"server", "pgbouncer"} & {variable.name for variable in board.variables}:
        assert (f"connpool_{variable}_" in alert.expr) == (variable in variables)

"""Each option of `poolscope alerts` and `poolscope dashboards` does what it is there for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from poolscope.alerts import alertmanager
from poolscope.alerts import options as of_alerts
from poolscope.alerts import write as of_files
from poolscope.alerts.arguments import DEST
from poolscope.alerts.thresholds import Thresholds
from poolscope.cli import main
from poolscope.commands import alerts, dashboards
from poolscope.commands.arguments import Commands, Parser
from poolscope.dashboards import options as of_dashboards
from poolscope.dashboards.write import files

Words = tuple[str, ...]

WHOSE: Final[dict[Words, dict[str, Any]]] = {
    ("--matcher", 'env="prod"', "--matcher", 'team="shop"'): {
        "matchers": ('env="prod"', 'team="shop"')
    },
    ("--cluster-label", "region"): {"cluster": "region"},
    ("--service-label", "app"): {"service": "app"},
    ("--instance-label", "host"): {"instance": "host"},
    ("--uid-prefix", "shop-pools"): {"uid_prefix": "shop-pools"},
}
ALERTS: Final[dict[Words, dict[str, Any]]] = {
    **WHOSE,
    ("--runbooks", "https://wiki.example/pools"): {"runbooks": "https://wiki.example/pools"},
    ("--grafana", "https://grafana.example"): {"grafana": "https://grafana.example"},
    ("--look-back", "3h"): {"look_back": "3h"},
    ("--webhook", "https://hook.example"): {"webhook": "https://hook.example"},
    ("--secrets", "/run/secrets"): {"secrets": "/run/secrets"},
    ("--group-wait", "20s"): {"group_wait": "20s"},
    ("--group-interval", "2m"): {"group_interval": "2m"},
    ("--repeat-page", "5h"): {"repeat_page": "5h"},
    ("--repeat-ticket", "2d"): {"repeat_ticket": "2d"},
    ("--namespace", "monitoring"): {"namespace": "monitoring"},
    ("--waiting", "0.2", "2"): {"thresholds": Thresholds(waiting=(0.2, 2.0))},
}
"""What of the options some words make other than the default; each threshold has its own test."""

DASHBOARDS: Final[dict[Words, dict[str, Any]]] = {
    **WHOSE,
    ("--datasource", "Mimir"): {"datasource": "Mimir"},
    ("--tag", "pools", "--tag", "shop"): {"tags": ("pools", "shop")},
    ("--folder", "Shop"): {"folder": "Shop"},
}


def parse(add: Callable[[Commands], None], command: str, *words: str) -> dict[str, Any]:
    """Return what the command's options are with these words."""
    parser = Parser(prog="poolscope")
    add(parser.add_subparsers())
    return vars(parser.parse_args([command, "--out", "there", *words], argparse.Namespace()))


@pytest.mark.parametrize(
    ("add", "command", "tried", "other"),
    [
        (alerts.add, "alerts", ALERTS, {"run", "out", "format"}),
        (dashboards.add, "dashboards", DASHBOARDS, {"run", "out"}),
    ],
    ids=["alerts", "dashboards"],
)
def test_no_option_is_left_out_here(
    add: Callable[[Commands], None], command: str, tried: dict[Words, Any], other: set[str]
) -> None:
    defaults = parse(add, command)
    changed = {
        name
        for words in tried
        for name, value in parse(add, command, *words).items()
        if value != defaults[name]
    }
    thresholds = {DEST + name for name in Thresholds.__dataclass_fields__}
    assert defaults.keys() - other - thresholds == changed - thresholds


Written = list[tuple[Path, of_alerts.Options, str]]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """What `poolscope alerts` was to write, and did not."""
    asked: Written = []

    def write(out: Path, options: of_alerts.Options, format: str) -> None:
        asked.append((out, options, format))

    monkeypatch.setattr(of_files, "write", write)
    return asked


class TestAlerts:
    def test_without_options_there_are_the_defaults(self, written: Written) -> None:
        assert 0 == main(["alerts", "--out", "there"])
        assert [(Path("there"), of_alerts.Options(), "prometheus")] == written

    @pytest.mark.parametrize("words", ALERTS, ids=lambda words: words[0])
    def test_an_option_changes_what_it_is_about(self, written: Written, words: Words) -> None:
        assert 0 == main(["alerts", "--out", "there", *words])
        expected = of_alerts.Options(**ALERTS[words])
        assert expected != of_alerts.Options()
        assert [(Path("there"), expected, "prometheus")] == written

    def test_the_format_is_that_of_what_is_written(self, tmp_path: Path) -> None:
        words = ("--format", "operator", "--namespace", "monitoring")
        assert 0 == main(["alerts", "--out", str(tmp_path), *words])
        options = of_alerts.Options(namespace="monitoring")
        assert of_files.files(options, "operator") == {
            path.name: path.read_text() for path in tmp_path.iterdir()
        }


@pytest.mark.parametrize("words", DASHBOARDS, ids=lambda words: words[0])
def test_an_option_of_the_dashboards_changes_what_it_is_about(tmp_path: Path, words: Words) -> None:
    assert 0 == main(["dashboards", "--out", str(tmp_path), *words])
    expected = files(of_dashboards.Options(**DASHBOARDS[words]))
    assert expected != files(of_dashboards.Options())
    assert expected == {path.name: path.read_text() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("words", ALERTS, ids=lambda words: words[0])
def test_no_option_of_the_alerts_is_without_effect(words: Words) -> None:
    assert made(of_alerts.Options(**ALERTS[words])) != made(of_alerts.Options())


def made(options: of_alerts.Options) -> tuple[Any, Any]:
    """Return the objects for the operator, and Alertmanager's configuration."""
    return of_files.files(options, "operator"), alertmanager.document(options)

"""Each option of `poolscope alerts`, `dashboards` and `exporter` does what it is there for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from poolscope.cli import main
from poolscope.commands import alerts, dashboards, exporter, generate
from poolscope.commands.arguments import POSTGRES_VARIABLE, Commands, Parser
from poolscope.commands.generate import THRESHOLD
from poolscope.exporter import logs
from poolscope.exporter import main as of_exporter
from poolscope.exporter.addresses import TcpAddress, UnixAddress
from poolscope.fleet.folder import DIR_VARIABLE
from poolscope.mixin.alerts import alertmanager
from poolscope.mixin.alerts import options as of_alerts
from poolscope.mixin.alerts import write as of_files
from poolscope.mixin.dashboards import options as of_dashboards
from poolscope.mixin.dashboards.write import files
from poolscope.mixin.thresholds import Thresholds

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
    ("--docs", "https://docs.example"): {"docs": "https://docs.example"},
    ("--live-page", "https://pools.example"): {"live_page": "https://pools.example"},
    ("--datasource", "Mimir"): {"datasource": "Mimir"},
    ("--tag", "pools", "--tag", "shop"): {"tags": ("pools", "shop")},
    ("--folder", "Shop"): {"folder": "Shop"},
    ("--path", "/boards"): {"path": "/boards"},
}

EXPORTER: Final[dict[Words, dict[str, Any]]] = {
    ("--web.listen-address", "[::1]:9"): {"addresses": (TcpAddress("::1", 9),)},
    ("--web.listen-address", ":9", "--web.listen-address=unix:x"): {
        "addresses": (TcpAddress("", 9), UnixAddress(Path("x")))
    },
    ("--web.systemd-socket",): {"systemd_socket": True},
    ("--web.external-url", "https://a/pools/"): {
        "external_url": "https://a/pools",
        "route_prefix": "/pools",
    },
    ("--web.external-url", "https://a/pools", "--web.route-prefix", "/"): {
        "external_url": "https://a/pools"
    },
    ("--web.external-url", "/x/y/", "--web.route-prefix", "b/c/"): {
        "external_url": "/x/y",
        "route_prefix": "/b/c",
    },
    ("--web.external-url", "http://[::1]:80"): {"external_url": "http://[::1]:80"},
    ("--web.telemetry-path", "/pools/metrics"): {"metrics_path": "/pools/metrics"},
    ("--web.config.file", "web.yml"): {"web_config": Path("web.yml")},
    ("--postgres", "postgres://a", "--postgres", "postgres://b"): {
        "postgres": ("postgres://a", "postgres://b")
    },
    ("--pgbouncer", "postgres://c"): {"pgbouncer": ("postgres://c",)},
    ("--per-process",): {"per_process": True},
    ("--log.level", "debug"): {"log_level": "debug"},
    ("--log.level", "error"): {"log_level": "error"},
    ("--log.format", "json"): {"log_format": "json"},
}


def parse(add: Callable[[Commands], None], command: str, *words: str) -> dict[str, Any]:
    """Return what the command's options are with these words."""
    parser = Parser(prog="poolscope")
    add(parser.add_subparsers())
    where = "--dir" if command == "exporter" else "--out"
    return vars(parser.parse_args([command, where, "there", *words], argparse.Namespace()))


@pytest.mark.parametrize(
    ("add", "command", "tried", "other"),
    [
        (alerts.add, "alerts", ALERTS, {"run", "out", "format"}),
        (dashboards.add, "dashboards", DASHBOARDS, {"run", "out"}),
        (exporter.add, "exporter", EXPORTER, {"run", "dir"}),
    ],
    ids=["alerts", "dashboards", "exporter"],
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
    thresholds = {THRESHOLD + name for name in Thresholds.__dataclass_fields__}
    assert defaults.keys() - other - thresholds == changed - thresholds


Written = list[tuple[Path, of_alerts.Options, str]]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """What `poolscope alerts` was to write, and did not."""
    made: list[tuple[of_alerts.Options, str]] = []
    asked: Written = []

    def make(options: of_alerts.Options, format: str) -> dict[str, str]:
        made.append((options, format))
        return {}

    def write(out: Path, _: object) -> None:
        asked.append((out, *made.pop()))

    monkeypatch.setattr(of_files, "files", make)
    monkeypatch.setattr(generate, "write", write)
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
    where: dict[str, Any] = {"path": str(tmp_path.resolve())}
    expected = files(of_dashboards.Options(**where | DASHBOARDS[words]))
    assert expected != files(of_dashboards.Options(**where))
    assert expected == {path.name: path.read_text() for path in tmp_path.iterdir()}


@pytest.mark.parametrize("words", ALERTS, ids=lambda words: words[0])
def test_no_option_of_the_alerts_is_without_effect(words: Words) -> None:
    assert made(of_alerts.Options(**ALERTS[words])) != made(of_alerts.Options())


def made(options: of_alerts.Options) -> tuple[Any, Any]:
    """Return the objects for the operator, and Alertmanager's configuration."""
    return of_files.files(options, "operator"), alertmanager.document(options)


class TestTheExporter:
    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """What the exporter was to do, and how it was to log, instead of doing so."""
        asked: dict[str, Any] = {}

        def run(options: of_exporter.Options) -> None:
            asked.update({name: getattr(options, name) for name in options.__slots__})

        def configure(level: str, format_name: str) -> None:
            asked.update(log_level=level, log_format=format_name)

        monkeypatch.setattr(of_exporter, "run", run)
        monkeypatch.setattr(logs, "configure_logging", configure)
        for variable in (DIR_VARIABLE, POSTGRES_VARIABLE, exporter.PGBOUNCER_VARIABLE):
            monkeypatch.delenv(variable, raising=False)
        return asked

    def test_without_options_there_are_the_defaults(self, started: dict[str, Any]) -> None:
        assert 0 == main(["exporter", "--dir", "there"])
        assert DEFAULTS == started

    @pytest.mark.parametrize("words", EXPORTER, ids=" ".join)
    def test_an_option_changes_what_it_is_about(
        self, started: dict[str, Any], words: Words
    ) -> None:
        assert 0 == main(["exporter", "--dir", "there", *words])
        assert {**DEFAULTS, **EXPORTER[words]} == started
        assert DEFAULTS != started

    def test_variables_say_what_options_do_not(
        self, started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(DIR_VARIABLE, "elsewhere")
        monkeypatch.setenv(POSTGRES_VARIABLE, "postgres://a  postgres://b")
        monkeypatch.setenv(exporter.PGBOUNCER_VARIABLE, "postgres://c")
        assert 0 == main(["exporter"])
        of_variables = {
            "folder": Path("elsewhere"),
            "postgres": ("postgres://a", "postgres://b"),
            "pgbouncer": ("postgres://c",),
        }
        assert {**DEFAULTS, **of_variables} == started
        words = ("--postgres", "postgres://x", "--pgbouncer", "postgres://y")
        assert 0 == main(["exporter", "--dir", "there", *words])
        of_words = {"postgres": ("postgres://x",), "pgbouncer": ("postgres://y",)}
        assert {**DEFAULTS, **of_words} == started


DEFAULTS: Final[dict[str, Any]] = {
    "folder": Path("there"),
    "addresses": (TcpAddress("127.0.0.1", 10464),),
    "systemd_socket": False,
    "external_url": None,
    "route_prefix": "",
    "metrics_path": "/metrics",
    "web_config": None,
    "postgres": (),
    "pgbouncer": (),
    "per_process": False,
    "log_level": "info",
    "log_format": "text",
}
"""Of the exporter, with the folder that tests name."""

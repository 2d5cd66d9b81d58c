"""The flags of the thresholds, which `poolscope alerts` and `poolscope dashboards` share."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from poolscope.cli import main
from poolscope.commands.generate import add_thresholds, thresholds_of
from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.write import files
from poolscope.mixin.thresholds import BurnRate, ThresholdError, Thresholds


def parsed(*arguments: str) -> Thresholds:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_thresholds(parser)
    return thresholds_of(parser.parse_args(arguments))


def test_without_flags_there_are_the_defaults() -> None:
    assert Thresholds() == parsed()


DEFAULT_RULES: Final = files(Options(), "operator")

CUSTOM: Final[dict[str, Any]] = {
    "utilization": (0.7, 0.9),
    "saturated": (0.2, 0.4),
    "waiting": (0.2, 2.0),
    "timeouts": (0.002, 0.02),
    "acquire_seconds": (0.25, 2.5),
    "open_failures": (0.02, 0.2),
    "reuse": (0.8, 0.4),
    "leaked": (2.0, 3.0),
    "server_used": (0.7, 0.9),
    "idle_in_transaction_seconds": (30.0, 300.0),
    "errors": (0.02, 0.2),
    "objective": 0.995,
    "fast_burn": BurnRate(15.0, "2h", "6m"),
    "steady_burn": BurnRate(7.0, "7h", "40m"),
    "slow_burn": BurnRate(4.0, "2d", "3h"),
    "creeping_burn": BurnRate(2.0, "4d", "7h"),
    "broken": 0.8,
    "alive": 0.6,
    "full": 0.85,
    "resolved_after": "6m",
    "steady": 0.2,
    "invalidation_ratio": 0.02,
    "dns_failures": 0.06,
    "churn_seconds": 40.0,
    "few_acquires": 11.0,
    "events": 6.0,
    "slow_events": 12.0,
    "traffic": 0.3,
    "nested": 13.0,
    "overdue_often": 14.0,
    "connections_lost": 4.0,
    "pools_made": 150.0,
    "predict_from": "8h",
    "predict_for": "9h",
    "predict_growth": 1.5,
    "smallest_pool": 16.0,
    "window": "10m",
    "rare_event_window": "90m",
    "absence_window": "12h",
    "page_after": "7m",
    "exhausted_after": "3m",
    "ticket_after": "20m",
    "overdue_after": "40m",
    "predicted_after": "50m",
    "info_after": "70m",
    "exporter_after": "8m",
    "absent_after": "25m",
}
"""For each threshold a value that shares no part with the default."""


def flag(name: str) -> tuple[str, ...]:
    """Return the flag that sets a threshold to its custom value."""
    value = CUSTOM[name]
    return f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])


def test_each_threshold_has_a_custom_value_here() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(Thresholds)}
    assert defaults.keys() == CUSTOM.keys()
    for name, default in defaults.items():
        pairs = zip(default, CUSTOM[name], strict=True) if isinstance(default, tuple) else ()
        assert default != CUSTOM[name], name
        assert all(one != other for one, other in pairs), name


@pytest.mark.parametrize("name", CUSTOM)
def test_each_threshold_has_a_flag_that_changes_the_rules(name: str) -> None:
    expected = Thresholds(**{name: CUSTOM[name]})
    assert expected == parsed(*flag(name))
    assert DEFAULT_RULES != files(Options(thresholds=expected), "operator")


def test_all_flags_together_set_all_thresholds() -> None:
    assert Thresholds(**CUSTOM) == parsed(*(word for name in CUSTOM for word in flag(name)))


def test_flags_set_thresholds() -> None:
    assert Thresholds(
        utilization=(0.5, 0.6), events=3.0, window="1m", slow_burn=BurnRate(2.0, "4h", "20m")
    ) == parsed(
        *("--utilization", "0.5", "0.6", "--events", "3", "--window", "1m"),
        *("--slow-burn", "2", "4h", "20m"),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--utilization", "0.9", "0.8"), "utilization: in .0.9, 0.8., the critical threshold"),
        (("--timeouts", "-1", "0.8"), "timeouts: -1.0 must be 0 or more"),
        (("--window", "soon"), "window: 'soon' is not a duration"),
        (("--fast-burn", "many", "1h", "5m"), "fast_burn: 'many' is not a number"),
    ],
)
def test_bad_flags_are_named(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ThresholdError, match=message) as raised:
        parsed(*arguments)
    assert 1 == len(str(raised.value).splitlines())


COMMANDS = ("alerts", "dashboards")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_threshold_gets_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    out = tmp_path / "out"
    assert 2 == main([command, "--out", str(out), "--timeouts", "-1", "0.8"])
    assert ("", f"poolscope {command}: timeouts: -1.0 must be 0 or more\n") == tuple(
        capsys.readouterr()
    )
    assert not out.exists()


@pytest.mark.parametrize(("command", "module"), [("alerts", "yaml"), ("dashboards", "grafanalib")])
def test_a_missing_extra_is_named_with_how_to_get_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    module: str,
) -> None:
    for name in [name for name in sys.modules if name.startswith("poolscope.mixin")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert 1 == main([command, "--out", str(tmp_path)])
    expected = f"poolscope {command}: {module} is missing; pip install 'poolscope[{command}]'\n"
    assert ("", expected) == tuple(capsys.readouterr())

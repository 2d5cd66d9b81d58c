"""The flags of the thresholds, which `poolscope alerts` and `poolscope dashboards` share."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from poolscope.cli import main
from poolscope.commands.generate import add_thresholds, thresholds_of
from poolscope.mixin.thresholds import BurnRate, ThresholdError, Thresholds


def parsed(*arguments: str) -> Thresholds:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_thresholds(parser)
    return thresholds_of(parser.parse_args(arguments))


def test_without_flags_there_are_the_defaults() -> None:
    assert Thresholds() == parsed()


def test_each_threshold_has_a_flag() -> None:
    def words(value: Any) -> list[str]:
        return [str(each) for each in (value if isinstance(value, tuple) else (value,))]

    flags = [
        word
        for field in dataclasses.fields(Thresholds)
        for word in ("--" + field.name.replace("_", "-"), *words(field.default))
    ]
    assert Thresholds() == parsed(*flags)


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

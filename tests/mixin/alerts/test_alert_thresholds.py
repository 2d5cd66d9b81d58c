"""Thresholds: which make sense, what is said of others, and the flags that set them."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any, Final

import pytest

from poolscope.mixin.alerts.arguments import add_arguments, thresholds_of
from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.write import files, write
from poolscope.mixin.files import OptionError
from poolscope.mixin.thresholds import Burn, ThresholdError, Thresholds, seconds

RULES: Final = files(Options(), "operator")

BAD: Final[list[tuple[dict[str, Any], str]]] = [
    ({"waiting": (-1.0, 1.0)}, "waiting: -1.0 must not be negative"),
    ({"waiting": (1.0, math.nan)}, "waiting: nan must not be negative"),
    ({"waiting": (1.0, math.inf)}, "waiting: inf is never reached"),
    ({"utilisation": (0.8, 1.5)}, "utilisation: 1.5 is a share, from 0 to 1"),
    ({"utilisation": (0.8, 1.0)}, "utilisation: 1.0 is never exceeded; it must be below 1"),
    (
        {"timeouts": (0.2, 0.1)},
        "timeouts: the warning must not come after the critical threshold, and (0.2, 0.1) does",
    ),
    (
        {"reuse": (0.5, 0.9)},
        "reuse: the warning must not come after the critical threshold, and (0.5, 0.9) does",
    ),
    ({"reuse": (0.5, 0.0)}, "reuse: 0.0 must be more than 0, or it means nothing"),
    ({"stale": -0.1}, "stale: -0.1 must not be negative"),
    ({"dns_failures": 2.0}, "dns_failures: 2.0 is a share, from 0 to 1"),
    ({"events": 0.0}, "events: 0.0 must be more than 0, or it means nothing"),
    (
        {"acquire_seconds": (0.1, 1.5)},
        (
            "acquire_seconds: 1.5 is no bound of the histogram, which are 0.0001, 0.0005, 0.001, "
            "0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60"
        ),
    ),
    ({"window": "five"}, "window: 'five' is no duration, such as 90s, 5m or 1h30m"),
    ({"window": ""}, "window: '' is no duration, such as 90s, 5m or 1h30m"),
    ({"window": "0s"}, "window: 0s must be more than 0, or it means nothing"),
    ({"page_after": "5 m"}, "page_after: '5 m' is no duration, such as 90s, 5m or 1h30m"),
    ({"page_after": "-5m"}, "page_after: '-5m' is no duration, such as 90s, 5m or 1h30m"),
    (
        {"absent_after": "5m"},
        "absent_after: 5m must be longer than exporter_after, which is 5m",
    ),
    ({"fast_burn": Burn(14.4, "5m", "1h")}, "fast_burn: 1h must be shorter than 5m"),
    (
        {"fast_burn": Burn(14.4, "1h", "x")},
        "fast_burn: 'x' is no duration, such as 90s, 5m or 1h30m",
    ),
    (
        {"objective": 0.9},
        (
            "fast_burn: 14.4 times the 0.1 that the objective allows is no share between 0 and 1, "
            "so that it would never fire, or always"
        ),
    ),
]


@pytest.mark.parametrize(("fields", "message"), BAD)
def test_what_makes_no_sense_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ThresholdError) as raised:
        Thresholds(**fields)
    assert message == str(raised.value)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("1d", 86_400), ("1w2d", 777_600), ("0s", 0)],
)
def test_durations_are_those_of_prometheus(duration: str, expected: float) -> None:
    assert expected == seconds(duration)


def parsed(*arguments: str) -> Thresholds:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(parser)
    return thresholds_of(parser.parse_args(arguments))


def test_without_flags_there_are_the_defaults() -> None:
    assert Thresholds() == parsed()


OTHERS: Final[dict[str, Any]] = {
    "utilisation": (0.7, 0.9),
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
    "fast_burn": Burn(15.0, "2h", "6m"),
    "steady_burn": Burn(7.0, "7h", "40m"),
    "slow_burn": Burn(4.0, "2d", "3h"),
    "creeping_burn": Burn(2.0, "4d", "7h"),
    "stale": 0.02,
    "dns_failures": 0.06,
    "churn_seconds": 40.0,
    "few_acquires": 11.0,
    "events": 6.0,
    "slow_events": 12.0,
    "traffic": 0.3,
    "nested": 13.0,
    "overdue_often": 14.0,
    "lost": 4.0,
    "pools_made": 150.0,
    "predict_from": "8h",
    "predict_for": "9h",
    "predict_growth": 1.5,
    "smallest_pool": 16.0,
    "window": "10m",
    "counted": "90m",
    "remembered": "12h",
    "page_after": "7m",
    "exhausted_after": "3m",
    "ticket_after": "20m",
    "overdue_after": "40m",
    "predicted_after": "50m",
    "info_after": "70m",
    "exporter_after": "8m",
    "absent_after": "25m",
}
"""For each threshold a value that has no part in common with the default."""


def flag(name: str) -> tuple[str, ...]:
    """Return the flag that sets a threshold to its other value."""
    value = OTHERS[name]
    return f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else [value])


def test_each_threshold_has_another_value_here() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(Thresholds)}
    assert defaults.keys() == OTHERS.keys()
    for name, default in defaults.items():
        pairs = zip(default, OTHERS[name], strict=True) if isinstance(default, tuple) else ()
        assert default != OTHERS[name], name
        assert all(one != other for one, other in pairs), name


@pytest.mark.parametrize("name", OTHERS)
def test_each_threshold_has_a_flag_that_changes_the_rules(name: str) -> None:
    expected = Thresholds(**{name: OTHERS[name]})
    assert expected == parsed(*flag(name))
    assert RULES != files(Options(thresholds=expected), "operator")


def test_all_flags_together_set_all_thresholds() -> None:
    assert Thresholds(**OTHERS) == parsed(*(word for name in OTHERS for word in flag(name)))


def test_flags_set_thresholds() -> None:
    assert Thresholds(
        utilisation=(0.5, 0.6), events=3.0, window="1m", slow_burn=Burn(2.0, "4h", "20m")
    ) == parsed(
        *("--utilisation", "0.5", "0.6", "--events", "3", "--window", "1m"),
        *("--slow-burn", "2", "4h", "20m"),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--utilisation", "0.9", "0.8"), "utilisation: the warning must not come after"),
        (("--timeouts", "-1", "0.8"), "timeouts: -1.0 must not be negative"),
        (("--window", "soon"), "window: 'soon' is no duration"),
        (("--fast-burn", "many", "1h", "5m"), "fast_burn: 'many' is no number"),
    ],
)
def test_bad_flags_get_one_line_and_nothing_is_written(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ThresholdError, match=message) as raised:
        write(tmp_path / "alerts", Options(thresholds=parsed(*arguments)))
    assert 1 == len(str(raised.value).splitlines())
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"matchers": ("env",)}, "'env' is no label matcher, such as env=\"prod\""),
        ({"service": "the app"}, "--service-label: 'the app' is no name of a label"),
        ({"uid_prefix": ""}, "--uid-prefix: '' is not 1 to 24 letters, digits, _ or -"),
        ({"grafana": "grafana"}, "--grafana: 'grafana' is no address, such as https://..."),
        ({"group_wait": "x"}, "--group-wait: 'x' is no duration, such as 90s, 5m or 1h30m"),
    ],
)
def test_options_that_make_no_sense_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as raised:
        Options(**fields)
    assert message == str(raised.value)

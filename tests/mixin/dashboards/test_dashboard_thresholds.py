"""Thresholds that are not the defaults colour the panels, as they change the alerts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from mixin.dashboards.gates.walking import Json, with_queries
from poolscope.cli import main
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.write import documents
from poolscope.mixin.thresholds import Thresholds

CUSTOM: Final[dict[str, tuple[float, float]]] = {
    "utilization": (0.71, 0.91),
    "saturated": (0.11, 0.51),
    "waiting": (0.21, 2.1),
    "timeouts": (0.0021, 0.021),
    "acquire_seconds": (0.21, 2.5),
    "open_failures": (0.021, 0.21),
    "reuse": (0.81, 0.41),
    "leaked": (3.0, 7.0),
    "server_used": (0.61, 0.81),
    "idle_in_transaction_seconds": (61.0, 601.0),
}
"""For each pair that dashboards colour by, values that nothing else has."""

ONLY_ALERTS: Final = {"errors"}


def steps(value: Any) -> Iterator[list[float]]:
    """Yield the values of all colour steps in a panel, in order and without the first colour."""
    if isinstance(value, dict):
        if "steps" in value and isinstance(value["steps"], list):
            yield [step["value"] for step in value["steps"] if step["value"] is not None]
        for inner in value.values():
            yield from steps(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from steps(inner)


def coloured(panels: list[Json], pair: tuple[float, float]) -> list[str]:
    """Return the titles of the panels that colour by a pair of thresholds."""
    return [panel["title"] for panel in panels if sorted(pair) in steps(panel)]


def panels(made: dict[str, Json]) -> list[Json]:
    return [panel for document in made.values() for panel in with_queries(document)]


def test_each_pair_of_thresholds_is_checked() -> None:
    pairs = {
        field.name
        for field in dataclasses.fields(Thresholds)
        if type(field.default) is tuple and field.name not in ONLY_ALERTS
    }
    assert pairs == CUSTOM.keys()


@pytest.mark.parametrize("name", CUSTOM)
def test_a_custom_threshold_colours_the_panels_that_the_default_one_did(name: str) -> None:
    pair = CUSTOM[name]
    default = panels(documents(Options()))
    custom = panels(documents(Options(thresholds=Thresholds(**{name: pair}))))  # type: ignore[arg-type] # of many types
    assert [] == coloured(default, pair)
    changed = [
        panel["title"]
        for before, panel in zip(default, custom, strict=True)
        if list(steps(before)) != list(steps(panel))
    ]
    assert changed
    assert changed == coloured(custom, pair)


def test_a_count_of_saturated_pools_uses_the_threshold() -> None:
    overview = documents(Options(thresholds=Thresholds(saturated=(0.11, 0.51))))["overview.json"]
    (panel,) = (each for each in overview["panels"] if each.get("title") == "Saturated pools")
    assert "> 0.51)" in panel["targets"][0]["expr"]


@pytest.mark.parametrize("name", CUSTOM)
def test_each_of_them_is_a_flag_of_the_command(tmp_path: Path, name: str) -> None:
    flag = "--" + name.replace("_", "-")
    assert 0 == main(["dashboards", "--out", str(tmp_path), flag, *map(str, CUSTOM[name])])
    made = {path.name: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert coloured(panels(made), CUSTOM[name])

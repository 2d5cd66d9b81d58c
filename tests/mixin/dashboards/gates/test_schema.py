"""The schema of dashboards: what Grafana's types do not allow is reported."""

from __future__ import annotations

from typing import Any, Final

import pytest

from mixin.dashboards.gates import schema
from mixin.dashboards.gates.example import REMOVED, ROW, broken


def override(option: str, value: object) -> list[dict[str, Any]]:
    properties = [{"id": option, "value": value}]
    return [{"matcher": {"id": "byName", "options": "orders"}, "properties": properties}]


DEFAULTS: Final = "$.panels[1].fieldConfig.defaults"
OVERRIDE: Final = "$.panels[1].fieldConfig.overrides[0].properties[0]"

SHAPES: Final[list[tuple[str, object, str]]] = [
    ("schemaVersion", REMOVED, "$: 'schemaVersion' is a required property"),
    ("rows", [], "$: Additional properties are not allowed ('rows' was unexpected)"),
    ("panels.0.collapsed", REMOVED, "$.panels[0]: 'collapsed' is a required property"),
    ("panels.1.type", "graph", "$.panels[1].type: 'graph' is not in grafana-schema.json"),
    ("panels.1.gridPos.w", "8", "$.panels[1].gridPos.w: '8' is not of type 'number'"),
    (
        "panels.1.fieldConfig.defaults.thresholds",
        {"mode": "absolute", "steps": [{"color": "red", "value": "null"}]},
        f"{DEFAULTS}.thresholds.steps[0].value: 'null' is not of type 'number', 'null'",
    ),
    (
        "panels.1.options.legend.placement",
        "below",
        "$.panels[1].options.legend.placement: 'below' is not one of ['bottom', 'right']",
    ),
    (
        "panels.1.fieldConfig.defaults.custom.lineWdth",
        2,
        f"{DEFAULTS}.custom: Additional properties are not allowed ('lineWdth' was unexpected)",
    ),
    (
        "panels.1.fieldConfig.overrides",
        override("custom.lineWdth", 2),
        f"{OVERRIDE}.id: 'custom.lineWdth' is not a field option",
    ),
    (
        "panels.1.fieldConfig.overrides",
        override("custom.lineWidth", "2"),
        f"{OVERRIDE}.value: '2' is not of type 'number'",
    ),
    (
        "panels.1.targets.0.legend",
        "",
        "$.panels[1].targets[0]: Additional properties are not allowed ('legend' was unexpected)",
    ),
    (
        "panels.4",
        {**ROW, "panels": [{**ROW["panels"][0], "interval": 5}]},
        "$.panels[4].panels[0].interval: 5 is not of type 'string'",
    ),
]


@pytest.mark.parametrize(("path", "value", "error"), SHAPES)
def test_what_the_schema_does_not_allow_is_reported(path: str, value: object, error: str) -> None:
    assert [error] == schema.errors(broken(path, value))


@pytest.mark.parametrize("own", [override("unit", "s"), override("custom.hideFrom.viz", True)])
def test_overrides_may_set_any_field_option(own: list[Any]) -> None:
    assert [] == schema.errors(broken("panels.1.fieldConfig.overrides", own))

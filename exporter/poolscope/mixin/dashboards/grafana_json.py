"""Converts what grafanalib writes to clean JSON for current Grafana."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from string import ascii_uppercase
from typing import Any, Final

from grafanalib._gen import DashboardEncoder

SCHEMA_VERSION: Final = 39
"""The classic schema: Grafana 10 and later read it, and Grafana 13 rejects newer ones in files."""

DASHBOARD_KEYS: Final = frozenset({
    "annotations", "description", "editable", "graphTooltip", "links", "panels", "refresh",
    "schemaVersion", "tags", "templating", "time", "timepicker", "timezone", "title", "uid",
    "version",
})  # fmt: skip
PANEL_KEYS: Final = frozenset({
    "collapsed", "datasource", "description", "fieldConfig", "gridPos", "id", "interval", "links",
    "maxDataPoints", "maxPerRow", "options", "panels", "repeat", "repeatDirection", "targets",
    "title", "transformations", "transparent", "type",
})  # fmt: skip
ROW_KEYS: Final = frozenset({"collapsed", "gridPos", "id", "panels", "title", "type"})
TARGET_KEYS: Final = frozenset({
    "datasource", "expr", "format", "hide", "instant", "interval", "legendFormat", "range", "refId",
})  # fmt: skip
VARIABLE_KEYS: Final = frozenset({
    "allValue", "current", "datasource", "definition", "hide", "includeAll", "label", "multi",
    "name", "options", "query", "refresh", "regex", "sort", "type",
})  # fmt: skip

POINTS_OF_NOW: Final = 10_000
"""
The points that are asked for where only the last one is shown.

Grafana divides the time range by it, and rates cover one such part or four scrapes, whichever is
longer: by default, what is shown as of now would be the mean of hours if a week is shown.
"""

Json = dict[str, Any]


def clean_json(dashboard: Any) -> Json:
    """Return a grafanalib dashboard as JSON, without obsolete keys and empty values."""
    made = json.loads(json.dumps(dashboard.to_json_data(), cls=DashboardEncoder))
    made["schemaVersion"] = SCHEMA_VERSION
    made["timepicker"] = {}
    numbers = count(1)
    made["panels"] = [_panel(panel, numbers) for panel in made["panels"]]
    variables = made["templating"]["list"]
    made["templating"]["list"] = [_variable(variable) for variable in variables]
    return {key: made[key] for key in sorted(DASHBOARD_KEYS) if key in made}


def text_of(dashboard: Json) -> str:
    """Return the text of a file: deterministic, with sorted keys, so that diffs are readable."""
    return json.dumps(dashboard, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _panel(panel: Json, numbers: Iterator[int]) -> Json:
    number = next(numbers)
    if panel["type"] == "row":
        row = {key: value for key, value in panel.items() if key in ROW_KEYS}
        return {**row, "id": number, "panels": [_panel(each, numbers) for each in row["panels"]]}
    transformations = panel["transformations"]
    panel = without_empty({key: value for key, value in panel.items() if key in PANEL_KEYS})
    panel["id"] = number
    panel["transformations"] = transformations
    if panel["type"] == "text":
        for key in ("datasource", "fieldConfig", "targets"):
            panel.pop(key, None)
    if "fieldConfig" in panel:
        panel["fieldConfig"].setdefault("overrides", [])
        # A setting of older tables; Grafana ignores the cell options if it is present.
        panel["fieldConfig"]["defaults"].get("custom", {}).pop("displayMode", None)
        for thresholds in _thresholds(panel["fieldConfig"]):
            # The first step has no value: it is the colour below all others.
            thresholds["steps"] = [{"value": None, **step} for step in thresholds["steps"]]
    if "targets" in panel:
        panel["targets"] = [
            _target(target, letter)
            for target, letter in zip(panel["targets"], ascii_uppercase, strict=False)
        ]
    panel.pop("maxDataPoints", None)
    if all(target["instant"] for target in panel.get("targets", [{"instant": False}])):
        panel["maxDataPoints"] = POINTS_OF_NOW
    return panel


def _thresholds(config: Json) -> Iterator[Json]:
    if "thresholds" in config["defaults"]:
        yield config["defaults"]["thresholds"]
    for override in config["overrides"]:
        for option in override["properties"]:
            if option["id"] == "thresholds":
                yield option["value"]


def _target(target: Json, letter: str) -> Json:
    target = without_empty({key: value for key, value in target.items() if key in TARGET_KEYS})
    instant = bool(target.get("instant"))
    return {
        **target,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "refId": letter,
        "instant": instant,
        "range": not instant,
    }


def _variable(variable: Json) -> Json:
    kept = {key: value for key, value in variable.items() if key in VARIABLE_KEYS}
    kept = {key: value for key, value in kept.items() if value is not None}
    if not kept["current"]:
        # Grafana selects a value when the dashboard is opened.
        del kept["current"]
    if kept["type"] == "query":
        kept["definition"] = kept["query"]
        kept["query"] = {"query": kept["query"], "refId": f"variable-{kept['name']}"}
        kept["options"] = []
    return kept


def without_empty(value: Any) -> Any:
    """Return a value without null, empty strings and empty objects, at any depth."""
    if isinstance(value, dict):
        kept = {key: without_empty(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in (None, "", {})}
    if isinstance(value, list):
        return [without_empty(inner) for inner in value]
    return value

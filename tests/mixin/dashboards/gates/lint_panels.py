"""Rules for the panels of a dashboard: their texts, units, legends and positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import Final

from mixin.dashboards.gates.expressions import PROMETHEUS_LABELS, of_panel, stand_ins, tree
from mixin.dashboards.gates.labels import Reader
from mixin.dashboards.gates.walking import Json, name, outer_panels, panels, targets, with_queries

TYPES: Final = (
    *("bargauge", "gauge", "heatmap", "piechart", "row", "stat", "state-timeline", "table"),
    *("text", "timeseries"),
)
WITH_LEGENDS: Final = ("bargauge", "piechart", "stat", "state-timeline", "timeseries")

# Grafana shows an unknown unit literally, behind the number.
UNITS: Final = (
    *("none", "short", "percent", "percentunit", "bool", "bool_yes_no", "bool_on_off"),
    *("bytes", "decbytes", "Bps", "binBps", "ns", "µs", "ms", "s", "m", "h", "d", "dtdurations"),
    *("dtdurationms", "clocks", "cps", "ops", "reqps", "rps", "wps", "iops", "eps", "mps", "cpm"),
    *("string", "dateTimeAsIso", "dateTimeFromNow"),
)
OWN_UNITS: Final = ("suffix:", "prefix:", "si:", "count:", "time:")

COLUMNS: Final = 24
MIN_DESCRIPTION: Final = 20
"""The minimum number of characters of a description."""
TABLE_HEIGHT: Final = 9
"""The minimum height, in rows of the grid, for a graph with a table as its legend below."""


def kinds(dashboard: Json) -> Iterator[str]:
    for panel in panels(dashboard):
        if panel.get("type") not in TYPES:
            yield f"{name(panel)}: type {panel.get('type')!r}"


def ids(dashboard: Json) -> Iterator[str]:
    count = Counter(panel.get("id") for panel in panels(dashboard))
    for panel in panels(dashboard):
        if not isinstance(panel.get("id"), int) or panel["id"] < 1:
            yield f"{name(panel)}: no id"
    yield from (f"{n} panels have the id {panel}" for panel, n in count.items() if n > 1 and panel)


def texts(dashboard: Json) -> Iterator[str]:
    for panel in panels(dashboard):
        if not panel.get("title") and panel.get("type") != "text":
            yield f"{name(panel)}: no title"
    for panel in with_queries(dashboard):
        description = panel.get("description", "")
        whole = description[:1].isupper() and description.rstrip().endswith(".")
        if len(description) < MIN_DESCRIPTION or not whole:
            yield f"{name(panel)}: its description is not a sentence"


def units(dashboard: Json) -> Iterator[str]:
    for panel in with_queries(dashboard):
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if not unit:
            yield f"{name(panel)}: no unit"
        elif unit not in UNITS and not unit.startswith(OWN_UNITS):
            yield f"{name(panel)}: unit {unit!r} is not one of Grafana's"


def asked(dashboard: Json) -> Iterator[str]:
    for panel in with_queries(dashboard):
        names = [target.get("refId") for target in targets(panel)]
        if not names:
            yield f"{name(panel)}: it has no queries"
        if len(set(names)) < len(names):
            yield f"{name(panel)}: two queries have the same refId"


def _may_be_several(dashboard: Json, panel: Json) -> bool:
    if len(targets(panel)) > 1:
        return True
    for each in of_panel(panel, stand_ins(dashboard)):
        try:
            return Reader(PROMETHEUS_LABELS, ["*:*"]).result(tree(each.text)) != frozenset()
        except ValueError:
            return False
    return False


def legends(dashboard: Json) -> Iterator[str]:
    """Where a panel may have several series, they can be told apart."""
    for panel in with_queries(dashboard):
        if panel.get("type") not in WITH_LEGENDS or not _may_be_several(dashboard, panel):
            continue
        for target in targets(panel):
            if target.get("legendFormat", "__auto") in ("", "__auto"):
                yield f"{name(panel)}, query {target.get('refId', '?')}: its series have no names"
        legend = panel.get("options", {}).get("legend", {})
        hidden = legend.get("showLegend") is False or legend.get("displayMode") == "hidden"
        if hidden and panel["type"] in ("piechart", "timeseries"):
            yield f"{name(panel)}: its legend is hidden"


def ineffective_options(dashboard: Json) -> Iterator[str]:
    """No options that Grafana accepts, and that do not have the effect of their name."""
    for panel in with_queries(dashboard):
        options, kind = panel.get("options", {}), panel.get("type")
        legend = options.get("legend", {})
        below = legend.get("displayMode") == "table" and legend.get("placement") != "right"
        if below and legend.get("showLegend", True) and panel["gridPos"]["h"] < TABLE_HEIGHT:
            yield f"{name(panel)}: it is too low for a legend that is a table below the graph"
        color = options.get("color", {})
        if kind == "heatmap" and "exponent" in color and color.get("mode") != "opacity":
            yield f"{name(panel)}: exponent has no effect in mode {color.get('mode')!r}"
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        if (
            kind == "state-timeline"
            and options.get("mergeValues", True)
            and defaults.get("mappings")
            and defaults.get("color", {}).get("mode") == "thresholds"
        ):
            yield f"{name(panel)}: merged values with colours of thresholds cannot have mappings"


def _overlap(one: Json, other: Json) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def _placed(together: list[Json]) -> Iterator[str]:
    placed = []
    for panel in together:
        place = panel.get("gridPos", {})
        if {"h", "w", "x", "y"} - place.keys():
            yield f"{name(panel)}: it has no position"
            continue
        placed.append(panel)
        if min(place["h"], place["w"]) < 1 or min(place["x"], place["y"]) < 0:
            yield f"{name(panel)}: its position is invalid"
        if place["x"] + place["w"] > COLUMNS:
            yield f"{name(panel)}: it reaches beyond {COLUMNS} columns"
    for one, other in combinations(placed, 2):
        if _overlap(one["gridPos"], other["gridPos"]):
            yield f"{name(one)} and {name(other)} overlap"


def grid(dashboard: Json) -> Iterator[str]:
    outer = outer_panels(dashboard)
    yield from _placed(outer)
    for row in outer:
        if row.get("type") == "row":
            yield from _placed(row.get("panels", []))

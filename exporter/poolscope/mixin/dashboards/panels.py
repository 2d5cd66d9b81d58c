"""
Builders of panels: with `tables.py` the only module that knows how grafanalib describes them.

grafanalib writes the JSON of Grafana 7. `extraJson` adds the options that it lacks, and
`grafana_json.clean_json` removes the obsolete ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafanalib import core as g

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

GREEN, ORANGE, RED = "green", "orange", "red"
BLUE, LIGHT_BLUE, PURPLE, GREY = "blue", "light-blue", "purple", "#8e8e8e"

Json = dict[str, Any]


NO_DATA, NO_LIMIT = "no data", "no limit"


FEW_SERIES: Final[Json] = {"showLegend": True, "calcs": []}
MANY_SERIES: Final[Json] = {
    "showLegend": True,
    "displayMode": "table",
    "placement": "right",
    "calcs": ["lastNotNull", "mean", "max"],
    "sortBy": "Max",
    "sortDesc": True,
}
"""Legends."""


@dataclass(frozen=True)
class PlacedPanel:
    """A panel and its size: the width in columns (of 24) and the height in rows of the grid."""

    panel: Any
    width: int
    height: int


def query(expr: str, legend: str = "", *, instant: bool = False, table: bool = False) -> Any:
    """
    Return a query.

    instant: whether it asks for the current value only.
    table: whether the result is a row for each series.
    """
    kind = "heatmap" if legend == "{{le}}" else "table" if table else "time_series"
    return g.Target(expr=expr, legendFormat=legend or "__auto", instant=instant, format=kind)


def threshold_steps(good: str, *bad: tuple[float, str]) -> list[Json]:
    """Return the colour below all thresholds, and the colour from each threshold upwards."""
    return [{"color": good, "value": None}, *({"color": c, "value": v} for v, c in bad)]


def ascending_thresholds(pair: tuple[float, float]) -> list[Json]:
    """Return the colours of a number that is bad when high, from (warning, critical)."""
    return threshold_steps(GREEN, (pair[0], ORANGE), (pair[1], RED))


def descending_thresholds(pair: tuple[float, float]) -> list[Json]:
    """Return the colours of a number that is bad when low, from (warning, critical)."""
    return threshold_steps(RED, (pair[1], ORANGE), (pair[0], GREEN))


def whole_or(unit: str, decimals: int | None) -> str:
    """Return the unit: of whole numbers, none, which would be 1 K instead of 1040."""
    return "none" if (unit, decimals) == ("short", 0) else unit


def colour(name: str, fixed: str, **custom: Any) -> Json:
    """Return an override: a fixed colour, and drawing options, for the series of a name."""
    properties = [{"id": "color", "value": {"mode": "fixed", "fixedColor": fixed}}]
    properties += [{"id": f"custom.{key}", "value": value} for key, value in custom.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def shades(pattern: str, base: str) -> Json:
    """Return an override: the series whose names match a pattern have shades of a colour."""
    properties = [{"id": "color", "value": {"mode": "shades", "fixedColor": base}}]
    return {"matcher": {"id": "byRegexp", "options": pattern}, "properties": properties}


def unstacked_line(name: str, fixed: str) -> Json:
    """Return an override: the series is a line that is not part of the stack."""
    stack = {"mode": "none", "group": name}
    return colour(name, fixed, fillOpacity=0, stacking=stack, lineWidth=2)


def dashed_line(name: str, fixed: str = GREY) -> Json:
    """Return an override: the series is a limit, drawn as a dashed line outside the stack."""
    stack = {"mode": "none", "group": "limit"}
    line = {"fill": "dash", "dash": [8, 6]}
    return colour(name, fixed, lineStyle=line, fillOpacity=0, stacking=stack, lineWidth=2)


def special(null: str, not_a_number: str, colour: str) -> list[Json]:
    """Return what is shown instead of numbers that no threshold may colour."""
    texts = {"null": null, "nan": not_a_number}
    shown: list[Json] = [
        {
            "type": "special",
            "options": {"match": match, "result": {"text": text, "color": colour, "index": index}},
        }
        for index, (match, text) in enumerate(texts.items())
    ]
    no_limit = {"text": NO_LIMIT, "color": colour, "index": len(shown)}
    return [*shown, {"type": "value", "options": {"Infinity": no_limit}}]


def outline(name: str, fixed: str) -> Json:
    """Return an override: a band of the stack that is told from full ones without colours."""
    return colour(name, fixed, fillOpacity=8, lineStyle={"fill": "dash", "dash": [3, 5]})


def own_axis(name: str, fixed: str) -> Json:
    """Return an override: a thin line with its own axis, so that it does not squeeze the others."""
    return colour(
        name,
        fixed,
        axisPlacement="right",
        axisLabel=name,
        lineStyle={"fill": "dash", "dash": [8, 6]},
        fillOpacity=0,
    )


def timeseries(
    title: str,
    description: str,
    unit: str,
    *queries: Any,
    size: tuple[int, int] = (12, 8),
    stacked: bool = False,
    thresholds: Sequence[Json] = (),
    overrides: Sequence[Json] = (),
    axis_soft_max: float | None = None,
    decimals: int | None = None,
    many: bool = False,
    nothing: str = "",
    link: tuple[str, str] | None = None,
) -> PlacedPanel:
    """
    Return a graph over time.

    thresholds: colours whose values are drawn as dashed lines.
    axis_soft_max: the value up to which the axis always reaches.
    many: whether there may be many series, whose legend is a table with their numbers.
    nothing: what is said where there is no data.
    link: the title and the URL of what a click on a series leads to.
    """
    said = {"noValue": nothing} if nothing else {}
    panel = g.TimeSeries(
        **common(title, description, queries),
        unit=unit,
        # Many areas over each other hide the lines.
        fillOpacity=35 if stacked else 0 if many else 12,
        stacking={"mode": "normal" if stacked else "none", "group": "A"},
        thresholds=list(thresholds) or threshold_steps(GREEN),
        thresholdsStyleMode="dashed" if thresholds else "off",
        overrides=list(overrides),
        tooltipMode="multi",
        tooltipSort="desc",
        showPoints="never",
        lineInterpolation="stepAfter" if stacked else "linear",
        valueMin=0,
        valueDecimals=decimals,
        extraJson={
            "fieldConfig": {
                "defaults": {"custom": {"axisSoftMax": axis_soft_max}, **said, **_links(link)}
            },
            "options": {"legend": MANY_SERIES if many else FEW_SERIES},
        },
    )
    return PlacedPanel(panel, *size)


def stat(
    title: str,
    description: str,
    unit: str,
    *queries: Any,
    thresholds: Sequence[Json],
    size: tuple[int, int] = (4, 4),
    decimals: int | None = None,
    not_a_number: str = "no traffic",
    named: bool = False,
    link: tuple[str, str] | None = None,
) -> PlacedPanel:
    """
    Return a number of now on a coloured background; it is grey without data.

    not_a_number: what is shown if the number is a share of nothing.
    named: whether the name of the series is shown, too.
    link: the title and the URL of what a click leads to.
    """
    for each in queries:
        each.instant = True
    panel = g.Stat(
        **common(title, description, queries),
        format=whole_or(unit, decimals),
        thresholds=list(thresholds),
        color={"mode": "thresholds"},
        colorMode="background",
        # What has ended would still be in a graph, with its last number in big letters.
        graphMode="none",
        reduceCalc="last",
        textMode="value_and_name" if named else "auto",
        decimals=decimals,
        noValue=NO_DATA,
        extraJson={
            "fieldConfig": {
                "defaults": {"mappings": special(NO_DATA, not_a_number, GREY), **_links(link)}
            },
            "options": {"wideLayout": True, "showPercentChange": False},
        },
    )
    return PlacedPanel(panel, *size)


def timeline(
    title: str,
    description: str,
    unit: str,
    *queries: Any,
    thresholds: Sequence[Json],
    size: tuple[int, int] = (24, 8),
) -> PlacedPanel:
    """Return a row for each series, coloured over time by its value."""
    panel = g.StateTimeline(
        **common(title, description, queries),
        thresholds=list(thresholds),
        # Merged cells would get one colour for different values.
        mergeValues=False,
        showValue="never",
        rowHeight=0.85,
        fillOpacity=80,
        legendDisplayMode="list",
        extraJson={
            "fieldConfig": {"defaults": {"unit": unit, "decimals": 1}},
            "options": {"legend": {"showLegend": False, "placement": "bottom"}},
        },
    )
    return PlacedPanel(panel, *size)


def heatmap(
    title: str, description: str, unit: str, expr: str, *, size: tuple[int, int] = (12, 8)
) -> PlacedPanel:
    """Return the buckets of a histogram over time; darker cells have more events."""
    panel = g.Heatmap(
        **common(title, description, [query(expr, "{{le}}")]),
        extraJson={
            "fieldConfig": {
                "defaults": {"unit": unit, "custom": {"scaleDistribution": {"type": "linear"}}}
            },
            "options": {
                "calculate": False,
                "cellGap": 1,
                "cellValues": {"unit": "reqps", "decimals": 2},
                "color": {
                    "mode": "scheme",
                    "scheme": "Oranges",
                    "steps": 64,
                    "fill": "dark-orange",
                    "reverse": False,
                    "scale": "exponential",
                },
                "exemplars": {"color": "rgba(255,0,255,0.7)"},
                "filterValues": {"le": 1e-9},
                "legend": {"show": True},
                "rowsFrame": {"layout": "auto"},
                "showValue": "never",
                "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
                "yAxis": {"axisPlacement": "left", "unit": unit, "reverse": False},
            },
        },
    )
    return PlacedPanel(panel, *size)


def _links(link: tuple[str, str] | None) -> Json:
    if link is None:
        return {}
    title, url = link
    return {"links": [{"title": title, "url": url, "targetBlank": False}]}


def text(markdown: str, *, size: tuple[int, int] = (24, 2)) -> PlacedPanel:
    """Return a panel with a text in Markdown."""
    panel = g.Text(content=markdown, mode="markdown", transparent=True)
    return PlacedPanel(panel, *size)


def common(title: str, description: str, queries: Sequence[Any]) -> Json:
    """Return the parameters that all panels have."""
    return {
        "title": title,
        "description": description,
        "dataSource": DATASOURCE,
        "targets": list(queries),
    }

"""
Builders of panels: the only module that knows how grafanalib describes them.

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


NO_DATA, NO_LIMIT, EMPTY_CELL = "no data", "no limit", "–"  # noqa: RUF001 - a dash


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


def colour(name: str, fixed: str, **custom: Any) -> Json:
    """Return an override: a fixed colour, and drawing options, for the series of a name."""
    properties = [{"id": "color", "value": {"mode": "fixed", "fixedColor": fixed}}]
    properties += [{"id": f"custom.{key}", "value": value} for key, value in custom.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def unstacked_line(name: str, fixed: str) -> Json:
    """Return an override: the series is a line that is not part of the stack."""
    stack = {"mode": "none", "group": name}
    return colour(name, fixed, fillOpacity=0, stacking=stack, lineWidth=2)


def dashed_line(name: str, fixed: str = GREY) -> Json:
    """Return an override: the series is a limit, drawn as a dashed line outside the stack."""
    stack = {"mode": "none", "group": "limit"}
    line = {"fill": "dash", "dash": [8, 6]}
    return colour(name, fixed, lineStyle=line, fillOpacity=0, stacking=stack, lineWidth=2)


def _special(null: str, not_a_number: str, colour: str) -> list[Json]:
    """Return what is shown instead of numbers that no threshold may colour."""
    texts = {"null": null, "nan": not_a_number}
    special: list[Json] = [
        {
            "type": "special",
            "options": {"match": match, "result": {"text": text, "color": colour, "index": index}},
        }
        for index, (match, text) in enumerate(texts.items())
    ]
    no_limit = {"text": NO_LIMIT, "color": colour, "index": len(special)}
    return [*special, {"type": "value", "options": {"Infinity": no_limit}}]


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
) -> PlacedPanel:
    """
    Return a graph over time.

    thresholds: colours whose values are drawn as dashed lines.
    axis_soft_max: the value up to which the axis always reaches.
    """
    panel = g.TimeSeries(
        **_common(title, description, queries),
        unit=unit,
        fillOpacity=35 if stacked else 12,
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
            "fieldConfig": {"defaults": {"custom": {"axisSoftMax": axis_soft_max}}},
            "options": {"legend": {"showLegend": True, "calcs": []}},
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
) -> PlacedPanel:
    """
    Return a number of now on a coloured background; it is grey without data.

    not_a_number: what is shown if the number is a share of nothing.
    """
    for each in queries:
        each.instant = True
    panel = g.Stat(
        **_common(title, description, queries),
        format=unit,
        thresholds=list(thresholds),
        color={"mode": "thresholds"},
        colorMode="background",
        # What has ended would still be in a graph, with its last number in big letters.
        graphMode="none",
        reduceCalc="last",
        decimals=decimals,
        noValue=NO_DATA,
        extraJson={
            "fieldConfig": {"defaults": {"mappings": _special(NO_DATA, not_a_number, GREY)}},
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
        **_common(title, description, queries),
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
        **_common(title, description, [query(expr, "{{le}}")]),
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


@dataclass(frozen=True)
class Column:
    """
    A column of a table: its query, unit and colours.

    mappings: texts and colours that are shown instead of numbers.
    coloured: whether these colour the cell; thresholds always do.
    """

    title: str
    expr: str
    unit: str = "short"
    thresholds: Sequence[Json] = ()
    decimals: int | None = None
    mappings: Sequence[Json] = ()
    coloured: bool = False

    @property
    def width(self) -> int:
        """The width in pixels, for the title and the sorting arrow, and for its texts."""
        texts = [len(mapping["options"]["result"]["text"]) for mapping in self.mappings]
        return max(80, 8 * len(self.title) + 40, *(8 * length + 24 for length in texts))


def table(
    title: str,
    description: str,
    keys: dict[str, str],
    columns: Sequence[Column],
    *,
    size: tuple[int, int] = (24, 10),
    links: Sequence[tuple[str, str, str]] = (),
) -> PlacedPanel:
    """
    Return a table with a row for each combination of labels, sorted by the first column.

    keys: the titles of the columns of labels, by label.
    columns: the columns of values, which follow them.
    links: for each link, the title of its column, the title of the link, and its URL.
    """
    queries = [query(column.expr, instant=True, table=True) for column in columns]
    values = [f"Value #{chr(ord('A') + number)}" for number in range(len(columns))]
    if len(columns) == 1:
        values = ["Value"]
    names = {**keys, **dict(zip(values, (c.title for c in columns), strict=True))}
    panel = g.Table(
        **_common(title, description, queries),
        thresholds=threshold_steps("text"),
        overrides=[
            # A process id is a name, not a number to be formatted.
            *(_label_column(name) for name in keys.values()),
            *(_column(column) for column in columns),
            *(_link(name, title, url) for name, title, url in links),
        ],
        transformations=_merged(names),
        extraJson={
            "fieldConfig": {
                "defaults": {
                    "unit": "short",
                    "color": {"mode": "thresholds"},
                    "custom": {
                        "align": "auto",
                        "cellOptions": {"type": "auto"},
                        "inspect": False,
                        "minWidth": 60,
                    },
                }
            },
            "options": {
                "showHeader": True,
                "cellHeight": "sm",
                "sortBy": [{"displayName": columns[0].title, "desc": True}],
            },
        },
    )
    return PlacedPanel(panel, *size)


def _merged(names: dict[str, str]) -> list[Json]:
    """Return the transformations that join the queries to one table, with titled columns."""
    order = {name: place for place, name in enumerate(names)}
    return [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True},
                "indexByName": order,
                "renameByName": names,
            },
        },
    ]


def _column(column: Column) -> Json:
    cell: Json = {"type": "auto"}
    if column.thresholds or column.coloured:
        cell = {"type": "color-background", "mode": "basic"}
    mappings = [*column.mappings, *_special(EMPTY_CELL, EMPTY_CELL, "transparent")]
    properties: list[Json] = [
        {"id": "unit", "value": column.unit},
        {"id": "custom.cellOptions", "value": cell},
        {"id": "custom.width", "value": column.width},
        {"id": "mappings", "value": mappings},
    ]
    if column.decimals is not None:
        properties.append({"id": "decimals", "value": column.decimals})
    if column.thresholds:
        steps = {"mode": "absolute", "steps": list(column.thresholds)}
        properties.append({"id": "thresholds", "value": steps})
    return {"matcher": {"id": "byName", "options": column.title}, "properties": properties}


def _label_column(column: str) -> Json:
    properties = [{"id": "unit", "value": "string"}]
    return {"matcher": {"id": "byName", "options": column}, "properties": properties}


def _link(column: str, title: str, url: str) -> Json:
    links = [{"title": title, "url": url, "targetBlank": False}]
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": "links", "value": links}],
    }


def text(markdown: str, *, size: tuple[int, int] = (24, 2)) -> PlacedPanel:
    """Return a panel with a text in Markdown."""
    panel = g.Text(content=markdown, mode="markdown", transparent=True)
    return PlacedPanel(panel, *size)


def _common(title: str, description: str, queries: Sequence[Any]) -> Json:
    return {
        "title": title,
        "description": description,
        "dataSource": DATASOURCE,
        "targets": list(queries),
    }

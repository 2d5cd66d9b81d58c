"""Builders of tables: rows of labels and numbers, with their colours and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from grafanalib import core as g

from poolscope.mixin.dashboards.panels import (
    Json,
    PlacedPanel,
    common,
    query,
    special,
    threshold_steps,
    whole_or,
)

LABEL_WIDTHS: Final = {"Kind": 96}
"""Pixels of a column whose texts are known to be short; the others share what is left."""
EMPTY_CELL: Final = "–"  # noqa: RUF001 - a dash


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
        results = [
            result
            for mapping in self.mappings
            for result in (
                mapping["options"].values()
                if mapping["type"] == "value"
                else [mapping["options"]["result"]]
            )
        ]
        texts = [8 * len(result["text"]) + 24 for result in results]
        return max(80, 7 * len(self.title) + 36, *texts)


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
        **common(title, description, queries),
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
    mappings = [*column.mappings, *special(EMPTY_CELL, EMPTY_CELL, "transparent")]
    properties: list[Json] = [
        {"id": "unit", "value": whole_or(column.unit, column.decimals)},
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
    properties: list[Json] = [{"id": "unit", "value": "string"}]
    if column in LABEL_WIDTHS:
        properties.append({"id": "custom.width", "value": LABEL_WIDTHS[column]})
    return {"matcher": {"id": "byName", "options": column}, "properties": properties}


def _link(column: str, title: str, url: str) -> Json:
    links = [{"title": title, "url": url, "targetBlank": False}]
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": "links", "value": links}],
    }

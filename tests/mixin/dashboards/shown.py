"""What a reader of a dashboard sees: the texts, colours and order that Grafana makes of results."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from mixin.dashboards.estate import MINUTES, SCRAPE
from mixin.dashboards.gates.expressions import IN_LEGENDS
from mixin.dashboards.gates.interpolation import Value, interpolate
from mixin.dashboards.gates.live import Span, choose
from mixin.dashboards.gates.walking import Json, targets, with_queries
from support.prometheus import PrometheusServer

FIELD: Final = re.compile(r"\$\{__data\.fields\.([^:}]+)(?::(\w+))?\}")


@dataclass(frozen=True)
class Seen:
    """A number, or the text that is shown for it, and its colour."""

    shown: float | str
    colour: str = ""
    value: float | None = None


def _option(panel: Json, column: str, option: str) -> Any:
    config = panel["fieldConfig"]
    found = config["defaults"].get(option)
    for override in config["overrides"]:
        if override["matcher"]["options"] == column:
            for each in override["properties"]:
                if each["id"] == option:
                    found = each["value"]
    return found


def _mapped(mapping: Json, value: float | None) -> Json | None:
    options = mapping["options"]
    if mapping["type"] == "value":
        shown = "Infinity" if value == math.inf else f"{value:g}" if value is not None else ""
        found: Json | None = options.get(shown)
        return found
    if mapping["type"] == "range":
        inside = value is not None and options["from"] <= value <= options["to"]
        return options["result"] if inside else None
    hit = value is None if options["match"] == "null" else value is not None and math.isnan(value)
    return options["result"] if hit else None


def display(panel: Json, column: str, value: float | None) -> Seen:
    """Return what Grafana shows for a value: the first mapping that fits, and else the number."""
    steps = (_option(panel, column, "thresholds") or {"steps": []})["steps"]
    reached = [
        step["color"]
        for step in steps
        if step["value"] is None or (value is not None and value >= step["value"])
    ]
    colour = reached[-1] if reached else ""
    for mapping in _option(panel, column, "mappings") or ():
        if result := _mapped(mapping, value):
            return Seen(result["text"], result.get("color", colour), value)
    return Seen("" if value is None else round(value, 3), colour, value)


@dataclass(frozen=True)
class Reader:
    """Reads dashboards at a moment, with selected variables."""

    server: PrometheusServer
    at: int

    def _values(self, board: Json, chosen: Mapping[str, Value]) -> dict[str, Value]:
        span = Span(self.at - MINUTES * 60, self.at, SCRAPE)
        return choose(board, self.server, chosen, span.known(SCRAPE))

    def ask(
        self, board: Json, panel: Json, chosen: Mapping[str, Value]
    ) -> list[list[tuple[dict[str, str], float]]]:
        """Return the samples of each query; all are asked for what is now."""
        values = self._values(board, chosen)
        return [
            self.server.query(interpolate(target["expr"], values), self.at)
            for target in targets(panel)
        ]

    def stat(self, board: Json, title: str, **chosen: Value) -> Seen:
        panel = panel_of(board, title, "stat")
        assert all(target["instant"] for target in targets(panel)), "it is not of now"
        samples = [value for samples in self.ask(board, panel, chosen) for _, value in samples]
        assert len(samples) <= 1
        return display(panel, "", samples[0] if samples else None)

    def named(self, board: Json, title: str, **chosen: Value) -> str:
        """Return the name that a stat shows beside its number."""
        panel = panel_of(board, title, "stat")
        assert "value_and_name" == panel["options"]["textMode"]
        (name,) = self.series(board, panel, chosen)
        return name

    def graph(self, board: Json, title: str, **chosen: Value) -> dict[str, float]:
        """Return the last value of each series, by its name in the legend."""
        return self.series(board, panel_of(board, title, "timeseries"), chosen)

    def series(self, board: Json, panel: Json, chosen: Mapping[str, Value]) -> dict[str, float]:
        found = {}
        answers = self.ask(board, panel, chosen)
        for target, samples in zip(targets(panel), answers, strict=True):
            for labels, value in samples:
                found[legend(target, labels)] = value
        return found

    def over_time(self, board: Json, title: str, **chosen: Value) -> dict[str, float]:
        """Return the highest value of each series of a graph, by its name in the legend."""
        panel = panel_of(board, title, "time")
        start, step = self.at - MINUTES * 60, SCRAPE
        values = self._values(board, chosen)
        return {
            legend(target, labels): max(value for _, value in points)
            for target in targets(panel)
            for labels, points in self.server.query_range(
                interpolate(target["expr"], values), start, self.at, step
            )
        }

    def table(self, board: Json, title: str, **chosen: Value) -> list[dict[str, Seen]]:
        panel = panel_of(board, title)
        names = panel["transformations"][1]["options"]["renameByName"]
        answers = self.ask(board, panel, chosen)
        values = [column for name, column in names.items() if name.startswith("Value")]
        rows: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
        for column, samples in zip(values, answers, strict=True):
            for labels, value in samples:
                rows.setdefault(tuple(sorted(labels.items())), {})[column] = value
        (sort,) = panel["options"]["sortBy"]
        by = sort["displayName"]
        ordered = sorted(rows.items(), key=lambda row: row[1].get(by, -math.inf), reverse=True)
        return [
            {
                **{column: Seen("") for name, column in names.items() if column not in values},
                **{names[label]: Seen(text) for label, text in labels},
                **{column: display(panel, column, row.get(column)) for column in values},
            }
            for labels, row in ordered
        ]


def legend(target: Json, labels: Mapping[str, str]) -> str:
    """Return the name of a series, as Grafana makes it of its labels."""
    return IN_LEGENDS.sub(lambda found: labels.get(found[1], ""), target["legendFormat"])


def panel_of(board: Json, title: str, kind: str = "") -> Json:
    (panel,) = (
        each for each in with_queries(board) if each["title"] == title and kind in each["type"]
    )
    return panel


def stats(board: Json) -> Sequence[str]:
    return [panel["title"] for panel in with_queries(board) if panel["type"] == "stat"]


def link(panel: Json, column: str, row: Mapping[str, Seen]) -> str:
    """Return the URL that a cell leads to."""
    (url,) = (each["url"] for each in _option(panel, column, "links"))

    def value(field: re.Match[str]) -> str:
        # A label that no row has is "", as in Grafana.
        text = str(row[field[1]].shown) if field[1] in row else ""
        return quote(text, safe="") if field[2] == "percentencode" else text

    return FIELD.sub(value, url)

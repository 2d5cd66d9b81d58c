"""Whether the panels of a dashboard have data in a real Prometheus, queried as Grafana does."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from promql_parser import parse_duration

from mixin.dashboards.gates.expressions import LABEL_VALUES, QUERY_RESULT, variable_query
from mixin.dashboards.gates.interpolation import Value, interpolate
from mixin.dashboards.gates.walking import Json, name, targets, variables, with_queries
from support.prometheus import PrometheusServer

Values = dict[str, Value]

ALL: Final = "All"


def _asked(query: str, server: PrometheusServer) -> list[str]:
    """Return the results of the query of a variable."""
    if asked := LABEL_VALUES.fullmatch(query):
        return server.label_values(asked["label"], asked["selector"])
    if asked := QUERY_RESULT.fullmatch(query):
        return [
            f"{labels.get('__name__', '')}{{{_pairs(labels)}}} {value:g}"
            for labels, value in server.query(asked["expression"])
        ]
    raise ValueError(f"unsupported query of a variable: {query}")


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f'{key}="{value}"' for key, value in labels.items() if key != "__name__")


def _picked(texts: list[str], pattern: str) -> list[str]:
    """Return what the variable's regular expression extracts from the texts, sorted and unique."""
    if not pattern:
        return sorted(set(texts))
    # Grafana may write it between slashes, and names groups as JavaScript does.
    only = re.compile(pattern.strip("/").replace("(?<", "(?P<"))
    found = [match for text in texts if (match := only.search(text))]
    return sorted({match[1] if only.groups else match[0] for match in found})


def options(variable: Json, server: PrometheusServer, values: Values) -> list[str]:
    """Return the values that Grafana offers for a variable."""
    query = interpolate(variable_query(variable), values)
    if variable.get("type") == "query":
        return _picked(_asked(query, server), variable.get("regex", ""))
    return [option.rpartition(" : ")[2].strip() for option in query.split(",")]


def choose(
    dashboard: Json, server: PrometheusServer, chosen: Mapping[str, Value], known: Values
) -> Values:
    """
    Return a value for each variable: the selected one, else All if it has that, else the first.

    known: the values of Grafana's global variables.
    """
    values = dict(known)
    for variable in variables(dashboard):
        own = variable["name"]
        wanted = chosen.get(own, ALL if variable.get("includeAll") else None)
        if wanted == ALL:
            # A custom value for All is used literally, without a query.
            values[own] = variable.get("allValue") or options(variable, server, values)
        elif wanted is not None:
            several = variable.get("multi") or variable.get("includeAll")
            values[own] = [wanted] if several and isinstance(wanted, str) else wanted
        elif variable.get("type") == "datasource":
            values[own] = "prometheus"
        else:
            values[own] = next(iter(options(variable, server, values)), "")
    return values


@dataclass(frozen=True, slots=True)
class Span:
    """The shown time range, and the interval between samples, in seconds."""

    start: float
    end: float
    interval: float

    def step(self, *wanted: str | None) -> float:
        """Return the step of a query; its panel or target may have a minimum step."""
        own = [parse_duration(each.lstrip(">")).total_seconds() for each in wanted if each]
        return max([self.interval, *own])

    def known(self, step: float) -> Values:
        """Return Grafana's global variables; `$__rate_interval` covers at least four samples."""
        rate = max(step + self.interval, 4 * self.interval)
        shown = self.end - self.start
        return {
            "__interval": f"{round(step * 1000)}ms",
            "__interval_ms": str(round(step * 1000)),
            "__rate_interval": f"{round(rate * 1000)}ms",
            "__range": f"{round(shown)}s",
            "__range_s": str(round(shown)),
            "__range_ms": str(round(shown * 1000)),
            "__from": str(round(self.start * 1000)),
            "__to": str(round(self.end * 1000)),
        }


def _numbers(
    panel: Json, target: Json, server: PrometheusServer, span: Span, values: Values
) -> list[float]:
    """Return all values in the result of a query."""
    step = span.step(panel.get("interval"), target.get("interval"))
    expression = interpolate(target["expr"], values | span.known(step))
    if target.get("instant"):
        return [value for _, value in server.query(expression, span.end)]
    series = server.query_range(expression, span.start, span.end, step)
    return [value for _, points in series for _, value in points]


def _copies(panel: Json, values: Values) -> Iterator[tuple[str, Values]]:
    """Yield the name and the variables of each repetition of a panel."""
    repeated = panel.get("repeat")
    if not repeated:
        yield name(panel), values
        return
    several = values[repeated]
    for value in [several] if isinstance(several, str) else several or [""]:
        yield f"{name(panel)}, {repeated}={value}", values | {repeated: [value]}


def _empty(panel: Json, server: PrometheusServer, span: Span, values: Values) -> str | None:
    """Return why a panel shows nothing, or which of its queries fails; None if it shows data."""
    found = []
    for target in targets(panel):
        if target.get("hide"):
            continue
        try:
            found += _numbers(panel, target, server, span, values)
        except ValueError as error:
            return f"query {target.get('refId', '?')}: {error}"
    if all(math.isnan(number) for number in found):
        return "only NaN" if found else "no data"
    return None


def empty_panels(
    dashboard: Json,
    prometheus: PrometheusServer,
    variables: Mapping[str, Any],
    interval: float,
    *,
    seconds: float = 300.0,
    end: float | None = None,
) -> list[str]:
    """
    Return a line for each panel that shows nothing, with the reason: no data, NaN, or an error.

    variables: selected values by variable, one or a list, or "All". For the others, All is
        selected if the dashboard offers it, and else the first value.
    interval: the seconds between two scrapes.
    seconds: the length of the shown time range.
    end: when it ends; now if there is none.
    """
    end = time.time() if end is None else end
    span = Span(end - seconds, end, interval)
    values = choose(dashboard, prometheus, variables, span.known(interval))
    return [
        f"{where}: {problem}"
        for panel in with_queries(dashboard)
        for where, own in _copies(panel, values)
        if (problem := _empty(panel, prometheus, span, own))
    ]

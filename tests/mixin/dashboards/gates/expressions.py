"""The expressions of PromQL in a dashboard: where they are, and whether they mean anything."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import promql_parser

from mixin.dashboards.gates.interpolation import Value, interpolate
from mixin.dashboards.gates.labels import Reader
from mixin.dashboards.gates.walking import Json, asked_annotations, name, panels, targets, variables

PROMETHEUS_LABELS: Final = ("instance", "job")

STAND_INS: Final[dict[str, Value]] = {
    "__rate_interval": "7919s",
    "__interval": "6271s",
    "__interval_ms": "6271000",
    "__range": "5417s",
    "__range_s": "5417",
    "__range_ms": "5417000",
    "__from": "1700000000000",
    "__to": "1700005417000",
}
"""For what Grafana knows by itself: lengths of time that nobody would write."""

LABEL_VALUES: Final = re.compile(
    r"label_values\((?:(?P<selector>.+),)?\s*(?P<label>\w+)\s*\)", re.DOTALL
)
QUERY_RESULT: Final = re.compile(r"query_result\((?P<expression>.+)\)", re.DOTALL)
IN_LEGENDS: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
RULE_PROBLEM: Final = re.compile(r', rule (\d+), "[^"]*": (?:could not parse expression: )?(.*)')


@dataclass(frozen=True, slots=True)
class Expression:
    """
    One expression of a dashboard.

    owner: the title of the panel, or the name of the variable or annotation.
    where: what problems call its place.
    raw: as it stands there; text: with something sensible for each variable.
    legend: what its series are called, if it says so.
    """

    owner: str
    where: str
    raw: str
    text: str
    legend: str = ""


def variable_query(variable: Json) -> str:
    """Return the query of a query variable, which Grafana writes in two ways."""
    query = variable.get("query", "")
    text: str = query.get("query", "") if isinstance(query, dict) else query
    return text.strip()


def stand_ins(dashboard: Json) -> dict[str, Value]:
    """Return a value for each variable: one of its own, if it names any, else its name."""
    found = dict(STAND_INS)
    for variable in variables(dashboard):
        named = f"{variable['name']}-value"
        if variable.get("type") in ("constant", "custom", "interval", "textbox"):
            first = variable_query(variable).split(",")[0]
            named = first.rpartition(" : ")[2].strip() or named
        found[variable["name"]] = named
    return found


def of_variable(variable: Json) -> str | None:
    """Return the expression that a query variable asks, or None if it asks none."""
    query = variable_query(variable)
    if asked := QUERY_RESULT.fullmatch(query):
        return asked["expression"]
    if asked := LABEL_VALUES.fullmatch(query):
        selector = asked["selector"]
        return f"group by ({asked['label']}) ({selector.strip()})" if selector else None
    return query


def of_panel(panel: Json, values: Mapping[str, Value]) -> Iterator[Expression]:
    """Yield the expression of each query of a panel."""
    for target in targets(panel):
        raw = target.get("expr", "")
        yield Expression(
            owner=panel.get("title", ""),
            where=f"{name(panel)}, query {target.get('refId', '?')}",
            raw=raw,
            text=interpolate(raw, values),
            legend=target.get("legendFormat", ""),
        )


def _of_others(dashboard: Json) -> Iterator[tuple[str, str, str]]:
    """Yield what asks besides panels: kind, name and expression."""
    for variable in variables(dashboard):
        asked = of_variable(variable) if variable.get("type") == "query" else None
        if asked is not None:
            yield "variable", variable["name"], asked
    for annotation in asked_annotations(dashboard):
        asked = annotation.get("expr") or annotation.get("target", {}).get("expr", "")
        yield "annotation", annotation.get("name", "?"), asked


def found(dashboard: Json) -> Iterator[Expression]:
    """Yield every expression of a dashboard."""
    values = stand_ins(dashboard)
    for panel in panels(dashboard):
        yield from of_panel(panel, values)
    for kind, owner, raw in _of_others(dashboard):
        yield Expression(owner, f"{kind} {owner!r}", raw, interpolate(raw, values))


def tree(text: str) -> Any:
    """Return the expression as a tree; raises ValueError if it has none or makes no series."""
    parsed = promql_parser.parse(text)
    if isinstance(parsed, promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
        raise ValueError("a range of time is nothing to show")
    return parsed


def parse(expressions: Sequence[Expression], promtool: str) -> list[str]:
    """Name those that promtool does not accept; one run of it for all of them."""
    rules = [{"record": f"e{n}", "expr": each.text} for n, each in enumerate(expressions)]
    with tempfile.TemporaryDirectory() as folder:
        # JSON is YAML too, and keeps each expression as it is.
        file = Path(folder) / "rules.yml"
        file.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
        run = subprocess.run(
            [promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False
        )
    problems = [
        f"{expressions[int(number) - 1].where}: {problem}"
        for number, problem in RULE_PROBLEM.findall(run.stderr)
    ]
    if run.returncode and not problems:
        raise RuntimeError(run.stderr)
    return problems


def unknown(
    expression: str,
    legend: str = "",
    *,
    labels: Collection[str] = (),
    recorded: Collection[str] = (),
) -> list[str]:
    """
    Name the metrics and labels that the catalogue does not have, and labels that are lost on the
    way: asked for by a legend or an aggregation, or keeping two sides from matching.

    labels: those that every sample has besides its own, `job` and `instance`.
    recorded: patterns of other names that may be used, as of recording rules.
    """
    reader = Reader({*PROMETHEUS_LABELS, *labels}, recorded)
    result = reader.result(tree(expression))
    reader.need(IN_LEGENDS.findall(legend), result, "what the legend names")
    return reader.problems


def all_unknown(
    dashboard: Json, *, labels: Collection[str] = (), recorded: Collection[str] = ()
) -> list[str]:
    """Do the same with every expression of a dashboard that can be read."""
    problems = []
    for each in found(dashboard):
        try:
            inside = unknown(each.text, each.legend, labels=labels, recorded=recorded)
        except ValueError as error:
            inside = [str(error)]
        problems += [f"{each.where}: {problem}" for problem in inside]
    return problems

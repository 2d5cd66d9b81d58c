"""The PromQL expressions in a dashboard, and whether they fit the catalogue."""

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
"""Values for Grafana's global variables: durations that nobody would write."""

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
    where: its place, for reports of problems.
    raw: the expression with variables.
    text: the expression with a plausible value for each variable.
    legend: the template of the legend, if there is one.
    """

    owner: str
    where: str
    raw: str
    text: str
    legend: str = ""


def variable_query(variable: Json) -> str:
    """Return the query of a query variable, which Grafana writes in one of two forms."""
    query = variable.get("query", "")
    text: str = query.get("query", "") if isinstance(query, dict) else query
    return text.strip()


def stand_ins(dashboard: Json) -> dict[str, Value]:
    """Return a plausible value for each variable: its first value if it lists any, else a name."""
    found = dict(STAND_INS)
    for variable in variables(dashboard):
        named = f"{variable['name']}-value"
        if variable.get("type") in ("constant", "custom", "interval", "textbox"):
            first = variable_query(variable).split(",")[0]
            named = first.rpartition(" : ")[2].strip() or named
        found[variable["name"]] = named
    return found


def of_variable(variable: Json) -> str | None:
    """Return the expression of a query variable, or None if it has none."""
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
    """Yield the kind, name and expression of each variable and annotation that has a query."""
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
    """Return an expression as a tree; raises ValueError if it is invalid or cannot be shown."""
    parsed = promql_parser.parse(text)
    if isinstance(parsed, promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
        raise ValueError("a range vector cannot be shown")
    return parsed


def parse(expressions: Sequence[Expression], promtool: str) -> list[str]:
    """Return the errors of promtool; it runs once for all expressions."""
    rules = [{"record": f"e{n}", "expr": each.text} for n, each in enumerate(expressions)]
    with tempfile.TemporaryDirectory() as folder:
        # JSON is valid YAML, and keeps each expression unchanged.
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
    Return the metrics and labels that the catalogue lacks, and labels that are lost: a legend or an
    aggregation uses them, or they prevent two sides from matching.

    labels: labels that every sample has besides its own, `job` and `instance`.
    recorded: patterns of other metric names that are allowed, such as recording rules.
    """
    reader = Reader({*PROMETHEUS_LABELS, *labels}, recorded)
    result = reader.result(tree(expression))
    reader.need(IN_LEGENDS.findall(legend), result, "the result that the legend names")
    return reader.problems


def all_unknown(
    dashboard: Json, *, labels: Collection[str] = (), recorded: Collection[str] = ()
) -> list[str]:
    """Return the same for every expression of a dashboard, and those that do not parse."""
    problems = []
    for each in found(dashboard):
        try:
            inside = unknown(each.text, each.legend, labels=labels, recorded=recorded)
        except ValueError as error:
            inside = [str(error)]
        problems += [f"{each.where}: {problem}" for problem in inside]
    return problems

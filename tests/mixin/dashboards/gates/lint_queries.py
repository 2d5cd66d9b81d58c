"""Rules for the queries of a dashboard."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from promql_parser import (
    AggModifierType,
    AggregateExpr,
    Call,
    MatrixSelector,
    ParenExpr,
    SubqueryExpr,
    VectorSelector,
    display_duration,
    parse_duration,
)

from mixin.dashboards.gates.catalogue import SAMPLES, grows
from mixin.dashboards.gates.expressions import (
    STAND_INS,
    Expression,
    found,
    of_panel,
    stand_ins,
    tree,
)
from mixin.dashboards.gates.promql import Path, matched, name, path_to, selectors, unparen
from mixin.dashboards.gates.walking import Json, with_queries

RATES: Final = ("rate", "increase", "irate")

# Functions that do not use the value of a counter.
NOT_THE_VALUE: Final = (
    *("absent", "absent_over_time", "count", "count_over_time", "group", "present_over_time"),
    *("resets", "timestamp"),
)

LENGTHS: Final = {
    parse_duration(str(STAND_INS[known])): f"${known}"
    for known in ("__interval", "__range", "__rate_interval")
}
FOR_RATES: Final = ("$__rate_interval", "$__range")


def _length(length: timedelta) -> str:
    """Return a duration as it is written in the dashboard."""
    return LENGTHS.get(length) or display_duration(length)


def _nearest(around: Path) -> str:
    """Return the innermost function or aggregation around a part."""
    for outer in reversed(around):
        if isinstance(outer, Call):
            return outer.func.name
        if isinstance(outer, AggregateExpr):
            return str(outer.op)
        if not isinstance(outer, MatrixSelector | ParenExpr):
            break
    return ""


def _ranges(expression: Any, reason: str) -> Iterator[str]:
    for matrix, around in path_to(expression, MatrixSelector):
        function, length = _nearest(around), _length(matrix.range)
        if function in RATES:
            if length not in FOR_RATES:
                yield f"{function} over {length}, not $__rate_interval"
        elif not length.startswith("$") and not reason:
            yield f"{function} over {length}, without a given reason"
    for subquery, around in path_to(expression, SubqueryExpr):
        function, length = _nearest(around), _length(subquery.range)
        if function in RATES:
            yield f"{function} of a subquery"
        elif not length.startswith("$") and not reason:
            yield f"{function} over {length}, without a given reason"


def _counters_and_gauges(expression: Any) -> Iterator[str]:
    for selector, around in selectors(expression):
        metric, function = name(selector), _nearest(around)
        if metric is None:
            continue
        if grows(metric) and function not in (*RATES, *NOT_THE_VALUE):
            yield f"{metric!r} is a counter outside of a rate"
        if not grows(metric) and function in RATES:
            yield f"{function} of {metric!r}, which is not a counter"


def _buckets(expression: Any) -> bool:
    """Return whether it is the rate of a histogram's buckets, or a recording of it."""
    inner = unparen(expression)
    if isinstance(inner, VectorSelector):
        recorded = name(inner) or ""
        return ":" in recorded and "_bucket" in recorded
    if not isinstance(inner, Call) or inner.func.name not in RATES:
        return False
    return all((name(selector) or "").endswith("_bucket") for selector, _ in selectors(inner))


def _quantiles(expression: Any) -> Iterator[str]:
    for call, _ in path_to(expression, Call):
        if call.func.name != "histogram_quantile":
            continue
        inner = unparen(call.args[1])
        adds_up = (
            isinstance(inner, AggregateExpr)
            and str(inner.op) == "sum"
            and inner.modifier is not None
            and inner.modifier.type == AggModifierType.By
            and "le" in inner.modifier.labels
        )
        if not adds_up or not _buckets(inner.expr):
            yield "histogram_quantile is not over sum by (le, ...) (rate(..._bucket[...]))"


def _each(dashboard: Json, reasons: Mapping[str, str]) -> Iterator[tuple[Expression, str]]:
    for each in found(dashboard):
        try:
            expression = tree(each.text)
        except ValueError as error:
            yield each, f"does not parse: {error}"
            continue
        rules: tuple[Iterator[str], ...] = (
            _ranges(expression, reasons.get(each.owner, "")),
            _counters_and_gauges(expression),
            _quantiles(expression),
        )
        yield from ((each, problem) for rule in rules for problem in rule)


def queries(dashboard: Json, reasons: Mapping[str, str]) -> Iterator[str]:
    """
    Check rates, counters, gauges, quantiles, and time ranges.

    reasons: the reasons for fixed time ranges, by the title of the panel or the name of the
        variable or annotation; they do not allow a fixed range of a rate.
    """
    return (f"{each.where}: {problem}" for each, problem in _each(dashboard, reasons))


def _has(metric: str | None, label: str) -> bool:
    """Return whether a metric has a label; all have labels that the catalogue does not use."""
    in_catalogue = any(label in sample.labels for sample in SAMPLES.values())
    return not in_catalogue or metric not in SAMPLES or label in SAMPLES[metric].labels


def selections(dashboard: Json, selected: Collection[str]) -> Iterator[str]:
    """Every selector of a panel selects by the variables of these labels."""
    values = stand_ins(dashboard)
    for panel in with_queries(dashboard):
        for each in of_panel(panel, values):
            yield from _not_selected(each, {label: str(values.get(label)) for label in selected})


def _not_selected(each: Expression, wanted: Mapping[str, str]) -> Iterator[str]:
    try:
        expression = tree(each.text)
    except ValueError:
        return
    for selector, _ in selectors(expression):
        for label, value in wanted.items():
            if _has(name(selector), label) and matched(selector).get(label) != value:
                yield f"{each.where}: {name(selector)!r} does not select by ${label}"

"""PromQL expressions as trees: their parts, and the expressions around a part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from promql_parser import (
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    MatchOp,
    MatrixSelector,
    ParenExpr,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

Path = tuple[Expr, ...]
"""The expressions around a part, from the outermost to the innermost."""

NAME_LABEL: Final = "__name__"


def children(expression: Any) -> list[Expr]:
    """Return the direct subexpressions of an expression."""
    match expression:
        case AggregateExpr():
            # Its parameter is a number, a string or a scalar.
            param = [] if expression.param is None else [expression.param]
            return [*param, expression.expr]
        case BinaryExpr():
            return [expression.lhs, expression.rhs]
        case Call():
            return list(expression.args)
        case MatrixSelector():
            return [expression.vector_selector]
        case ParenExpr() | SubqueryExpr() | UnaryExpr():
            return [expression.expr]
    return []


def path_to(expression: Expr, kind: type, around: Path = ()) -> Iterator[tuple[Any, Path]]:
    """Yield each subexpression of a class, with the expressions around it."""
    if isinstance(expression, kind):
        yield expression, around
    for child in children(expression):
        yield from path_to(child, kind, (*around, expression))


def selectors(expression: Expr) -> Iterator[tuple[VectorSelector, Path]]:
    return path_to(expression, VectorSelector)


def unparen(expression: Any) -> Any:
    while isinstance(expression, ParenExpr):
        expression = expression.expr
    return expression


def _matchers(selector: VectorSelector) -> list[Any]:
    found = selector.matchers
    return [*found.matchers, *(matcher for group in found.or_matchers for matcher in group)]


def name(selector: VectorSelector) -> str | None:
    """Return the name of the metric, or None if the selector does not have a single name."""
    if selector.name is not None:
        return selector.name
    names = [each for each in _matchers(selector) if each.name == NAME_LABEL]
    only = len(names) == 1 and names[0].op == MatchOp.Equal and not selector.matchers.or_matchers
    return str(names[0].value) if only else None


def matched(selector: VectorSelector) -> dict[str, str]:
    """Return the values or patterns of the selector's label matchers, by label."""
    return {each.name: each.value for each in _matchers(selector) if each.name != NAME_LABEL}

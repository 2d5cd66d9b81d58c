"""Expressions of PromQL as trees: what is in them, under what, and which labels come out."""

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
"""What is around a part of an expression, from the outside."""

NAME: Final = "__name__"


def children(expression: Any) -> list[Expr]:
    """Return the parts of an expression that are expressions."""
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
    """Yield each part of a kind, with what is around it."""
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
    """Return the name of the metric; None if the selector does not say one name."""
    if selector.name is not None:
        return selector.name
    names = [each for each in _matchers(selector) if each.name == NAME]
    only = len(names) == 1 and names[0].op == MatchOp.Equal and not selector.matchers.or_matchers
    return str(names[0].value) if only else None


def matched(selector: VectorSelector) -> dict[str, str]:
    """Return the values, or patterns, that the selector's labels are matched with."""
    return {each.name: each.value for each in _matchers(selector) if each.name != NAME}

"""The labels that the result of an expression may have, and labels that it uses in vain."""

from __future__ import annotations

from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from typing import Any, Final

from promql_parser import (
    AggModifierType,
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    LabelModifierType,
    NumberLiteral,
    StringLiteral,
    ValueType,
    VectorMatchCardinality,
    VectorSelector,
)

from mixin.dashboards.gates.catalogue import SAMPLES
from mixin.dashboards.gates.promql import children, matched, name

Labels = frozenset[str] | None
"""None if the labels are unknown, as those of recording rules."""

NO_LABELS: Final[frozenset[str]] = frozenset()
KEEP_LABELS: Final = ("topk", "bottomk")
FILTERS: Final = ("and", "unless")


def _union(one: Labels, other: Labels) -> Labels:
    return None if one is None or other is None else one | other


def _shown(labels: Collection[str]) -> str:
    return ", ".join(sorted(labels)) or "none"


def is_scalar(expression: Any) -> bool:
    """Return whether an expression is a number, without labels to match."""
    match expression:
        case NumberLiteral() | StringLiteral():
            return True
        case Call():
            return bool(expression.func.return_type == ValueType.Scalar)
        case VectorSelector() | AggregateExpr():
            return False
    return all(is_scalar(child) for child in children(expression))


class Reader:
    """
    Follows labels from the selectors outwards, and collects problems.

    labels: labels that every sample may have besides its own.
    recorded: patterns of metric names that are allowed although the catalogue lacks them.
    """

    def __init__(self, labels: Collection[str], recorded: Collection[str]) -> None:
        self.common = frozenset(labels)
        self.recorded = recorded
        self.problems: list[str] = []

    def result(self, expression: Any) -> Labels:
        """Return the labels that the expression's result may have."""
        match expression:
            case VectorSelector():
                return self._selected(expression)
            case AggregateExpr():
                return self._aggregated(expression)
            case BinaryExpr():
                return self._combined(expression)
            case Call():
                return self._called(expression)
        found: Labels = NO_LABELS
        for child in children(expression):
            found = _union(found, self.result(child))
        return found

    def need(self, wanted: Collection[str], labels: Labels, subject: str) -> None:
        """Report the wanted labels that do not exist."""
        if labels is not None:
            missing = sorted(set(wanted) - labels)
            self.problems += [f"{subject} has no label {label!r}" for label in missing]

    def _selected(self, selector: VectorSelector) -> Labels:
        metric = name(selector)
        if metric is None:
            self.problems.append("a selector does not name a single metric")
            return None
        if any(fnmatchcase(metric, pattern) for pattern in self.recorded):
            return None
        if metric not in SAMPLES:
            self.problems.append(f"{metric!r} is not in the catalogue")
            return None
        labels = SAMPLES[metric].labels | self.common
        self.need(matched(selector), labels, repr(metric))
        return labels

    def _aggregated(self, aggregation: AggregateExpr) -> Labels:
        operator = str(aggregation.op)
        inner, modifier = self.result(aggregation.expr), aggregation.modifier
        if modifier is not None:
            self.need(modifier.labels, inner, f"the operand of {operator}")
        if operator in KEEP_LABELS:
            return inner
        left: Labels = NO_LABELS
        if modifier is not None:
            named = frozenset(modifier.labels)
            without = modifier.type == AggModifierType.Without
            left = named if not without else None if inner is None else inner - named
        if operator == "count_values" and isinstance(aggregation.param, StringLiteral):
            left = _union(left, frozenset({aggregation.param.val}))
        return left

    def _combined(self, binary: BinaryExpr) -> Labels:
        left, right = self.result(binary.lhs), self.result(binary.rhs)
        operator, modifier = str(binary.op), binary.modifier
        if is_scalar(binary.lhs) or is_scalar(binary.rhs):
            return _union(left, right)
        matching = modifier.matching if modifier else None
        on: Labels = None  # all labels
        if matching is not None and matching.type == LabelModifierType.Include:
            on = frozenset(matching.labels)
            self.need(on, left, f"the left side of {operator}")
            self.need(on, right, f"the right side of {operator}")
        else:
            self._same(operator, left, right, frozenset(matching.labels if matching else ()))
        if operator == "or":
            return _union(left, right)
        if operator in FILTERS:
            return left
        return self._matched(binary, left, right, on)

    def _same(self, operator: str, left: Labels, right: Labels, ignored: frozenset[str]) -> None:
        """Report sides whose labels differ: without `on`, their samples never match."""
        self.need(ignored, _union(left, right), f"neither side of {operator}")
        if operator != "or" and left is not None and right is not None:
            only_left, only_right = left - right - ignored, right - left - ignored
            if only_left or only_right:
                self.problems.append(
                    f"the sides of {operator} never match: only the left has "
                    f"{_shown(only_left)}, only the right {_shown(only_right)}"
                )

    def _matched(self, binary: BinaryExpr, left: Labels, right: Labels, on: Labels) -> Labels:
        modifier = binary.modifier
        for card, of_many, of_one in (
            (VectorMatchCardinality.ManyToOne, left, right),
            (VectorMatchCardinality.OneToMany, right, left),
        ):
            if modifier is not None and modifier.card == card:
                taken = frozenset(modifier.group_labels or ())
                self.need(taken, of_one, f"the one side of {binary.op}")
                return _union(of_many, taken)
        if on is not None:
            return on
        return None if left is None or right is None else left & right

    def _called(self, call: Call) -> Labels:
        function, arguments = call.func.name, call.args
        made: dict[str, Callable[[list[Expr]], Labels]] = {
            "absent": self._absent,
            "absent_over_time": self._absent,
            "label_join": self._joined,
            "label_replace": self._replaced,
        }
        if function in made:
            return made[function](arguments)
        found: Labels = NO_LABELS
        for argument in arguments:
            found = _union(found, self.result(argument))
        if function == "histogram_quantile" and found is not None:
            return found - {"le"}
        return NO_LABELS if call.func.return_type == ValueType.Scalar else found

    def _absent(self, arguments: list[Any]) -> Labels:
        inner = getattr(arguments[0], "vector_selector", arguments[0])
        self.result(inner)
        return frozenset(matched(inner)) if isinstance(inner, VectorSelector) else NO_LABELS

    def _replaced(self, arguments: list[Any]) -> Labels:
        vector, made, _, source, _ = arguments
        return self._renamed(vector, made, [source])

    def _joined(self, arguments: list[Any]) -> Labels:
        vector, made, _, *sources = arguments
        return self._renamed(vector, made, sources)

    def _renamed(self, vector: Expr, made: StringLiteral, sources: list[StringLiteral]) -> Labels:
        labels = self.result(vector)
        self.need(
            {source.val for source in sources} - {""}, labels, "the operand that is relabelled"
        )
        return _union(labels, frozenset({made.val}))

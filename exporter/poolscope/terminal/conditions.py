"""What a script waits for, such as `orders.waiting>0`."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from poolscope.terminal.model import Model, PoolRow

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}

VALUES: Final[dict[str, Callable[[PoolRow], float | None]]] = {
    "in_use": lambda row: row.in_use,
    "idle": lambda row: row.idle,
    "waiting": lambda row: row.waiting,
    "leaked": lambda row: row.leaked,
    "utilization": lambda row: row.utilization,
    "oldest_wait": lambda row: row.oldest_wait,
    "oldest_hold": lambda row: row.oldest_hold,
    "acquires": lambda row: row.rate,
    "timeouts": lambda row: row.timeouts,
    "findings": lambda row: len(row.findings),
}
"""What a condition may be about; `acquires` and `timeouts` are those of a second."""

_CONDITION: Final = re.compile(
    r"\s*(?P<pool>.+?)\.(?P<value>\w+)\s*(?P<operator>>=|<=|==|!=|>|<|=)\s*(?P<number>-?[0-9.]+)\s*"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """It holds if the value of one of the pools is so."""

    pool: str
    value: str
    operator: str
    number: float

    def holds(self, model: Model) -> bool:
        values = (
            VALUES[self.value](row)
            for row in model.rows
            if fnmatch.fnmatchcase(row.pool, self.pool)
        )
        compare = _OPERATORS[self.operator]
        return any(value is not None and compare(value, self.number) for value in values)


def condition(text: str) -> Condition:
    """Return the condition. Raises ValueError."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a condition such as 'orders.waiting>0'")
    if match["value"] not in VALUES:
        known = ", ".join(VALUES)
        raise ValueError(f"{match['value']!r} is not known of a pool; known are {known}")
    try:
        number = float(match["number"])
    except ValueError:
        raise ValueError(f"{match['number']!r} in {text!r} is not a number") from None
    return Condition(match["pool"], match["value"], match["operator"], number)

"""What an exporter answers, checked: another program may be there, or another version."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from poolscope.label_values import printable
from poolscope.readings.findings import SEVERITIES

LARGEST: Final = 1e15
"""Of a number."""


def parsed(answer: bytes) -> dict[str, Any]:
    """
    Return the document of `/api/v1/pools`, whose texts are each of one line.

    Raises ValueError, KeyError, TypeError or RecursionError if it is none.
    """
    document: dict[str, Any] = _in_one_line(json.loads(answer, parse_constant=_refuse))
    _number(document["processes"]["live"])
    for pool in _list(document["pools"]):
        _check(pool, _POOL)
        for name, fields in _LISTS.items():
            for each in _list(pool[name]):
                _check(each, fields)
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _in_one_line(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_in_one_line(each) for each in value]
    if isinstance(value, dict):
        return {key: _in_one_line(each) for key, each in value.items()}
    return value


def _check(entry: Mapping[str, Any], fields: Mapping[str, Callable[[Any], object]]) -> None:
    for name, check in fields.items():
        check(entry[name])


def _number(value: Any) -> None:
    if isinstance(value, bool) or not -LARGEST < value < LARGEST:
        raise ValueError(value)


def _optional_number(value: Any) -> None:
    if value is not None:
        _number(value)


def _text(value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(value)


def _optional_text(value: Any) -> None:
    if value is not None:
        _text(value)


def _flag(value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(value)


def _severity(value: Any) -> None:
    SEVERITIES.index(value)


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError(value)
    return value


def _texts(value: Any) -> None:
    for each in _list(value):
        _text(each)


_POOL: Final = {
    "pool": _text,
    "kind": _text,
    "limit": _optional_number,
    **dict.fromkeys(("in_use", "idle", "waiting", "utilization_max", "acquired"), _number),
    **dict.fromkeys(("overdue", "abandoned", "timed_out"), _number),
    **dict.fromkeys(("oldest_hold_seconds", "oldest_wait_seconds"), _number),
}

_LISTS: Final[Mapping[str, Mapping[str, Callable[[Any], object]]]] = {
    "holders": {
        **dict.fromkeys(("site", "operation", "owner", "now_at"), _optional_text),
        **dict.fromkeys(("overdue", "abandoned"), _flag),
        **dict.fromkeys(("pid", "held_seconds"), _number),
    },
    "processes": {
        "limit": _optional_number,
        **dict.fromkeys(("pid", "in_use", "waiting"), _number),
        **dict.fromkeys(("oldest_hold_seconds", "oldest_wait_seconds"), _number),
    },
    "findings": {"rule": _text, "severity": _severity, "message": _text, "sites": _texts},
    "servers": {"server": _text, "connections": _number},
}
"""What is read of each entry of these lists."""

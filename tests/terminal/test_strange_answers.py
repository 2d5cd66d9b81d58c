"""Answers of programs that are no exporter, or another one."""

from __future__ import annotations

import copy
import json
from typing import Any, Final

import pytest

from poolscope.terminal.answers import parsed
from terminal.stand_in import POOLS, STALE, hold

ORDERS: Final = POOLS[1]


def document(**changes: Any) -> bytes:
    pool = {**copy.deepcopy(ORDERS), **changes}
    return json.dumps({"processes": {"live": 1}, "pools": [pool], "servers": []}).encode()


def test_an_answer_is_taken_as_it_is() -> None:
    assert [ORDERS] == parsed(document())["pools"]


def test_texts_are_of_one_line() -> None:
    strange = "a\x1b[2J\nb\ud800"
    shown = "a\\x1b[2J\\nb\\ud800"
    holders = [hold(strange, 1.0, owner=strange)]
    findings = [{**STALE, "message": strange, "sites": [strange]}]
    changes = {"pool": strange, "holders": holders, "findings": findings}
    (pool,) = parsed(document(**changes))["pools"]
    assert shown == pool["pool"] == pool["holders"][0]["site"] == pool["holders"][0]["owner"]
    assert shown == pool["findings"][0]["message"] == pool["findings"][0]["sites"][0]


@pytest.mark.parametrize(
    "changes",
    [
        {"limit": "6"},
        {"limit": float("nan")},
        {"in_use": float("inf")},
        {"in_use": 10**400},
        {"in_use": None},
        {"in_use": True},
        {"pool": ["orders"]},
        {"pool": None},
        {"holders": None},
        {"holders": {}},
        {"holders": [{}]},
        {"holders": [hold("a.py:1", 1.0, pid="x")]},
        {"holders": [hold("a.py:1", 1.0, owner=5)]},
        {"processes": [{"pid": 41}]},
        {"findings": [{**STALE, "severity": "bad"}]},
        {"findings": [{**STALE, "sites": "a.py:1"}]},
        {"servers": [5]},
    ],
)
def test_what_is_no_answer(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        parsed(document(**changes))


@pytest.mark.parametrize("name", sorted({*ORDERS} - {"live"}))
def test_an_answer_that_lacks_something(name: str) -> None:
    lacking = {key: value for key, value in ORDERS.items() if key != name}
    with pytest.raises(KeyError):
        parsed(json.dumps({"processes": {"live": 1}, "pools": [lacking]}).encode())

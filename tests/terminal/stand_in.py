"""An exporter's answers, for the tests of `poolscope top`."""

from __future__ import annotations

import copy
import math
from typing import Any

from poolscope.sizing.http import SourceError
from poolscope.terminal.sources import Numbers

BOUNDS = (0.001, 0.01, 0.1, math.inf)


def hold(site: str, seconds: float, **more: Any) -> dict[str, Any]:
    usual = {
        "pid": 41,
        "site": site,
        "operation": None,
        "now_at": None,
        "owner": "Task-1",
        "trace_id": None,
        "held_seconds": seconds,
        "overdue": False,
        "abandoned": False,
        "on_purpose": False,
    }
    return {**usual, **more}


def pool(name: str, kind: str, in_use: int, limit: int | None, **more: Any) -> dict[str, Any]:
    usual = {
        "pool": name,
        "kind": kind,
        "live": True,
        "in_use": in_use,
        "idle": 1,
        "waiting": 0,
        "limit": limit,
        "utilization_max": 0.0,
        "oldest_wait_seconds": 0.0,
        "oldest_hold_seconds": 0.0,
        "overdue": 0,
        "abandoned": 0,
        "acquired": 100,
        "timed_out": 0,
        "holders": [],
        "processes": [
            {
                "pid": 41,
                "in_use": in_use,
                "limit": limit,
                "waiting": 0,
                "oldest_hold_seconds": 0.0,
                "oldest_wait_seconds": 0.0,
            }
        ],
        "findings": [],
        "servers": [],
    }
    return {**usual, **more}


STALE = {
    "rule": "stale-connections",
    "severity": "warning",
    "message": "idle connections are neither checked nor replaced",
    "sites": ["shop/db.py:3 in connect"],
}

POOLS = [
    pool("prices", "aiohttp", 2, 8),
    pool(
        "orders",
        "sqlalchemy",
        6,
        6,
        idle=0,
        waiting=12,
        oldest_wait_seconds=0.42,
        oldest_hold_seconds=75.0,
        abandoned=1,
        findings=[STALE],
        servers=[{"server": "db:5432", "connections": 6}],
        holders=[
            hold("shop/pay.py:7 in pay", 75.0, abandoned=True, operation="POST /orders"),
            hold("shop/pay.py:7 in pay", 0.2, pid=43, operation="POST /orders"),
            hold("shop/list.py:9 in show", 0.1, owner=None, now_at="shop/list.py:12 in show"),
        ],
    ),
    pool("billing", "asyncpg", 0, None),
]


class StandIn:
    """A source whose numbers a test changes; `fails` is what it raises instead."""

    name = "http://127.0.0.1:10464"

    def __init__(self) -> None:
        self.pools = copy.deepcopy(POOLS)
        self.fails: str | None = None
        self.asked = 0

    def read(self) -> Numbers:
        self.asked += 1
        if self.fails is not None:
            raise SourceError(self.fails)
        durations = {
            (each["pool"], each["kind"]): dict.fromkeys(BOUNDS, float(each["acquired"]))
            for each in self.pools
        }
        document = {
            "processes": {"live": 2, "gone": 0},
            "pools": copy.deepcopy(self.pools),
            "servers": [],
        }
        return Numbers(document, durations, durations)

    def close(self) -> None:
        """There is nothing to close."""

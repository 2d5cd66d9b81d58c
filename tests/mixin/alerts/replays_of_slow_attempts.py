"""Replays of slow attempts: a few of them, at a start, in a job, or for too long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mixin.alerts.estate import HOUR, Estate, Replay, orders

SLOW = "ConnPoolAcquireSlow"


def one(minutes: int, **measures: Any) -> Estate:
    estate = Estate(minutes)
    estate.pool(orders(), **measures)
    return estate


def during(times: range, value: float, otherwise: float = 0.0) -> Callable[[int], float]:
    return lambda minute: value if minute in times else otherwise


def new_service(minute: int) -> bool:
    return minute >= 20


NEW, JOB, RUSH, LATER = range(20, 23), range(90, 120), range(150, 153), range(420, 470)
ALL_WINDOWS = {(SLOW, "critical"): 2, (SLOW, "warning"): 2}

REPLAYS = [
    Replay(
        "one slow attempt after an idle night",
        one(3 * HOUR, ok=during(RUSH, 1), slow=during(range(150, 151), 1)),
    ),
    Replay(
        "a new service whose first callers wait for connections to be opened",
        one(2 * HOUR, there=new_service, ok=60, slow=during(NEW, 40)),
    ),
    Replay(
        "a nightly job with slow attempts",
        one(4 * HOUR, ok=during(JOB, 30), slow=during(JOB, 10)),
        {(SLOW, "warning"): 1},
    ),
    Replay(
        "a rush after a night with hardly any callers",
        one(4 * HOUR, ok=lambda minute: 600 if minute >= 150 else 1, slow=during(RUSH, 400)),
    ),
    Replay(
        "half of the attempts are slow for fifty minutes",
        one(8 * HOUR, ok=100, slow=during(LATER, 50)),
        ALL_WINDOWS,
    ),
    Replay(
        "a fast pool whose bound of a second is written as 1",
        one(8 * HOUR, ok=100, bound="1"),
    ),
    Replay(
        "half of the attempts are slow for fifty minutes, and the bound is written as 1",
        one(8 * HOUR, ok=100, slow=during(LATER, 50), bound="1"),
        ALL_WINDOWS,
    ),
]

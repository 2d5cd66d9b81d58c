"""Replays of callers that give up while they wait: by a deadline of their own, or once."""

from __future__ import annotations

from typing import Any

from mixin.alerts.estate import HOUR, Estate, Replay, orders

TIMEOUTS = "ConnPoolAcquireTimeouts"


def from_half_an_hour(**since: float) -> Estate:
    return during(range(30, 2 * HOUR), **since)


def during(times: range, **measures: float) -> Estate:
    """Return a pool that serves callers all the time, and has these measures in some minutes."""
    estate = Estate(2 * HOUR)

    def each(name: str) -> Any:
        return lambda minute: measures[name] if minute in times else 0.0

    estate.pool(orders(), **{"in_use": 3.0, "ok": 600.0, **{name: each(name) for name in measures}})
    return estate


REPLAYS = [
    Replay(
        "callers give up by deadlines of their own, and no attempt has timed out",
        from_half_an_hour(cancelled=30.0, gave_up=30.0),
        {(TIMEOUTS, "critical"): 1, (TIMEOUTS, "warning"): 1},
    ),
    Replay(
        "callers time out in the queue: each counts once",
        from_half_an_hour(timeout=5.0, gave_up=5.0),
        {(TIMEOUTS, "warning"): 1},
    ),
    Replay(
        "callers time out while connections are opened, and none waits for a free one",
        from_half_an_hour(timeout=30.0),
        {(TIMEOUTS, "critical"): 1, (TIMEOUTS, "warning"): 1},
    ),
    Replay(
        "clients that go away while their requests hold connections",
        from_half_an_hour(cancelled=30.0),
    ),
    Replay(
        "a crawler that cancels all its waiting requests at once",
        during(range(40, 41), cancelled=900.0, gave_up=900.0),
    ),
]

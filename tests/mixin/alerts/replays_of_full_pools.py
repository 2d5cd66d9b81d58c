"""Replays of pools that are full: as they should be, or because of a deadlock."""

from __future__ import annotations

from mixin.alerts.estate import HOUR, Estate, Replay, orders


def listening() -> Estate:
    """Return a pool of one connection, which listens."""
    estate = Estate(2 * HOUR)
    estate.pool(orders(), limit=1.0, in_use=1.0, saturated=1.0)
    return estate


def workers() -> Estate:
    """Return four workers that share a pool of four connections."""
    estate = Estate(2 * HOUR)
    estate.pool(orders(), limit=4.0, in_use=3.9, saturated=0.9, ok=200)
    return estate


def deadlock() -> Estate:
    """Return a pool of one connection, whose holder asks for another one for half an hour."""
    stuck, estate = range(30, HOUR), Estate(HOUR)
    estate.pool(
        orders(),
        limit=1.0,
        in_use=lambda minute: 1.0 if minute in stuck else 0.3,
        waiting=lambda minute: float(minute in stuck),
        ok=lambda minute: 0.0 if minute in stuck else 60.0,
    )
    return estate


REPLAYS = [
    Replay("a pool of one with a connection that listens", listening()),
    Replay("four workers on a pool of four", workers()),
    Replay(
        "a deadlock with a single waiter",
        deadlock(),
        {("ConnPoolExhausted", "critical"): 1, ("ConnPoolExhausted", "warning"): 1},
    ),
]

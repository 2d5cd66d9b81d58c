"""Replays in which scrapes fail: what fires goes on, and nothing fires because of them."""

from __future__ import annotations

from collections.abc import Callable

from mixin.alerts.estate import HOUR, Estate, Replay, of, orders

EVERY_TENTH = frozenset(range(9, 2 * HOUR, 10))
THREE_MINUTES = frozenset(range(70, 73))
SINCE = 40
"""The minute in which a pool gets into trouble that stays."""


def server(failed: frozenset[int]) -> Estate:
    """Return a server that is nearly full, and has a transaction that is open for long."""
    estate = Estate(2 * HOUR, failed)
    seen = {**of(instance="exporter:10464"), "server": "db:5432"}
    estate.add("server_up", 1.0, seen)
    estate.add("server_limit", 100.0, seen)
    estate.add("server_reserved", 3.0, seen)
    own = 'database="app",user="app",application="shop:orders",state="active"'
    estate.add(f"server_connections{{{own}}}", 95.0, seen)
    oldest = 'server_oldest_idle_in_transaction_seconds{application="shop:orders"}'
    estate.add(oldest, 600.0, seen)
    return estate


def leak() -> Estate:
    """Return a pool with an overdue connection, and with a critical finding."""
    estate = Estate(2 * HOUR, EVERY_TENTH)
    estate.add('leaked{reason="overdue"}', 1.0, orders())
    estate.add('finding{rule="nested-acquire",severity="critical"}', 1.0, orders())
    estate.add("exporter_bad_segments", 1.0, of(instance="exporter:10464"))
    return estate


def healthy() -> Estate:
    estate = Estate(2 * HOUR, EVERY_TENTH)
    estate.pool(orders(), in_use=3.0, ok=600)
    return estate


def troubled(before: dict[str, float], since: dict[str, float]) -> Estate:
    """Return a pool in trouble, of whose process three scrapes fail while its alerts fire."""

    def each(name: str) -> Callable[[int], float]:
        return lambda minute: (since if minute >= SINCE else before).get(name, 0.0)

    estate = Estate(2 * HOUR, THREE_MINUTES)
    estate.pool(orders(), **{name: each(name) for name in {*before, *since}})
    estate.add("up", 1.0, of())
    estate.add('exporter_build_info{version="1"}', 1.0, of())
    return estate


def pages_and_warns(name: str) -> dict[tuple[str, str], int]:
    return {(name, "critical"): 1, (name, "warning"): 1}


BUSY = {"in_use": 3.0, "ok": 600.0}
FULL = {"in_use": 10.0, "waiting": 15.0, "ok": 300.0}

REPLAYS = [
    Replay(
        "a full pool, of which three minutes of scrapes fail",
        troubled(BUSY, FULL),
        pages_and_warns("ConnPoolExhausted"),
    ),
    Replay(
        "a deadlock, of which three minutes of scrapes fail",
        troubled({"limit": 1.0, "ok": 60.0}, {"limit": 1.0, "in_use": 1.0, "waiting": 1.0}),
        pages_and_warns("ConnPoolExhausted"),
    ),
    Replay(
        "attempts that time out, of which three minutes of scrapes fail",
        troubled(BUSY, {**BUSY, "timeout": 60.0}),
        pages_and_warns("ConnPoolAcquireTimeouts"),
    ),
    Replay(
        "attempts that fail, of which three minutes of scrapes fail",
        troubled(BUSY, {**BUSY, "error": 300.0}),
        pages_and_warns("ConnPoolAcquireErrors"),
    ),
    Replay("a healthy pool, of which three minutes of scrapes fail", troubled(BUSY, BUSY)),
    Replay(
        "a full server, of which every tenth scrape fails",
        server(EVERY_TENTH),
        {
            ("ConnPoolServerNearlyFull", "warning"): 1,
            ("ConnPoolIdleInTransaction", "warning"): 1,
        },
    ),
    Replay(
        "leaks and findings, of which every tenth scrape fails",
        leak(),
        {
            ("ConnPoolConnectionsOverdue", "warning"): 1,
            ("ConnPoolCriticalFinding", "warning"): 1,
            ("ConnPoolBadSegments", "warning"): 1,
        },
    ),
    Replay("a healthy pool, of which every tenth scrape fails", healthy()),
]

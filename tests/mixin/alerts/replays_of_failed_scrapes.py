"""Replays in which scrapes fail: what fires goes on, and nothing fires because of them."""

from __future__ import annotations

from mixin.alerts.estate import HOUR, Estate, Replay, of, orders

EVERY_TENTH = frozenset(range(9, 2 * HOUR, 10))


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


REPLAYS = [
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

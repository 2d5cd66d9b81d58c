"""Measures of pools that several dashboards show."""

from __future__ import annotations

from poolscope.mixin.queries import Queries, share


def utilization(queries: Queries, by: str = "") -> str:
    """Return the share of connections that are out or being opened, of pools with a limit."""
    used = queries.gauge("connections", 'state=~"in_use|opening"', by=by)
    return share(used, f"{queries.gauge('limit', by=by)} < +Inf")


def saturated(queries: Queries, by: str = "") -> str:
    """Return the share of the time in which no connection was free."""
    return share(queries.rate("saturated_seconds_total", by=by), queries.gauge("instances", by=by))


def timed_out(queries: Queries, by: str = "") -> str:
    """Return the share of attempts that gave up."""
    return share(
        queries.rate("acquires_total", 'outcome="timeout"', by=by),
        queries.rate("acquires_total", by=by),
    )


def reused(queries: Queries, by: str = "") -> str:
    return share(
        queries.rate("reused_total", by=by), queries.rate("acquires_total", 'outcome="ok"', by=by)
    )

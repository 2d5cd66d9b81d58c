"""Measures of pools that several dashboards show."""

from __future__ import annotations

from poolscope.mixin.queries import Queries, share


def utilisation(q: Queries, by: str = "") -> str:
    """Return the share of connections that are out or being opened, of pools with a limit."""
    used = q.gauge("connections", 'state=~"in_use|opening"', by=by)
    return share(used, f"{q.gauge('limit', by=by)} < +Inf")


def saturated(q: Queries, by: str = "") -> str:
    """Return the share of the time in which no connection was free."""
    return share(q.rate("saturated_seconds_total", by=by), q.gauge("instances", by=by))


def timed_out(q: Queries, by: str = "") -> str:
    """Return the share of attempts that gave up."""
    return share(
        q.rate("acquires_total", 'outcome="timeout"', by=by), q.rate("acquires_total", by=by)
    )


def reused(q: Queries, by: str = "") -> str:
    return share(q.rate("reused_total", by=by), q.rate("acquires_total", 'outcome="ok"', by=by))

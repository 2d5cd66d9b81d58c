"""Alerts of opening connections: it fails, or happens too often."""

from __future__ import annotations

from poolscope.mixin.alerts.expressions import (
    Expressions,
    above,
    all_of,
    at_least,
    below,
    number,
    ratio,
)
from poolscope.mixin.alerts.model import POOL, Alert, Severity


def alerts(promql: Expressions) -> tuple[Alert, ...]:
    return (
        _open_failures(promql),
        _low_reuse(promql, "warning"),
        _low_reuse(promql, "info"),
        _churn(promql),
        _per_request(promql),
        _stale(promql),
        _dns(promql),
    )


def _open_failures(promql: Expressions) -> Alert:
    """A cause; what callers notice of it are errors, which page."""
    thresholds = promql.thresholds
    failed = 'outcome="error"'
    share = ratio(promql.rate("opened_total", failed), promql.rate("opened_total"))
    return Alert(
        name="ConnPoolOpenFailures",
        severity="warning",
        expr=all_of(
            above(share, thresholds.open_failures[0]),
            at_least(promql.increase_in_window("opened_total", failed), thresholds.events),
        ),
        for_duration=thresholds.ticket_after,
        summary=f"Pool {POOL} cannot open connections",
        description=f"Within {thresholds.window}, {{{{ $value | humanizePercentage }}}} of the connections "
        f"that pool {POOL} wanted to open were refused, or timed out.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _low_reuse(promql: Expressions, severity: Severity) -> Alert:
    """Of pools that keep connections; NullPool, or force_close, is meant not to."""
    thresholds = promql.thresholds
    level = 1 if severity == "warning" else 0
    served = promql.rate("acquires_total", 'outcome="ok"')
    return Alert(
        name="ConnPoolLowReuse",
        severity=severity,
        expr=all_of(
            below(ratio(promql.rate("reused_total"), served), thresholds.reuse[level]),
            above(served, thresholds.traffic),
            above(promql.current("idle_limit"), 0),
        ),
        for_duration=thresholds.ticket_after if level else thresholds.info_after,
        summary=f"Pool {POOL} opens connections anew instead of keeping them",
        description="Only {{ $value | humanizePercentage }} of the callers of pool "
        f"{POOL} got a connection that was open already.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _churn(promql: Expressions) -> Alert:
    """By Little's law what is open, by what is closed in a second, is how long one stays open."""
    thresholds = promql.thresholds
    closed = promql.rate("closed_total")
    return Alert(
        name="ConnPoolChurn",
        severity="info",
        expr=all_of(
            below(
                ratio(promql.mean("connections", 'state!="opening"'), closed),
                thresholds.churn_seconds,
            ),
            above(closed, thresholds.traffic),
            above(promql.current("idle_limit"), 0),
        ),
        for_duration=thresholds.info_after,
        summary=f"Connections of pool {POOL} are soon closed again",
        description=f"A connection of pool {POOL} stays open for "
        '{{ printf "%.3g" $value }} s on average; opening it anew takes time here and on the '
        "server.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _per_request(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    made = promql.increase("instances_created_total")
    return Alert(
        name="ConnPoolPerRequest",
        severity="warning",
        expr=all_of(
            below(
                ratio(promql.increase("acquires_total", 'outcome="ok"'), made),
                thresholds.few_acquires,
            ),
            at_least(made, thresholds.pools_made),
        ),
        summary=f"Pools called {POOL} are made again and again",
        description=f"Within {thresholds.rare_event_window}, at least {number(thresholds.pools_made)} pools or sessions called "
        f"{POOL} were made, and each served "
        '{{ printf "%.3g" $value }} callers on average.',
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _stale(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    return Alert(
        name="ConnPoolStaleConnections",
        severity="warning",
        expr=all_of(
            above(
                ratio(promql.rate("invalidated_total"), promql.rate("acquires_total")),
                thresholds.invalidation_ratio,
            ),
            at_least(promql.increase_in_window("invalidated_total"), thresholds.events),
        ),
        for_duration=thresholds.ticket_after,
        summary=f"Connections of pool {POOL} turn out to be unusable",
        description=f"Within {thresholds.window}, for {{{{ $value | humanizePercentage }}}} of the attempts "
        f"a connection of pool {POOL} had to be given up: the server, or something in between, "
        "closes idle ones.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _dns(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    failed, family = 'result="error"', "dns_lookups_total"
    return Alert(
        name="ConnPoolDnsFailures",
        severity="warning",
        expr=all_of(
            above(
                ratio(promql.rate(family, failed), promql.rate(family, 'result=~"miss|error"')),
                thresholds.dns_failures,
            ),
            at_least(promql.increase_in_window(family, failed), thresholds.events),
        ),
        for_duration=thresholds.ticket_after,
        summary=f"Hosts of pool {POOL} are not found",
        description=f"Within {thresholds.window}, {{{{ $value | humanizePercentage }}}} of the hosts that "
        f"pool {POOL} looked up were not found.",
        dashboard="http",
        dashboard_variables=(*promql.scope, "pool"),
    )

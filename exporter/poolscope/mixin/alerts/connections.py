"""Alerts about opening connections: it fails, or it happens too often."""

from __future__ import annotations

from poolscope.mixin.alerts.expressions import (
    WITH_ERROR,
    Expressions,
    above,
    all_of,
    any_of,
    at_least,
    below,
    number,
    ratio,
    within,
)
from poolscope.mixin.alerts.model import POOL, Alert, Severity
from poolscope.mixin.alerts.texts import failing_hosts


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
    """
    Return an alert about a cause; the errors that callers notice have a critical alert.

    It is one alert for a pool, however many of its hosts fail; its text names them. A single host
    may fail whose connections are too few for a share of the pool.
    """
    thresholds, lately = promql.thresholds, promql.lately
    share = ratio(promql.rate("opened_total", WITH_ERROR), promql.rate("opened_total"))
    share_lately = ratio(
        promql.increase("opened_total", WITH_ERROR, over=lately),
        promql.increase("opened_total", over=lately),
    )
    by_host = (*promql.pool_labels, "host")
    broken_host = all_of(
        above(promql.failed_share_of_hosts(by=by_host), thresholds.broken),
        at_least(promql.failures_of_hosts(by=by_host), thresholds.events),
    )
    return Alert(
        name="ConnPoolOpenFailures",
        severity="warning",
        expr=any_of(
            all_of(
                above(share, thresholds.open_failures[0]),
                at_least(promql.increase_in_window("opened_total", WITH_ERROR), thresholds.events),
            ),
            all_of(share_lately, within(broken_host, f"max by ({', '.join(promql.pool_labels)}) ")),
        ),
        for_duration=thresholds.ticket_after,
        summary=f"Pool {POOL} fails to open connections",
        description=f"Pool {POOL} could not open {{{{ $value | humanizePercentage }}}} of the "
        "connections that it has tried to open lately: they were refused or timed out."
        f"{failing_hosts(promql)}",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _low_reuse(promql: Expressions, severity: Severity) -> Alert:
    """Return an alert for pools that keep connections; NullPool and force_close keep none."""
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
        summary=f"Pool {POOL} opens new connections instead of reusing them",
        description="Only {{ $value | humanizePercentage }} of the callers of pool "
        f"{POOL} got a connection that was already open.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _churn(promql: Expressions) -> Alert:
    """
    Return the alert that connections are closed soon after they were opened.

    By Little's law, the mean number of open connections divided by the number that is closed per
    second is the mean time for which a connection stays open.
    """
    thresholds = promql.thresholds
    closed = promql.rate("closed_total")
    lifetime = ratio(promql.mean("connections", 'state!="opening"'), closed)
    return Alert(
        name="ConnPoolChurn",
        severity="info",
        expr=all_of(
            below(lifetime, thresholds.churn_seconds),
            above(closed, thresholds.traffic),
            above(promql.current("idle_limit"), 0),
        ),
        for_duration=thresholds.info_after,
        summary=f"Pool {POOL} closes connections soon after opening them",
        description=f"A connection of pool {POOL} stays open for "
        '{{ printf "%.3g" $value }} s on average; opening a new one each time costs time here and '
        "work on the server.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _per_request(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    made = promql.increase("instances_created_total")
    callers_per_pool = ratio(promql.increase("acquires_total", 'outcome="ok"'), made)
    return Alert(
        name="ConnPoolPerRequest",
        severity="warning",
        expr=all_of(
            below(callers_per_pool, thresholds.few_acquires),
            at_least(made, thresholds.pools_made),
        ),
        for_duration=thresholds.ticket_after,
        summary=f"The code creates pools named {POOL} again and again",
        description=f"At least {number(thresholds.pools_made)} pools or sessions named {POOL} were "
        f"created within {thresholds.rare_event_window}; the mean number of callers that each "
        'served was {{ printf "%.3g" $value }}.',
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _stale(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    invalidated = ratio(promql.rate("invalidated_total"), promql.rate("acquires_total"))
    return Alert(
        name="ConnPoolStaleConnections",
        severity="warning",
        expr=all_of(
            above(invalidated, thresholds.invalidation_ratio),
            at_least(promql.increase_in_window("invalidated_total"), thresholds.events),
        ),
        for_duration=thresholds.ticket_after,
        summary=f"Connections of pool {POOL} turn out to be unusable",
        description=f"In {{{{ $value | humanizePercentage }}}} of the attempts within "
        f"{thresholds.window}, a connection of pool {POOL} had to be discarded: the server, or "
        "something between it and the pool, closes idle connections.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _dns(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    failed, family = 'result="error"', "dns_lookups_total"
    share = ratio(promql.rate(family, failed), promql.rate(family, 'result=~"miss|error"'))
    return Alert(
        name="ConnPoolDnsFailures",
        severity="warning",
        expr=all_of(
            above(share, thresholds.dns_failures),
            at_least(promql.increase_in_window(family, failed), thresholds.events),
        ),
        for_duration=thresholds.ticket_after,
        summary=f"DNS lookups of pool {POOL} fail",
        description=f"{{{{ $value | humanizePercentage }}}} of the DNS lookups of pool {POOL} "
        f"failed within {thresholds.window}.",
        dashboard="http",
        dashboard_variables=(*promql.scope, "pool"),
    )

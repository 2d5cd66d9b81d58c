"""Alerts of opening connections: it fails, or happens too often."""

from __future__ import annotations

from poolscope.mixin.alerts.expressions import (
    Expressions,
    above,
    at_least,
    below,
    both,
    number,
    ratio,
)
from poolscope.mixin.alerts.model import POOL, Alert, Severity


def alerts(x: Expressions) -> tuple[Alert, ...]:
    return (
        _open_failures(x),
        _low_reuse(x, "warning"),
        _low_reuse(x, "info"),
        _churn(x),
        _per_request(x),
        _stale(x),
        _dns(x),
    )


def _open_failures(x: Expressions) -> Alert:
    """A cause; what callers notice of it are errors, which page."""
    t = x.thresholds
    failed = 'outcome="error"'
    share = ratio(x.rate("opened_total", failed), x.rate("opened_total"))
    return Alert(
        name="ConnPoolOpenFailures",
        severity="warning",
        expr=both(
            above(share, t.open_failures[0]),
            at_least(x.recently("opened_total", failed), t.events),
        ),
        lasts=t.ticket_after,
        summary=f"Pool {POOL} cannot open connections",
        description=f"Within {t.window}, {{{{ $value | humanizePercentage }}}} of the connections "
        f"that pool {POOL} wanted to open were refused, or timed out.",
        board="pool",
        chosen=x.by,
    )


def _low_reuse(x: Expressions, severity: Severity) -> Alert:
    """Of pools that keep connections; NullPool, or force_close, is meant not to."""
    t = x.thresholds
    level = 1 if severity == "warning" else 0
    served = x.rate("acquires_total", 'outcome="ok"')
    return Alert(
        name="ConnPoolLowReuse",
        severity=severity,
        expr=both(
            below(ratio(x.rate("reused_total"), served), t.reuse[level]),
            above(served, t.traffic),
            above(x.now("idle_limit"), 0),
        ),
        lasts=t.ticket_after if level else t.info_after,
        summary=f"Pool {POOL} opens connections anew instead of keeping them",
        description="Only {{ $value | humanizePercentage }} of the callers of pool "
        f"{POOL} got a connection that was open already.",
        board="pool",
        chosen=x.by,
    )


def _churn(x: Expressions) -> Alert:
    """By Little's law what is open, by what is closed in a second, is how long one stays open."""
    t = x.thresholds
    closed = x.rate("closed_total")
    return Alert(
        name="ConnPoolChurn",
        severity="info",
        expr=both(
            below(ratio(x.mean("connections", 'state!="opening"'), closed), t.churn_seconds),
            above(closed, t.traffic),
            above(x.now("idle_limit"), 0),
        ),
        lasts=t.info_after,
        summary=f"Connections of pool {POOL} are soon closed again",
        description=f"A connection of pool {POOL} stays open for "
        '{{ printf "%.3g" $value }} s on average; opening it anew takes time here and on the '
        "server.",
        board="pool",
        chosen=x.by,
    )


def _per_request(x: Expressions) -> Alert:
    t = x.thresholds
    made = x.increase("instances_created_total")
    return Alert(
        name="ConnPoolPerRequest",
        severity="warning",
        expr=both(
            below(ratio(x.increase("acquires_total", 'outcome="ok"'), made), t.few_acquires),
            at_least(made, t.pools_made),
        ),
        summary=f"Pools called {POOL} are made again and again",
        description=f"Within {t.counted}, at least {number(t.pools_made)} pools or sessions called "
        f"{POOL} were made, and each served "
        '{{ printf "%.3g" $value }} callers on average.',
        board="pool",
        chosen=x.by,
    )


def _stale(x: Expressions) -> Alert:
    t = x.thresholds
    return Alert(
        name="ConnPoolStaleConnections",
        severity="warning",
        expr=both(
            above(ratio(x.rate("invalidated_total"), x.rate("acquires_total")), t.stale),
            at_least(x.recently("invalidated_total"), t.events),
        ),
        lasts=t.ticket_after,
        summary=f"Connections of pool {POOL} turn out to be unusable",
        description=f"Within {t.window}, for {{{{ $value | humanizePercentage }}}} of the attempts "
        f"a connection of pool {POOL} had to be given up: the server, or something in between, "
        "closes idle ones.",
        board="pool",
        chosen=x.by,
    )


def _dns(x: Expressions) -> Alert:
    t = x.thresholds
    failed, family = 'result="error"', "dns_lookups_total"
    return Alert(
        name="ConnPoolDnsFailures",
        severity="warning",
        expr=both(
            above(
                ratio(x.rate(family, failed), x.rate(family, 'result=~"miss|error"')),
                t.dns_failures,
            ),
            at_least(x.recently(family, failed), t.events),
        ),
        lasts=t.ticket_after,
        summary=f"Hosts of pool {POOL} are not found",
        description=f"Within {t.window}, {{{{ $value | humanizePercentage }}}} of the hosts that "
        f"pool {POOL} looked up were not found.",
        board="http",
        chosen=(*x.scope, "pool"),
    )

"""Alerts of connections that do not come back, and of code that asks for trouble."""

from __future__ import annotations

from poolscope.mixin.alerts.expressions import Expressions, above, at_least
from poolscope.mixin.alerts.model import POOL, Alert


def alerts(x: Expressions) -> tuple[Alert, ...]:
    return _overdue(x), _often_overdue(x), _abandoned(x), _nested(x), _lost(x), _finding(x)


def _overdue(x: Expressions) -> Alert:
    t = x.thresholds
    return Alert(
        name="ConnPoolConnectionsOverdue",
        severity="warning",
        expr=at_least(x.now("leaked", 'reason="overdue"'), t.leaked[0]),
        lasts=t.overdue_after,
        summary=f"Connections of pool {POOL} are not returned",
        description='{{ printf "%.0f" $value }} connections of pool '
        f"{POOL} are out for longer than they should be, and do not come back.",
        board="pool",
        chosen=x.by,
    )


def _often_overdue(x: Expressions) -> Alert:
    t = x.thresholds
    return Alert(
        name="ConnPoolConnectionsOverdue",
        severity="info",
        expr=at_least(x.increase("leaks_total", 'reason="overdue"'), t.overdue_often),
        summary=f"Connections of pool {POOL} are often held for too long",
        description=f'Within {t.counted}, {{{{ printf "%.0f" $value }}}} connections of pool '
        f"{POOL} were out for longer than they should be.",
        board="pool",
        chosen=x.by,
    )


def _abandoned(x: Expressions) -> Alert:
    t = x.thresholds
    return Alert(
        name="ConnPoolConnectionsAbandoned",
        severity="warning",
        expr=at_least(x.increase("leaks_total", 'reason="abandoned"'), t.leaked[0]),
        summary=f"Connections of pool {POOL} are lost by the code that took them",
        description=f'Within {t.counted}, {{{{ printf "%.0f" $value }}}} connections of pool '
        f"{POOL} were dropped by the code that had them, and not returned.",
        board="pool",
        chosen=x.by,
    )


def _nested(x: Expressions) -> Alert:
    t = x.thresholds
    return Alert(
        name="ConnPoolNestedAcquires",
        severity="warning",
        expr=at_least(x.increase("nested_acquires_total"), t.nested),
        summary=f"Holders of connections ask pool {POOL} for more",
        description=f'Within {t.counted}, {{{{ printf "%.0f" $value }}}} attempts were made by '
        f"somebody who held a connection of pool {POOL} already; enough of them at once wait for "
        "each other for ever.",
        board="pool",
        chosen=x.by,
    )


def _lost(x: Expressions) -> Alert:
    """What is lost only grows, unless an exporter begins anew; then nothing is said."""
    t = x.thresholds
    grown = f"{x.surely_lost} - min_over_time({x.surely_lost}[{t.counted}])"
    return Alert(
        name="ConnPoolProcessGoneHolding",
        severity="warning",
        expr=at_least(x.sum(grown), t.lost),
        summary=f"A process is gone that held connections of pool {POOL}",
        description=f'Within {t.counted}, {{{{ printf "%.0f" $value }}}} connections of pool '
        f"{POOL} were held by processes that are gone: killed, or ended in the middle of their "
        "work.",
        board="pool",
        chosen=x.by,
    )


def _finding(x: Expressions) -> Alert:
    found = x.largest("finding", 'severity="critical"', by=(*x.by, "rule"))
    return Alert(
        name="ConnPoolCriticalFinding",
        severity="warning",
        expr=above(found, 0),
        lasts=x.thresholds.ticket_after,
        summary=f"Pool {POOL} is used in a way that will break",
        description=f"Pool {POOL} has the finding {{{{ $labels.rule }}}}: what it is, and what to "
        "write instead, is in docs/findings/{{ $labels.rule }}.md.",
        board="pool",
        chosen=x.by,
    )

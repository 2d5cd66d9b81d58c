"""Alerts of connections that do not come back, and of code that asks for trouble."""

from __future__ import annotations

from poolscope.mixin.alerts.expressions import Expressions, above, at_least
from poolscope.mixin.alerts.model import POOL, Alert


def alerts(promql: Expressions) -> tuple[Alert, ...]:
    return (
        _overdue(promql),
        _often_overdue(promql),
        _abandoned(promql),
        _nested(promql),
        _lost(promql),
        _finding(promql),
    )


def _overdue(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    return Alert(
        name="ConnPoolConnectionsOverdue",
        severity="warning",
        expr=at_least(promql.current("leaked", 'reason="overdue"'), thresholds.leaked[0]),
        for_duration=thresholds.overdue_after,
        summary=f"Connections of pool {POOL} are not returned",
        description='{{ printf "%.0f" $value }} connections of pool '
        f"{POOL} are out for longer than they should be, and do not come back.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _often_overdue(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    return Alert(
        name="ConnPoolConnectionsOverdue",
        severity="info",
        expr=at_least(promql.increase("leaks_total", 'reason="overdue"'), thresholds.overdue_often),
        summary=f"Connections of pool {POOL} are often held for too long",
        description=f'Within {thresholds.rare_event_window}, {{{{ printf "%.0f" $value }}}} connections of pool '
        f"{POOL} were out for longer than they should be.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _abandoned(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    return Alert(
        name="ConnPoolConnectionsAbandoned",
        severity="warning",
        expr=at_least(promql.increase("leaks_total", 'reason="abandoned"'), thresholds.leaked[0]),
        summary=f"Connections of pool {POOL} are lost by the code that took them",
        description=f'Within {thresholds.rare_event_window}, {{{{ printf "%.0f" $value }}}} connections of pool '
        f"{POOL} were dropped by the code that had them, and not returned.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _nested(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    return Alert(
        name="ConnPoolNestedAcquires",
        severity="warning",
        expr=at_least(promql.increase("nested_acquires_total"), thresholds.nested),
        summary=f"Holders of connections ask pool {POOL} for more",
        description=f'Within {thresholds.rare_event_window}, {{{{ printf "%.0f" $value }}}} attempts were made by '
        f"somebody who held a connection of pool {POOL} already; enough of them at once wait for "
        "each other for ever.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _lost(promql: Expressions) -> Alert:
    """What is lost only grows, unless an exporter begins anew; then nothing is said."""
    thresholds = promql.thresholds
    grown = f"{promql.lost_max} - min_over_time({promql.lost_max}[{thresholds.rare_event_window}])"
    return Alert(
        name="ConnPoolProcessGoneHolding",
        severity="warning",
        expr=at_least(promql.sum(grown), thresholds.connections_lost),
        summary=f"A process is gone that held connections of pool {POOL}",
        description=f'Within {thresholds.rare_event_window}, {{{{ printf "%.0f" $value }}}} connections of pool '
        f"{POOL} were held by processes that are gone: killed, or ended in the middle of their "
        "work.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _finding(promql: Expressions) -> Alert:
    found = promql.maximum("finding", 'severity="critical"', by=(*promql.pool_labels, "rule"))
    return Alert(
        name="ConnPoolCriticalFinding",
        severity="warning",
        expr=above(found, 0),
        for_duration=promql.thresholds.ticket_after,
        summary=f"Pool {POOL} is used in a way that will break",
        description=f"Pool {POOL} has the finding {{{{ $labels.rule }}}}: what it is, and what to "
        "write instead, is in docs/findings/{{ $labels.rule }}.md.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )

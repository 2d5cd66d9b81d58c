"""Alerts about connections that are not returned, and about code that risks a deadlock."""

from __future__ import annotations

from poolscope.mixin.alerts.expressions import Expressions, above, at_least
from poolscope.mixin.alerts.model import POOL, Alert
from poolscope.mixin.alerts.texts import chosen, counted


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
        description=f"{counted('connection')} of pool {POOL} "
        f"{chosen('has', 'have')} been held for longer than "
        "leak_after.",
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
        description=f"{counted('connection')} of pool {POOL} "
        f"{chosen('was', 'were')} held for longer than "
        f"leak_after within {thresholds.rare_event_window}.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _abandoned(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    return Alert(
        name="ConnPoolConnectionsAbandoned",
        severity="warning",
        expr=at_least(promql.increase("leaks_total", 'reason="abandoned"'), thresholds.leaked[0]),
        summary=f"Code drops connections of pool {POOL} without returning them",
        description=f"{counted('connection')} of pool {POOL} "
        f"{chosen('was', 'were')} dropped by the code that held "
        f"{chosen('it', 'them')}, and not returned, within {thresholds.rare_event_window}.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _nested(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    return Alert(
        name="ConnPoolNestedAcquires",
        severity="warning",
        expr=at_least(promql.increase("nested_acquires_total"), thresholds.nested),
        summary=f"Callers that hold a connection of pool {POOL} ask for another",
        description=f"{counted('attempt')} within {thresholds.rare_event_window} "
        f"{chosen('was', 'were')} made by callers that already held a connection of pool {POOL}; "
        "enough such callers at the same time deadlock the pool.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _lost(promql: Expressions) -> Alert:
    """
    Return the alert that a process ended while it held connections.

    The number of lost connections only grows, unless an exporter starts anew; it falls then, and
    the alert stays silent.
    """
    thresholds = promql.thresholds
    lost, window = promql.lost_max, thresholds.rare_event_window
    return Alert(
        name="ConnPoolProcessGoneHolding",
        severity="warning",
        expr=at_least(
            promql.sum(f"{lost} - min_over_time({lost}[{window}])"), thresholds.connections_lost
        ),
        summary=f"A process ended while it held connections of pool {POOL}",
        description=f"{counted('connection')} of pool {POOL} "
        f"{chosen('was', 'were')} held by processes that ended "
        f"within {window}: they were killed, or exited in the middle of their work.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _finding(promql: Expressions) -> Alert:
    runbooks = promql.options.runbooks.rstrip("/")
    pages = f"{runbooks.rpartition('/')[0]}/findings" if runbooks else "docs/findings"
    found = promql.maximum("finding", 'severity="critical"', by=(*promql.pool_labels, "rule"))
    return Alert(
        name="ConnPoolCriticalFinding",
        severity="warning",
        expr=above(found, 0),
        for_duration=promql.thresholds.ticket_after,
        summary=f"Pool {POOL} is used in a way that will fail",
        description=f"Pool {POOL} has the finding {{{{ $labels.rule }}}}: "
        f"{pages}/{{{{ $labels.rule }}}}.md says what it is, and what to write instead.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )

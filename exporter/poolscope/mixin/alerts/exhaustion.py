"""Alerts of pools that have no connection left, or soon will not."""

from __future__ import annotations

from poolscope.mixin.alerts.expressions import (
    Expressions,
    above,
    all_of,
    at_least,
    below,
    length,
    number,
)
from poolscope.mixin.alerts.model import POOL, Alert, Severity


def alerts(promql: Expressions) -> tuple[Alert, ...]:
    return (
        _exhausted(promql, "critical"),
        _exhausted(promql, "warning"),
        _near(promql),
        _predicted(promql),
        _one_process(promql),
        _below_limit(promql),
    )


def _exhausted(promql: Expressions, severity: Severity) -> Alert:
    thresholds = promql.thresholds
    level = 1 if severity == "critical" else 0
    return Alert(
        name="ConnPoolExhausted",
        severity=severity,
        expr=all_of(
            above(promql.saturated, thresholds.saturated[level]),
            above(promql.waiting, thresholds.waiting[level]),
        ),
        for_duration=thresholds.exhausted_after if level else thresholds.ticket_after,
        summary=f"Callers wait because pool {POOL} has no free connection",
        description=f"For {{{{ $value | humanizePercentage }}}} of the last {thresholds.window} pool {POOL} "
        f"had no free connection, and on average more than {number(thresholds.waiting[level])} callers "
        "waited for one.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _near(promql: Expressions) -> Alert:
    thresholds = promql.thresholds
    return Alert(
        name="ConnPoolNearExhaustion",
        severity="warning",
        expr=above(promql.utilization, thresholds.utilization[0]),
        for_duration=thresholds.ticket_after,
        summary=f"Pool {POOL} is nearly full",
        description=f"On average {{{{ $value | humanizePercentage }}}} of the connections that "
        f"pool {POOL} allows were in use; the next burst will have to wait.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _predicted(promql: Expressions) -> Alert:
    """
    A trend of hours that leads above all.

    Not for a small pool, where one caller more is a trend. Not for noise, nor for each morning: the
    mean of late must be more than at any time of the day before, of which there must be something.
    """
    thresholds = promql.thresholds
    ahead = f"predict_linear({promql.utilization}[{thresholds.predict_from}], {length(thresholds.predict_for)})"
    lately = f"avg_over_time({promql.utilization}[{thresholds.rare_event_window}])"
    before = f"max_over_time({promql.utilization}[1d] offset {thresholds.predict_from})"
    return Alert(
        name="ConnPoolExhaustionPredicted",
        severity="warning",
        expr=all_of(
            above(ahead, 1),
            f"{lately} > {number(thresholds.predict_growth)} * {before}",
            f"{promql.utilization} offset 1d",
            at_least(promql.current("limit"), thresholds.smallest_pool),
        ),
        for_duration=thresholds.predicted_after,
        summary=f"Pool {POOL} will be exhausted within {thresholds.predict_for}",
        description=f"If the last {thresholds.predict_from} go on, pool {POOL} will need "
        f"{{{{ $value | humanizePercentage }}}} of its connections in {thresholds.predict_for}. It has more "
        "in use than at any time of the day before.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _one_process(promql: Expressions) -> Alert:
    """Of many small pools one is always full: it counts only if callers wait, too."""
    thresholds = promql.thresholds
    fullest = promql.max(f"avg_over_time({promql.select('utilization_max')}[{promql.window}])")
    return Alert(
        name="ConnPoolOneProcessFull",
        severity="warning",
        expr=all_of(
            above(fullest, thresholds.utilization[1]),
            below(promql.utilization, thresholds.utilization[0]),
            above(promql.waiting, thresholds.waiting[0]),
        ),
        for_duration=thresholds.ticket_after,
        summary=f"One process has no free connection of pool {POOL}, others have",
        description=f"The fullest process has {{{{ $value | humanizePercentage }}}} of its "
        f"connections of pool {POOL} in use, and callers wait, although all processes together "
        f"use less than {_percent(thresholds.utilization[0])}.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _below_limit(promql: Expressions) -> Alert:
    """
    Callers wait, and hardly ever was a pool without a free connection.

    Saturated time is that of all processes together: what one of them lacks is another alert.
    """
    thresholds = promql.thresholds
    return Alert(
        name="ConnPoolWaitingBelowLimit",
        severity="warning",
        expr=all_of(
            above(promql.waiting, thresholds.waiting[1]),
            below(promql.rate("saturated_seconds_total"), thresholds.saturated[0]),
        ),
        for_duration=thresholds.ticket_after,
        summary=f"Callers wait for pool {POOL}, which has free connections",
        description=f'On average {{{{ printf "%.3g" $value }}}} callers waited for pool {POOL}, '
        "although it had free connections: a limit per host holds them up.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"

"""Alerts about pools that have no free connection, or soon will have none."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.expressions import (
    Expressions,
    above,
    all_of,
    any_of,
    at_least,
    below,
    number,
    ratio,
    seconds_of,
    within,
)
from poolscope.mixin.alerts.model import POOL, Alert, Severity
from poolscope.mixin.alerts.texts import waiting_now
from poolscope.mixin.thresholds import Thresholds, seconds

OK: Final = 'outcome="ok"'
TREND_TIMES: Final = 2
"""How many times the time of a trend ago the week of a comparison ended: half a day ago."""


def growth_after(thresholds: Thresholds) -> float:
    """Return how many seconds ago the week ended with which utilization is compared."""
    return TREND_TIMES * seconds(thresholds.predict_from)


def alerts(promql: Expressions) -> tuple[Alert, ...]:
    return (
        _exhausted(promql),
        _often_exhausted(promql),
        _near(promql),
        _predicted(promql),
        _one_process(promql),
        _below_limit(promql),
    )


def _exhausted(promql: Expressions) -> Alert:
    """
    Return the alert that pages.

    It pages soon if the pool is full all the time, and more callers wait than it has connections:
    after a short burst, a small queue is gone by itself.
    """
    thresholds, short = promql.thresholds, promql.thresholds.short_window
    saturated = ratio(
        promql.rate("saturated_seconds_total", over=short), promql.mean("instances", over=short)
    )
    waiting_now = promql.rate("waiting_seconds_total", over=short)
    full = all_of(
        above(saturated, thresholds.full),
        above(waiting_now, thresholds.waiting[1]),
        f"{waiting_now} > {promql.mean('limit', over=short)}",
    )
    return _without_connection(
        promql,
        "critical",
        any_of(_saturated(promql, level=1), full, _deadlocked(promql)),
        "the time lately",
    )


def _deadlocked(promql: Expressions) -> str:
    """Return that a caller, who may be the only one, waits all the time, and nobody is served."""
    always = promql.thresholds.full
    return all_of(
        above(promql.saturated, always),
        above(promql.waiting, always),
        f"{promql.increase_in_window('acquires_total', OK)} == 0",
    )


def _often_exhausted(promql: Expressions) -> Alert:
    return _without_connection(
        promql, "warning", _saturated(promql, level=0), f"the last {promql.window}"
    )


def _saturated(promql: Expressions, level: int) -> str:
    thresholds = promql.thresholds
    return all_of(
        above(promql.saturated, thresholds.saturated[level]),
        above(promql.waiting, thresholds.waiting[level]),
    )


def _without_connection(promql: Expressions, severity: Severity, expr: str, when: str) -> Alert:
    thresholds = promql.thresholds
    return Alert(
        name="ConnPoolExhausted",
        severity=severity,
        expr=expr,
        for_duration=thresholds.exhausted_after
        if severity == "critical"
        else thresholds.ticket_after,
        summary=f"Callers wait because pool {POOL} has no free connection",
        description=f"Pool {POOL} had no free connection for {{{{ $value | humanizePercentage }}}} "
        f"of {when}, and callers waited.{waiting_now(promql)}",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _near(promql: Expressions) -> Alert:
    """
    Return the alert that a pool is nearly full, and callers wait or there are more than before.

    A pool that is always full and has no other callers is as large as it should be: that of a
    connection that listens, or of as many workers as connections.
    """
    thresholds = promql.thresholds
    waits = at_least(promql.increase_in_window("waits_total"), thresholds.events)
    return Alert(
        name="ConnPoolNearExhaustion",
        severity="warning",
        expr=all_of(
            above(promql.utilization, thresholds.utilization[0]),
            within(any_of(waits, _grown(promql))),
        ),
        for_duration=thresholds.ticket_after,
        summary=f"Pool {POOL} is nearly full",
        description=f"On average {{{{ $value | humanizePercentage }}}} of the connections that "
        f"pool {POOL} allows were in use; callers of the next burst will have to wait.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _predicted(promql: Expressions) -> Alert:
    """
    Return the alert that the trend of the last hours leads above the limit.

    It ignores small pools, in which one caller more is a trend. It ignores noise and the usual
    rise of each morning, also after a weekend: the recent mean must exceed the maximum of the week
    before, and there must be data of a day.
    """
    thresholds = promql.thresholds
    back, horizon = thresholds.predict_from, thresholds.predict_for
    ended = f"{growth_after(thresholds) / 3600:.2g}"
    predicted = f"predict_linear({promql.utilization}[{back}], {seconds_of(horizon)})"
    return Alert(
        name="ConnPoolExhaustionPredicted",
        severity="warning",
        expr=all_of(
            above(predicted, 1),
            _grown(promql),
            f"{promql.utilization} offset 1d",
            at_least(promql.current("limit"), thresholds.smallest_pool),
        ),
        for_duration=thresholds.predicted_after,
        summary=f"Pool {POOL} will be exhausted within {horizon}",
        description=f"If the trend of the last {back} continues, pool {POOL} will need "
        f"{{{{ $value | humanizePercentage }}}} of its limit in {horizon}. It uses more "
        f"connections now than at any time in the week that ended {ended} hours ago.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _grown(promql: Expressions) -> str:
    """
    Return that the mean utilization of an hour exceeds the maximum of the week before.

    The week ended half a day ago, so that a leak that takes days to fill the pool is growth, too.
    """
    thresholds = promql.thresholds
    ended = growth_after(thresholds)
    recent = f"avg_over_time({promql.utilization}[{thresholds.rare_event_window}])"
    before = f"max_over_time({promql.utilization}[1w] offset {ended:.0f}s)"
    return f"{recent} > {number(thresholds.predict_growth)} * {before}"


def _one_process(promql: Expressions) -> Alert:
    """
    Return the alert that a single process is full.

    A target is one process, or an exporter that says how full its fullest process is. Of many small
    pools one is always full, so it counts only if callers of the same target wait as well.
    """
    thresholds, by = promql.thresholds, promql.target_pool
    most, waiting = thresholds.utilization[1], thresholds.waiting[0]
    reported = promql.max(f"avg_over_time({promql.select('utilization_max')}[{promql.window}])", by)
    # A process without a limit has a ratio of 0.
    measured = ratio(promql.rate("in_use_seconds_total", by=by), promql.mean("limit", by=by))
    full = all_of(
        within(any_of(above(reported, most), above(measured, most))),
        above(promql.rate("waiting_seconds_total", by=by), waiting),
    )
    fullest = within(full, f"max by ({', '.join(promql.pool_labels)}) ")
    return Alert(
        name="ConnPoolOneProcessFull",
        severity="warning",
        expr=f"{fullest}\nunless\n{at_least(promql.utilization, thresholds.utilization[0])}",
        for_duration=thresholds.ticket_after,
        summary=f"One process has no free connection of pool {POOL}, while others have",
        description="The fullest process uses {{ $value | humanizePercentage }} of its connections "
        f"of pool {POOL}, and callers wait, although all processes together use less than "
        f"{_percent(thresholds.utilization[0])}.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _below_limit(promql: Expressions) -> Alert:
    """
    Return the alert that callers wait although the pool nearly always had a free connection.

    The saturated time is that of all processes together; a single full process is another alert.
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
        description=f"The mean number of callers that waited for pool {POOL} was "
        '{{ printf "%.3g" $value }}, although it had free connections: the limit of a single host '
        f"makes them wait.{waiting_now(promql)}",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"

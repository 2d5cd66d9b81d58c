"""Alerts of what callers notice: they give up, get an error, or wait for too long."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.expressions import (
    Expressions,
    above,
    all_of,
    at_least,
    length,
    number,
    ratio,
)
from poolscope.mixin.alerts.model import POOL, Alert, Severity
from poolscope.mixin.thresholds import BurnRate

BURN_RATES: Final[tuple[tuple[str, Severity], ...]] = (
    ("fast_burn", "critical"),
    ("steady_burn", "critical"),
    ("slow_burn", "warning"),
    ("creeping_burn", "warning"),
)


def alerts(promql: Expressions) -> tuple[Alert, ...]:
    slow = (
        _slow(promql, getattr(promql.thresholds, name), severity) for name, severity in BURN_RATES
    )
    return (
        _timeouts(promql, "critical"),
        _timeouts(promql, "warning"),
        _errors(promql, "critical"),
        _errors(promql, "warning"),
        *slow,
    )


def _timeouts(promql: Expressions, severity: Severity) -> Alert:
    return _ended(
        promql,
        severity,
        "timeout",
        promql.thresholds.timeouts,
        name="ConnPoolAcquireTimeouts",
        summary=f"Callers give up waiting for pool {POOL}",
        description=f"of the attempts to get a connection of pool {POOL} timed out.",
    )


def _errors(promql: Expressions, severity: Severity) -> Alert:
    return _ended(
        promql,
        severity,
        "error",
        promql.thresholds.errors,
        name="ConnPoolAcquireErrors",
        summary=f"Callers get errors instead of connections of pool {POOL}",
        description=f"of the attempts to get a connection of pool {POOL} ended with an error.",
    )


def _ended(
    promql: Expressions,
    severity: Severity,
    outcome: str,
    pair: tuple[float, float],
    *,
    name: str,
    summary: str,
    description: str,
) -> Alert:
    thresholds = promql.thresholds
    level = 1 if severity == "critical" else 0
    badly = f'outcome="{outcome}"'
    family = "acquires_total"
    return Alert(
        name=name,
        severity=severity,
        expr=all_of(
            above(ratio(promql.rate(family, badly), promql.rate(family)), pair[level]),
            at_least(promql.increase_in_window(family, badly), thresholds.events),
        ),
        for_duration=thresholds.page_after if level else thresholds.ticket_after,
        summary=summary,
        description=f"Within {thresholds.window}, {{{{ $value | humanizePercentage }}}} {description}",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _slow(promql: Expressions, burn_rate: BurnRate, severity: Severity) -> Alert:
    """
    The budget of slow attempts is used up too fast, as the SRE workbook has it.

    The short time lets it end soon after it is over; few slow attempts are no trend.
    """
    thresholds = promql.thresholds
    limit = float(number(burn_rate.factor * thresholds.budget))
    slow = (
        f"{length(burn_rate.long_window)} * avg_over_time({promql.slow}[{burn_rate.long_window}])"
    )
    return Alert(
        name="ConnPoolAcquireSlow",
        severity=severity,
        expr=all_of(
            above(promql.slow_share(burn_rate.long_window), limit),
            above(promql.slow_share(burn_rate.short_window), limit),
            at_least(slow, thresholds.slow_events),
        ),
        labels={"window": burn_rate.long_window},
        summary=f"Callers wait too long for connections of pool {POOL}",
        description=f"Within {burn_rate.long_window}, {{{{ $value | humanizePercentage }}}} of the attempts to "
        f"get a connection of pool {POOL} took longer than {number(thresholds.acquire_seconds[1])} s; the "
        f"objective allows {100 * thresholds.budget:.4g}%.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )

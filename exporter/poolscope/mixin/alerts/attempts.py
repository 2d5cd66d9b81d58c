"""Alerts about what callers notice: they time out, get an error, or wait for too long."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.expressions import (
    Expressions,
    above,
    all_of,
    at_least,
    number,
    ratio,
    seconds_of,
)
from poolscope.mixin.alerts.model import POOL, Alert, Severity
from poolscope.mixin.thresholds import BurnRate

BURN_RATES: Final[tuple[tuple[str, Severity], ...]] = (
    ("fast_burn", "critical"),
    ("steady_burn", "critical"),
    ("slow_burn", "warning"),
    ("creeping_burn", "warning"),
)
"""The thresholds that are burn rates, with the severities of their alerts."""


def alerts(promql: Expressions) -> tuple[Alert, ...]:
    return (
        _timeouts(promql, "critical"),
        _timeouts(promql, "warning"),
        _errors(promql, "critical"),
        _errors(promql, "warning"),
        *(
            _slow(promql, getattr(promql.thresholds, name), severity)
            for name, severity in BURN_RATES
        ),
    )


def _timeouts(promql: Expressions, severity: Severity) -> Alert:
    return _failed(
        promql,
        severity,
        "timeout",
        promql.thresholds.timeouts,
        name="ConnPoolAcquireTimeouts",
        summary=f"Callers time out waiting for a connection of pool {POOL}",
        ended="timed out",
    )


def _errors(promql: Expressions, severity: Severity) -> Alert:
    return _failed(
        promql,
        severity,
        "error",
        promql.thresholds.errors,
        name="ConnPoolAcquireErrors",
        summary=f"Callers get errors instead of connections of pool {POOL}",
        ended="failed with an error",
    )


def _failed(
    promql: Expressions,
    severity: Severity,
    outcome: str,
    pair: tuple[float, float],
    *,
    name: str,
    summary: str,
    ended: str,
) -> Alert:
    """Return the alert that too large a share of the attempts has an outcome."""
    thresholds = promql.thresholds
    level = 1 if severity == "critical" else 0
    failed = f'outcome="{outcome}"'
    family = "acquires_total"
    return Alert(
        name=name,
        severity=severity,
        expr=all_of(
            above(ratio(promql.rate(family, failed), promql.rate(family)), pair[level]),
            at_least(promql.increase_in_window(family, failed), thresholds.events),
        ),
        for_duration=thresholds.page_after if level else thresholds.ticket_after,
        summary=summary,
        description=f"{{{{ $value | humanizePercentage }}}} of the attempts to get a connection of "
        f"pool {POOL} {ended} within {thresholds.window}.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _slow(promql: Expressions, burn_rate: BurnRate, severity: Severity) -> Alert:
    """
    Return the alert that the budget of slow attempts is spent too fast, as in the SRE workbook.

    The short window ends the alert soon after the cause has ended; few slow attempts do not count.
    """
    thresholds = promql.thresholds
    long_window, short_window = burn_rate.long_window, burn_rate.short_window
    limit = float(number(burn_rate.factor * thresholds.budget))
    slow = f"{seconds_of(long_window)} * avg_over_time({promql.slow}[{long_window}])"
    return Alert(
        name="ConnPoolAcquireSlow",
        severity=severity,
        expr=all_of(
            above(promql.slow_share(long_window), limit),
            above(promql.slow_share(short_window), limit),
            at_least(slow, thresholds.slow_events),
        ),
        labels={"window": long_window},
        summary=f"Callers wait too long for connections of pool {POOL}",
        description=f"{{{{ $value | humanizePercentage }}}} of the attempts to get a connection of "
        f"pool {POOL} within {long_window} took longer than "
        f"{number(thresholds.acquire_seconds[1])} s; the objective allows "
        f"{100 * thresholds.budget:.4g}%.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )

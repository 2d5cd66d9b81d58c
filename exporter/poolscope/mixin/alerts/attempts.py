"""Alerts of what callers notice: they give up, get an error, or wait for too long."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.expressions import (
    Expressions,
    above,
    at_least,
    both,
    length,
    number,
    ratio,
)
from poolscope.mixin.alerts.model import POOL, Alert, Severity
from poolscope.mixin.thresholds import Burn

BURNS: Final[tuple[tuple[str, Severity], ...]] = (
    ("fast_burn", "critical"),
    ("steady_burn", "critical"),
    ("slow_burn", "warning"),
    ("creeping_burn", "warning"),
)


def alerts(x: Expressions) -> tuple[Alert, ...]:
    burns = (_slow(x, getattr(x.thresholds, burn), severity) for burn, severity in BURNS)
    return (
        _timeouts(x, "critical"),
        _timeouts(x, "warning"),
        _errors(x, "critical"),
        _errors(x, "warning"),
        *burns,
    )


def _timeouts(x: Expressions, severity: Severity) -> Alert:
    return _ended(
        x,
        severity,
        "timeout",
        x.thresholds.timeouts,
        name="ConnPoolAcquireTimeouts",
        summary=f"Callers give up waiting for pool {POOL}",
        description=f"of the attempts to get a connection of pool {POOL} timed out.",
    )


def _errors(x: Expressions, severity: Severity) -> Alert:
    return _ended(
        x,
        severity,
        "error",
        x.thresholds.errors,
        name="ConnPoolAcquireErrors",
        summary=f"Callers get errors instead of connections of pool {POOL}",
        description=f"of the attempts to get a connection of pool {POOL} ended with an error.",
    )


def _ended(
    x: Expressions,
    severity: Severity,
    outcome: str,
    pair: tuple[float, float],
    *,
    name: str,
    summary: str,
    description: str,
) -> Alert:
    t = x.thresholds
    level = 1 if severity == "critical" else 0
    badly = f'outcome="{outcome}"'
    family = "acquires_total"
    return Alert(
        name=name,
        severity=severity,
        expr=both(
            above(ratio(x.rate(family, badly), x.rate(family)), pair[level]),
            at_least(x.recently(family, badly), t.events),
        ),
        lasts=t.page_after if level else t.ticket_after,
        summary=summary,
        description=f"Within {t.window}, {{{{ $value | humanizePercentage }}}} {description}",
        board="pool",
        chosen=x.by,
    )


def _slow(x: Expressions, burn: Burn, severity: Severity) -> Alert:
    """
    The budget of slow attempts is used up too fast, as the SRE workbook has it.

    The short time lets it end soon after it is over; few slow attempts are no trend.
    """
    t = x.thresholds
    limit = float(number(burn.factor * t.budget))
    slow = f"{length(burn.long)} * avg_over_time({x.slow}[{burn.long}])"
    return Alert(
        name="ConnPoolAcquireSlow",
        severity=severity,
        expr=both(
            above(x.slow_share(burn.long), limit),
            above(x.slow_share(burn.short), limit),
            at_least(slow, t.slow_events),
        ),
        labels={"window": burn.long},
        summary=f"Callers wait too long for connections of pool {POOL}",
        description=f"Within {burn.long}, {{{{ $value | humanizePercentage }}}} of the attempts to "
        f"get a connection of pool {POOL} took longer than {number(t.acquire_seconds[1])} s; the "
        f"objective allows {100 * t.budget:.4g}%.",
        board="pool",
        chosen=x.by,
    )

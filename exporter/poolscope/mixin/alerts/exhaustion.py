"""Alerts of pools that have no connection left, or soon will not."""

from __future__ import annotations

from poolscope.mixin.alerts.expressions import (
    Expressions,
    above,
    at_least,
    below,
    both,
    length,
    number,
)
from poolscope.mixin.alerts.model import POOL, Alert, Severity


def alerts(x: Expressions) -> tuple[Alert, ...]:
    return (
        _exhausted(x, "critical"),
        _exhausted(x, "warning"),
        _near(x),
        _predicted(x),
        _one_process(x),
        _below_limit(x),
    )


def _exhausted(x: Expressions, severity: Severity) -> Alert:
    t = x.thresholds
    level = 1 if severity == "critical" else 0
    return Alert(
        name="ConnPoolExhausted",
        severity=severity,
        expr=both(above(x.saturated, t.saturated[level]), above(x.waiting, t.waiting[level])),
        lasts=t.exhausted_after if level else t.ticket_after,
        summary=f"Callers wait because pool {POOL} has no free connection",
        description=f"For {{{{ $value | humanizePercentage }}}} of the last {t.window} pool {POOL} "
        f"had no free connection, and on average more than {number(t.waiting[level])} callers "
        "waited for one.",
        board="pool",
        chosen=x.by,
    )


def _near(x: Expressions) -> Alert:
    t = x.thresholds
    return Alert(
        name="ConnPoolNearExhaustion",
        severity="warning",
        expr=above(x.utilisation, t.utilisation[0]),
        lasts=t.ticket_after,
        summary=f"Pool {POOL} is nearly full",
        description=f"On average {{{{ $value | humanizePercentage }}}} of the connections that "
        f"pool {POOL} allows were in use; the next burst will have to wait.",
        board="pool",
        chosen=x.by,
    )


def _predicted(x: Expressions) -> Alert:
    """
    A trend of hours that leads above all.

    Not for a small pool, where one caller more is a trend. Not for noise, nor for each morning: the
    mean of late must be more than at any time of the day before, of which there must be something.
    """
    t = x.thresholds
    ahead = f"predict_linear({x.utilisation}[{t.predict_from}], {length(t.predict_for)})"
    lately = f"avg_over_time({x.utilisation}[{t.counted}])"
    before = f"max_over_time({x.utilisation}[1d] offset {t.predict_from})"
    return Alert(
        name="ConnPoolExhaustionPredicted",
        severity="warning",
        expr=both(
            above(ahead, 1),
            f"{lately} > {number(t.predict_growth)} * {before}",
            f"{x.utilisation} offset 1d",
            at_least(x.now("limit"), t.smallest_pool),
        ),
        lasts=t.predicted_after,
        summary=f"Pool {POOL} will be exhausted within {t.predict_for}",
        description=f"If the last {t.predict_from} go on, pool {POOL} will need "
        f"{{{{ $value | humanizePercentage }}}} of its connections in {t.predict_for}. It has more "
        "in use than at any time of the day before.",
        board="pool",
        chosen=x.by,
    )


def _one_process(x: Expressions) -> Alert:
    """Of many small pools one is always full: it counts only if callers wait, too."""
    t = x.thresholds
    fullest = x.max(f"avg_over_time({x.select('utilization_max')}[{x.window}])")
    return Alert(
        name="ConnPoolOneProcessFull",
        severity="warning",
        expr=both(
            above(fullest, t.utilisation[1]),
            below(x.utilisation, t.utilisation[0]),
            above(x.waiting, t.waiting[0]),
        ),
        lasts=t.ticket_after,
        summary=f"One process has no free connection of pool {POOL}, others have",
        description=f"The fullest process has {{{{ $value | humanizePercentage }}}} of its "
        f"connections of pool {POOL} in use, and callers wait, although all processes together "
        f"use less than {_percent(t.utilisation[0])}.",
        board="pool",
        chosen=x.by,
    )


def _below_limit(x: Expressions) -> Alert:
    """
    Callers wait, and hardly ever was a pool without a free connection.

    Saturated time is that of all processes together: what one of them lacks is another alert.
    """
    t = x.thresholds
    return Alert(
        name="ConnPoolWaitingBelowLimit",
        severity="warning",
        expr=both(
            above(x.waiting, t.waiting[1]),
            below(x.rate("saturated_seconds_total"), t.saturated[0]),
        ),
        lasts=t.ticket_after,
        summary=f"Callers wait for pool {POOL}, which has free connections",
        description=f'On average {{{{ printf "%.3g" $value }}}} callers waited for pool {POOL}, '
        "although it had free connections: a limit per host holds them up.",
        board="pool",
        chosen=x.by,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"

"""Scenarios of pools that are full, and of what callers notice."""

from __future__ import annotations

import math

from poolscope.mixin.alerts.attempts import BURNS
from poolscope.mixin.alerts.expressions import number
from poolscope.mixin.alerts.promtool.scenario import STEPS, Line, Scenario, World, beyond, less_than
from poolscope.mixin.thresholds import Burn, seconds

PAIR = (("warning", 0), ("critical", 1))


def scenarios(w: World) -> list[Scenario]:
    return [
        *(_exhausted(w, severity, level) for severity, level in PAIR),
        _near(w),
        _predicted(w),
        _one_process(w),
        _below_limit(w),
        *(
            _ended(w, alert, outcome, getattr(w.t, pair), severity, level)
            for alert, outcome, pair in (
                ("ConnPoolAcquireTimeouts", "timeout", "timeouts"),
                ("ConnPoolAcquireErrors", "error", "errors"),
            )
            for severity, level in PAIR
        ),
        *(_slow(w, getattr(w.t, burn), severity) for burn, severity in BURNS),
    ]


def _level(pair: tuple[float, float], level: int, most: float = math.inf) -> float:
    """Return a little more than one threshold of a pair, and less than the next."""
    return beyond(pair[level], most if level else pair[1])


def _exhausted(w: World, severity: str, level: int) -> Scenario:
    pools = 2.0
    saturated = _level(w.t.saturated, level, 1)
    waiting = _level(w.t.waiting, level)
    return Scenario(
        alert="ConnPoolExhausted",
        severity=severity,
        lines={
            "saturated": w.grows("saturated_seconds_total", saturated * pools * w.step),
            "waiting": w.grows("waiting_seconds_total", waiting * w.step),
            "instances": w.line("instances", pools, pools),
        },
        value=saturated,
        labels=w.pool,
        silent={
            "as saturated as it may be": {
                "saturated": w.grows_at(w.t.saturated[level], pools),
            },
            "with as many waiting as may be": {"waiting": w.grows_at(w.t.waiting[level])},
        },
        begins=STEPS,
    )


def _near(w: World) -> Scenario:
    limit, full = 10.0, beyond(w.t.utilisation[0], 1)
    return Scenario(
        alert="ConnPoolNearExhaustion",
        severity="warning",
        lines={
            "used": w.grows("in_use_seconds_total", full * limit * w.step, w.step),
            "limit": w.line("limit", limit, limit),
        },
        value=full,
        labels=w.pool,
        silent={
            "as full as it may be": {"used": w.grows_at(w.t.utilisation[0], limit)},
            "without a limit": {"limit": math.inf},
        },
        begins=STEPS,
    )


def _predicted(w: World) -> Scenario:
    """For half a day it is at its most, then it climbs until the trend crosses the limit."""
    coarse = max(1, round(300 / w.step))
    hour = 3600 / (w.step * coarse)
    begins = math.ceil(24 * hour)
    lasts = w.steps(w.t.predicted_after, coarse)
    most, looked_back = w.t.predict_growth, seconds(w.t.predict_from) - seconds(w.t.counted) / 2
    climb = 2 * 3600 / looked_back * (1 - 1 / most)
    each = climb / hour
    crossing = 1.002
    ahead = climb * seconds(w.t.predict_for) / 3600
    lately = crossing - ahead - climb * seconds(w.t.counted) / 7200

    def utilisation(there: float, before: float, *, missing: int = 0, more: int = 0) -> Line:
        """Return the series; at `begins` the trend leads `there`, and it falls when all is seen."""
        first = begins // 2
        start = there - ahead - each * (begins - first)
        gone = f"_x{missing} " if missing else ""
        flat = f"{before:.12f}+0x{first - missing - 1}"
        rising = f"{start:.12f}+{each:.12f}x{begins + lasts - first + more}"
        text = f"{gone}{flat} {rising} 0.1+0x20"
        return Line(w.x.utilisation, w.pool, 0.0, text=text, calm=f"0.5+0x{begins + lasts + 20}")

    calm = lately / most * 0.99
    busy = (lately + each * (lasts + 5)) / most
    return Scenario(
        alert="ConnPoolExhaustionPredicted",
        severity="warning",
        lines={
            "utilisation": utilisation(crossing, calm),
            "limit": w.line("limit", w.t.smallest_pool, w.t.smallest_pool),
        },
        value=crossing + each * lasts,
        labels=w.pool,
        silent={
            "leading to less than all": {
                "utilisation": utilisation(0.998 - each * (lasts + 6), calm / 2, more=6)
            },
            "with as much on the day before": {"utilisation": utilisation(crossing, busy, more=6)},
            "without a day before": {
                "utilisation": utilisation(crossing, calm, missing=math.ceil(2 * hour), more=6)
            },
            "of a pool that is too small": {"limit": w.t.smallest_pool * 0.95},
        },
        begins=begins,
        coarse=coarse,
    )


def _one_process(w: World) -> Scenario:
    full, waiting = beyond(w.t.utilisation[1], 1), beyond(w.t.waiting[0])
    all_used = less_than(w.t.utilisation[0])
    return Scenario(
        alert="ConnPoolOneProcessFull",
        severity="warning",
        lines={
            "fullest": w.line("utilization_max", full),
            "other host": w.line("utilization_max", 0.0, job="other"),
            "all": w.recorded(w.x.utilisation, all_used),
            "waiting": w.recorded(w.x.waiting, waiting),
        },
        value=full,
        labels=w.pool,
        silent={
            "as full as it may be": {"fullest": w.t.utilisation[1]},
            "with all nearly full": {"all": w.t.utilisation[0]},
            "with as many waiting as may be": {"waiting": w.t.waiting[0]},
        },
        needless=("other host",),
    )


def _below_limit(w: World) -> Scenario:
    waiting, saturated = beyond(w.t.waiting[1]), less_than(w.t.saturated[0])
    return Scenario(
        alert="ConnPoolWaitingBelowLimit",
        severity="warning",
        lines={
            "waiting": w.grows("waiting_seconds_total", waiting * w.step),
            "saturated": w.grows("saturated_seconds_total", saturated * w.step),
        },
        value=waiting,
        labels=w.pool,
        silent={
            "with as many waiting as may be": {"waiting": w.grows_at(w.t.waiting[1])},
            "saturated": {"saturated": w.grows_at(w.t.saturated[0], less=True)},
        },
        begins=STEPS,
    )


def _ended(
    w: World, alert: str, outcome: str, pair: tuple[float, float], severity: str, level: int
) -> Scenario:
    share = _level(pair, level, 1)
    few = w.t.events * 0.95 / STEPS
    at, rest = w.parts(pair[level])
    family, badly = "acquires_total", w.events
    return Scenario(
        alert=alert,
        severity=severity,
        lines={
            "badly": w.grows(family, badly, outcome=outcome),
            "well": w.grows(family, badly / share - badly, 1.0, outcome="ok"),
        },
        value=share,
        labels=w.pool,
        silent={
            "as often as it may be": {"badly": at, "well": rest},
            "too seldom to count": {"badly": few, "well": few / share - few},
        },
        begins=w.enough,
        needless=("well",),
    )


def _slow(w: World, burn: Burn, severity: str) -> Scenario:
    limit = float(number(burn.factor * w.t.budget))
    share, long = beyond(limit, 1), seconds(burn.long)
    slow = exactly_at_least(w.t.slow_events, long)
    return Scenario(
        alert="ConnPoolAcquireSlow",
        severity=severity,
        own={"window": burn.long},
        title=burn.long,
        lines={
            "long": w.recorded(w.x.slow_share(burn.long), share),
            "short": w.recorded(w.x.slow_share(burn.short), share),
            "slow": w.recorded(w.x.slow, slow),
        },
        value=share,
        labels=w.pool,
        silent={
            "as long as it may be": {"long": limit},
            "no more": {"short": limit},
            "too seldom to count": {"slow": slow * 0.95},
        },
    )


def exactly_at_least(wanted: float, factor: float) -> float:
    """Return the smallest number that times the factor is at least what is wanted."""
    found = wanted / factor
    while factor * found < wanted:
        found = math.nextafter(found, math.inf)
    return found

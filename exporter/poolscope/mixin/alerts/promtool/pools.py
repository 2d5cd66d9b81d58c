"""Scenarios of pools that are full, and of what callers notice."""

from __future__ import annotations

import math

from poolscope.mixin.alerts.attempts import BURN_RATES
from poolscope.mixin.alerts.expressions import number
from poolscope.mixin.alerts.promtool.scenario import (
    STEPS_PER_WINDOW,
    Scenario,
    ScenarioFactory,
    Series,
    beyond,
    less_than,
)
from poolscope.mixin.thresholds import BurnRate, seconds

PAIR = (("warning", 0), ("critical", 1))


def scenarios(world: ScenarioFactory) -> list[Scenario]:
    return [
        *(_exhausted(world, severity, level) for severity, level in PAIR),
        _near(world),
        _predicted(world),
        _one_process(world),
        _below_limit(world),
        *(
            _ended(world, alert, outcome, getattr(world.thresholds, pair), severity, level)
            for alert, outcome, pair in (
                ("ConnPoolAcquireTimeouts", "timeout", "timeouts"),
                ("ConnPoolAcquireErrors", "error", "errors"),
            )
            for severity, level in PAIR
        ),
        *(_slow(world, getattr(world.thresholds, name), severity) for name, severity in BURN_RATES),
    ]


def _level(pair: tuple[float, float], level: int, most: float = math.inf) -> float:
    """Return a little more than one threshold of a pair, and less than the next."""
    return beyond(pair[level], most if level else pair[1])


def _exhausted(world: ScenarioFactory, severity: str, level: int) -> Scenario:
    pools = 2.0
    saturated = _level(world.thresholds.saturated, level, 1)
    waiting = _level(world.thresholds.waiting, level)
    return Scenario(
        alert="ConnPoolExhausted",
        severity=severity,
        series={
            "saturated": world.grows("saturated_seconds_total", saturated * pools * world.step),
            "waiting": world.grows("waiting_seconds_total", waiting * world.step),
            "instances": world.series("instances", pools, pools),
        },
        value=saturated,
        labels=world.pool,
        silent={
            "as saturated as it may be": {
                "saturated": world.growth_for_rate(world.thresholds.saturated[level], pools),
            },
            "with as many waiting as may be": {
                "waiting": world.growth_for_rate(world.thresholds.waiting[level])
            },
        },
        true_at=STEPS_PER_WINDOW,
    )


def _near(world: ScenarioFactory) -> Scenario:
    limit, full = 10.0, beyond(world.thresholds.utilization[0], 1)
    return Scenario(
        alert="ConnPoolNearExhaustion",
        severity="warning",
        series={
            "used": world.grows("in_use_seconds_total", full * limit * world.step, world.step),
            "limit": world.series("limit", limit, limit),
        },
        value=full,
        labels=world.pool,
        silent={
            "as full as it may be": {
                "used": world.growth_for_rate(world.thresholds.utilization[0], limit)
            },
            "without a limit": {"limit": math.inf},
        },
        true_at=STEPS_PER_WINDOW,
    )


def _predicted(world: ScenarioFactory) -> Scenario:
    """For half a day it is at its most, then it climbs until the trend crosses the limit."""
    step_factor = max(1, round(300 / world.step))
    hour = 3600 / (world.step * step_factor)
    true_at = math.ceil(24 * hour)
    lasts = world.steps(world.thresholds.predicted_after, step_factor)
    most, looked_back = (
        world.thresholds.predict_growth,
        seconds(world.thresholds.predict_from) - seconds(world.thresholds.rare_event_window) / 2,
    )
    climb = 2 * 3600 / looked_back * (1 - 1 / most)
    each = climb / hour
    crossing = 1.002
    ahead = climb * seconds(world.thresholds.predict_for) / 3600
    lately = crossing - ahead - climb * seconds(world.thresholds.rare_event_window) / 7200

    def utilization(there: float, before: float, *, missing: int = 0, more: int = 0) -> Series:
        """Return the series; at `true_at` the trend leads `there`, and it falls when all is seen."""
        first = true_at // 2
        start = there - ahead - each * (true_at - first)
        gone = f"_x{missing} " if missing else ""
        flat = f"{before:.12f}+0x{first - missing - 1}"
        rising = f"{start:.12f}+{each:.12f}x{true_at + lasts - first + more}"
        text = f"{gone}{flat} {rising} 0.1+0x20"
        return Series(
            world.promql.utilization,
            world.pool,
            0.0,
            text=text,
            healthy_text=f"0.5+0x{true_at + lasts + 20}",
        )

    calm = lately / most * 0.99
    busy = (lately + each * (lasts + 5)) / most
    return Scenario(
        alert="ConnPoolExhaustionPredicted",
        severity="warning",
        series={
            "utilization": utilization(crossing, calm),
            "limit": world.series(
                "limit", world.thresholds.smallest_pool, world.thresholds.smallest_pool
            ),
        },
        value=crossing + each * lasts,
        labels=world.pool,
        silent={
            "leading to less than all": {
                "utilization": utilization(0.998 - each * (lasts + 6), calm / 2, more=6)
            },
            "with as much on the day before": {"utilization": utilization(crossing, busy, more=6)},
            "without a day before": {
                "utilization": utilization(crossing, calm, missing=math.ceil(2 * hour), more=6)
            },
            "of a pool that is too small": {"limit": world.thresholds.smallest_pool * 0.95},
        },
        true_at=true_at,
        step_factor=step_factor,
    )


def _one_process(world: ScenarioFactory) -> Scenario:
    full, waiting = beyond(world.thresholds.utilization[1], 1), beyond(world.thresholds.waiting[0])
    all_used = less_than(world.thresholds.utilization[0])
    return Scenario(
        alert="ConnPoolOneProcessFull",
        severity="warning",
        series={
            "fullest": world.series("utilization_max", full),
            "other host": world.series("utilization_max", 0.0, job="other"),
            "all": world.recorded(world.promql.utilization, all_used),
            "waiting": world.recorded(world.promql.waiting, waiting),
        },
        value=full,
        labels=world.pool,
        silent={
            "as full as it may be": {"fullest": world.thresholds.utilization[1]},
            "with all nearly full": {"all": world.thresholds.utilization[0]},
            "with as many waiting as may be": {"waiting": world.thresholds.waiting[0]},
        },
        optional=("other host",),
    )


def _below_limit(world: ScenarioFactory) -> Scenario:
    waiting, saturated = (
        beyond(world.thresholds.waiting[1]),
        less_than(world.thresholds.saturated[0]),
    )
    return Scenario(
        alert="ConnPoolWaitingBelowLimit",
        severity="warning",
        series={
            "waiting": world.grows("waiting_seconds_total", waiting * world.step),
            "saturated": world.grows("saturated_seconds_total", saturated * world.step),
        },
        value=waiting,
        labels=world.pool,
        silent={
            "with as many waiting as may be": {
                "waiting": world.growth_for_rate(world.thresholds.waiting[1])
            },
            "saturated": {
                "saturated": world.growth_for_rate(world.thresholds.saturated[0], less=True)
            },
        },
        true_at=STEPS_PER_WINDOW,
    )


def _ended(
    world: ScenarioFactory,
    alert: str,
    outcome: str,
    pair: tuple[float, float],
    severity: str,
    level: int,
) -> Scenario:
    share = _level(pair, level, 1)
    few = world.thresholds.events * 0.95 / STEPS_PER_WINDOW
    at, rest = world.parts_with_share(pair[level])
    family, badly = "acquires_total", world.events_per_step
    return Scenario(
        alert=alert,
        severity=severity,
        series={
            "badly": world.grows(family, badly, outcome=outcome),
            "well": world.grows(family, badly / share - badly, 1.0, outcome="ok"),
        },
        value=share,
        labels=world.pool,
        silent={
            "as often as it may be": {"badly": at, "well": rest},
            "too seldom to count": {"badly": few, "well": few / share - few},
        },
        true_at=world.enough_events_at,
        optional=("well",),
    )


def _slow(world: ScenarioFactory, burn_rate: BurnRate, severity: str) -> Scenario:
    limit = float(number(burn_rate.factor * world.thresholds.budget))
    share, long = beyond(limit, 1), seconds(burn_rate.long_window)
    slow = exactly_at_least(world.thresholds.slow_events, long)
    return Scenario(
        alert="ConnPoolAcquireSlow",
        severity=severity,
        extra_labels={"window": burn_rate.long_window},
        title=burn_rate.long_window,
        series={
            "long": world.recorded(world.promql.slow_share(burn_rate.long_window), share),
            "short": world.recorded(world.promql.slow_share(burn_rate.short_window), share),
            "slow": world.recorded(world.promql.slow, slow),
        },
        value=share,
        labels=world.pool,
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

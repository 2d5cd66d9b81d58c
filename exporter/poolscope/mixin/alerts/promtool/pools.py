"""Scenarios of full pools, and of attempts that fail or are slow."""

from __future__ import annotations

import math
from typing import Final

from poolscope.mixin.alerts.attempts import BURN_RATES
from poolscope.mixin.alerts.expressions import number
from poolscope.mixin.alerts.promtool.scenario import (
    SILENT_STEPS,
    STEPS_PER_WINDOW,
    Scenario,
    ScenarioFactory,
    Series,
    beyond,
    less_than,
)
from poolscope.mixin.thresholds import BurnRate, seconds

LEVELS: Final = (("warning", 0), ("critical", 1))


def scenarios(world: ScenarioFactory) -> list[Scenario]:
    return [
        *(_exhausted(world, severity, level) for severity, level in LEVELS),
        _full(world),
        _near(world),
        _predicted(world),
        _one_process(world),
        _below_limit(world),
        *(
            _failed(world, alert, outcome, getattr(world.thresholds, pair), severity, level)
            for alert, outcome, pair in (
                ("ConnPoolAcquireTimeouts", "timeout", "timeouts"),
                ("ConnPoolAcquireErrors", "error", "errors"),
            )
            for severity, level in LEVELS
        ),
        *(_slow(world, getattr(world.thresholds, name), severity) for name, severity in BURN_RATES),
    ]


def _level(pair: tuple[float, float], level: int, most: float = math.inf) -> float:
    """Return a value a little above one threshold of a pair, and below the next."""
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
            "exactly at the threshold of saturation": {
                "saturated": world.growth_for_rate(world.thresholds.saturated[level], pools),
            },
            "exactly at the threshold of waiting callers": {
                "waiting": world.growth_for_rate(world.thresholds.waiting[level])
            },
        },
        true_at=STEPS_PER_WINDOW,
    )


def _full(world: ScenarioFactory) -> Scenario:
    """The pool is full all the time: the alert fires long before a share of the window is full."""
    thresholds, pools = world.thresholds, 5.0
    soon = ScenarioFactory(world.promql, thresholds.short_window)
    full, waiting = beyond(thresholds.full, 1), beyond(thresholds.waiting[1])
    # So few more that the whole window is hardly above its threshold before it ends.
    more = thresholds.waiting[1] * 13 / 12
    lasts = (STEPS_PER_WINDOW + soon.steps(thresholds.exhausted_after) + SILENT_STEPS) * soon.step
    # Otherwise the other condition holds before the end of a test, and rightly so.
    alone = lasts < 0.9 * world.window
    silent = {
        "exactly at the threshold of saturation": {
            "saturated": soon.growth_for_rate(thresholds.full, pools)
        },
        "exactly at the threshold of waiting callers": {
            "waiting": soon.growth_for_rate(thresholds.waiting[1])
        },
        "no more callers wait than there are connections": {
            "waiting": soon.growth_for_rate(more),
            "limit": more,
        },
    }
    return Scenario(
        alert="ConnPoolExhausted",
        severity="critical",
        series={
            "saturated": soon.grows("saturated_seconds_total", full * pools * soon.step),
            "waiting": soon.grows("waiting_seconds_total", waiting * soon.step),
            "instances": soon.series("instances", pools, pools),
            "limit": soon.series("limit", waiting / 2, waiting / 2),
        },
        value=full,
        labels=world.pool,
        silent=silent if alone else {},
        optional=() if alone else ("limit",),
        resolves_after=STEPS_PER_WINDOW * STEPS_PER_WINDOW + 2,
        true_at=STEPS_PER_WINDOW,
        step_factor=soon.step / world.step,
        title="soon",
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
            "exactly at the threshold": {
                "used": world.growth_for_rate(world.thresholds.utilization[0], limit)
            },
            "the pool has no limit": {"limit": math.inf},
        },
        true_at=STEPS_PER_WINDOW,
    )


class _Climb:
    """
    Utilization that stays at a maximum for half a day, and then climbs.

    true_at: the step at which the trend may lead above the limit: there is a day of samples then.
    lasts: for how many steps it must before the alert fires.
    each: how much utilization climbs in each step.
    ahead: how much it climbs in the time of the prediction.
    behind: how much higher it is now than the mean of the recent window.
    """

    def __init__(self, world: ScenarioFactory) -> None:
        thresholds = world.thresholds
        recent_window = seconds(thresholds.rare_event_window)
        self.step_factor = max(1, round(300 / world.step))
        self.steps_per_hour = 3600 / (world.step * self.step_factor)
        self.true_at = math.ceil(24 * self.steps_per_hour)
        self.lasts = world.steps(thresholds.predicted_after, self.step_factor)
        looked_back = seconds(thresholds.predict_from) - recent_window / 2
        per_hour = 2 * 3600 / looked_back * (1 - 1 / thresholds.predict_growth)
        self.each = per_hour / self.steps_per_hour
        self.ahead = per_hour * seconds(thresholds.predict_for) / 3600
        self.behind = per_hour * recent_window / 7200
        self._world = world

    def series(self, predicted: float, before: float, *, missing: int = 0, more: int = 0) -> Series:
        """
        Return utilization: at `true_at` the trend leads to `predicted`, and it drops at the end.

        before: the maximum of the day before.
        missing: for how many steps at the beginning there are no samples.
        more: for how many steps more than needed it climbs.
        """
        first = self.true_at // 2
        start = predicted - self.ahead - self.each * (self.true_at - first)
        absent = f"_x{missing} " if missing else ""
        flat = f"{before:.12f}+0x{first - missing - 1}"
        rising = f"{start:.12f}+{self.each:.12f}x{self.true_at + self.lasts - first + more}"
        return Series(
            self._world.promql.utilization,
            self._world.pool,
            0.0,
            text=f"{absent}{flat} {rising} 0.1+0x20",
            healthy_text=f"0.5+0x{self.true_at + self.lasts + 20}",
        )


def _predicted(world: ScenarioFactory) -> Scenario:
    climb, growth = _Climb(world), world.thresholds.predict_growth
    limit = world.thresholds.smallest_pool
    crossing = 1.002
    recent = crossing - climb.ahead - climb.behind
    low = recent / growth * 0.99
    high = (recent + climb.each * (climb.lasts + 5)) / growth
    below = 0.998 - climb.each * (climb.lasts + 6)
    no_day = math.ceil(2 * climb.steps_per_hour)
    return Scenario(
        alert="ConnPoolExhaustionPredicted",
        severity="warning",
        series={
            "utilization": climb.series(crossing, low),
            "limit": world.series("limit", limit, limit),
        },
        value=crossing + climb.each * climb.lasts,
        labels=world.pool,
        silent={
            "the trend stays below the limit": {
                "utilization": climb.series(below, low / 2, more=6)
            },
            "utilization was as high on the day before": {
                "utilization": climb.series(crossing, high, more=6)
            },
            "there are no samples of the day before": {
                "utilization": climb.series(crossing, low, missing=no_day, more=6)
            },
            "the pool is too small": {"limit": limit * 0.95},
        },
        true_at=climb.true_at,
        step_factor=climb.step_factor,
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
            "exactly at the threshold": {"fullest": world.thresholds.utilization[1]},
            "all processes together are nearly full": {"all": world.thresholds.utilization[0]},
            "exactly at the threshold of waiting callers": {"waiting": world.thresholds.waiting[0]},
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
            "exactly at the threshold of waiting callers": {
                "waiting": world.growth_for_rate(world.thresholds.waiting[1])
            },
            "saturated": {
                "saturated": world.growth_for_rate(world.thresholds.saturated[0], less=True)
            },
        },
        true_at=STEPS_PER_WINDOW,
    )


def _failed(
    world: ScenarioFactory,
    alert: str,
    outcome: str,
    pair: tuple[float, float],
    severity: str,
    level: int,
) -> Scenario:
    share = _level(pair, level, 1)
    few = world.thresholds.events * 0.95 / STEPS_PER_WINDOW
    at_threshold, rest = world.parts_with_share(pair[level])
    family, failing = "acquires_total", world.events_per_step
    return Scenario(
        alert=alert,
        severity=severity,
        series={
            "failing": world.grows(family, failing, outcome=outcome),
            "succeeded": world.grows(family, failing / share - failing, 1.0, outcome="ok"),
        },
        value=share,
        labels=world.pool,
        silent={
            "exactly at the threshold": {"failing": at_threshold, "succeeded": rest},
            "too few events": {"failing": few, "succeeded": few / share - few},
        },
        true_at=world.enough_events_at,
        optional=("succeeded",),
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
            "exactly at the threshold of the long window": {"long": limit},
            "exactly at the threshold of the short window": {"short": limit},
            "too few events": {"slow": slow * 0.95},
        },
    )


def exactly_at_least(wanted: float, factor: float) -> float:
    """Return the smallest number that, multiplied by the factor, is at least `wanted`."""
    found = wanted / factor
    while factor * found < wanted:
        found = math.nextafter(found, math.inf)
    return found

"""Scenarios of full pools, and of attempts that fail or are slow."""

from __future__ import annotations

import math
from typing import Final

from poolscope.mixin.alerts.exhaustion import growth_after
from poolscope.mixin.alerts.promtool.scenario import (
    MARGIN,
    SILENT_STEPS,
    STEPS_PER_WINDOW,
    Scenario,
    ScenarioFactory,
    Series,
    beyond,
    less_than,
)
from poolscope.mixin.queries import name_of
from poolscope.mixin.thresholds import seconds

LEVELS: Final = (("warning", 0), ("critical", 1))


def scenarios(world: ScenarioFactory) -> list[Scenario]:
    return [
        *(_exhausted(world, severity, level) for severity, level in LEVELS),
        _full(world),
        _near(world),
        _near_and_growing(world),
        _deadlock(world),
        _predicted(world),
        _one_process(world),
        _one_embedded(world),
        _below_limit(world),
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
            "waiting now": world.series("waiting", 1.0, 1.0),
            "others wait now": world.series("waiting", 2.0, 2.0, job="others"),
            "another pool": world.series("waiting", 9.0, 9.0, of={**world.pool, "pool": "other"}),
            "longest wait": world.series("oldest_wait_seconds", 75.0, 75.0),
        },
        gauges={name_of("waiting"): 3.0, name_of("oldest_wait_seconds"): 75.0},
        optional=("waiting now", "others wait now", "another pool", "longest wait"),
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
        ends_at_once=False,
        title="soon",
    )


def _near(world: ScenarioFactory) -> Scenario:
    limit, full = 10.0, beyond(world.thresholds.utilization[0], 1)
    few = world.thresholds.events * 0.95 / STEPS_PER_WINDOW
    return Scenario(
        alert="ConnPoolNearExhaustion",
        severity="warning",
        series={
            "used": world.grows("in_use_seconds_total", full * limit * world.step, world.step),
            "limit": world.series("limit", limit, limit),
            "waits": world.grows("waits_total", world.events_per_step),
        },
        value=full,
        labels=world.pool,
        silent={
            "exactly at the threshold": {
                "used": world.growth_for_rate(world.thresholds.utilization[0], limit)
            },
            "the pool has no limit": {"limit": math.inf},
            "too few callers wait": {"waits": few},
        },
        true_at=STEPS_PER_WINDOW,
    )


def _near_and_growing(world: ScenarioFactory) -> Scenario:
    """Nobody waits yet, but the pool is fuller than it was."""
    full = beyond(world.thresholds.utilization[0], 1)
    growth = world.thresholds.predict_growth
    before = world.steps(f"{growth_after(world.thresholds):.0f}s")
    # Without samples of the last hour, its mean is that of the first new sample.
    hour = world.steps(world.thresholds.rare_event_window)
    lasts = world.steps(world.thresholds.ticket_after) + 1

    def utilization(old: float) -> Series:
        low = f"{old:.12f}+0x{before - 1}"
        return Series(
            world.promql.utilization,
            world.pool,
            full,
            text=f"{low} _x{hour} {full:.12f}+0x{lasts - 1} {low}",
            healthy_text=f"{low} _x{hour} {low}",
        )

    return Scenario(
        alert="ConnPoolNearExhaustion",
        severity="warning",
        title="growing",
        series={"utilization": utilization(full / growth / MARGIN)},
        value=full,
        labels=world.pool,
        silent={"it was as full before": {"utilization": utilization(full / growth * 1.01)}},
        steps_before=before + hour,
    )


def _deadlock(world: ScenarioFactory) -> Scenario:
    """One caller waits for a connection that it holds itself."""
    always, pools = beyond(world.thresholds.full, 1), 2.0
    return Scenario(
        alert="ConnPoolExhausted",
        severity="critical",
        title="deadlock",
        series={
            "saturated": world.grows("saturated_seconds_total", always * pools * world.step),
            "waiting": world.grows("waiting_seconds_total", always * world.step),
            "instances": world.series("instances", pools, pools),
            "served": world.grows("acquires_total", 0.0, 1.0, outcome="ok"),
            "timed out": world.grows("acquires_total", 1.0, outcome="timeout"),
        },
        value=always,
        labels=world.pool,
        silent={
            "exactly at the threshold of saturation": {
                "saturated": world.growth_for_rate(world.thresholds.full, pools)
            },
            "exactly at the threshold of waiting callers": {
                "waiting": world.growth_for_rate(world.thresholds.full)
            },
            "somebody is served": {"served": 1.0},
        },
        true_at=STEPS_PER_WINDOW,
        optional=("timed out",),
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
    """An exporter reports its fullest process."""
    full, waiting = beyond(world.thresholds.utilization[1], 1), beyond(world.thresholds.waiting[0])
    all_used = less_than(world.thresholds.utilization[0])
    return Scenario(
        alert="ConnPoolOneProcessFull",
        severity="warning",
        series={
            "fullest": world.series("utilization_max", full),
            "other host": world.series("utilization_max", 0.0, job="other"),
            "all": world.recorded(world.promql.utilization, all_used),
            "waiting": world.grows("waiting_seconds_total", waiting * world.step),
        },
        value=full,
        labels=world.pool,
        silent={
            "exactly at the threshold": {"fullest": world.thresholds.utilization[1]},
            "all processes together are nearly full": {"all": world.thresholds.utilization[0]},
            "exactly at the threshold of waiting callers": {
                "waiting": world.growth_for_rate(world.thresholds.waiting[0])
            },
        },
        true_at=STEPS_PER_WINDOW if world.thresholds.waiting[0] else 1,
        optional=("other host", "all"),
    )


def _one_embedded(world: ScenarioFactory) -> Scenario:
    """One of twenty processes is full; there is no exporter that could say so."""
    limit, others = 10.0, 190.0
    full, waiting = beyond(world.thresholds.utilization[1], 1), beyond(world.thresholds.waiting[0])
    nearly_full = beyond(world.thresholds.utilization[0], 1) * (limit + others) - limit
    used, waits = "in_use_seconds_total", "waiting_seconds_total"
    return Scenario(
        alert="ConnPoolOneProcessFull",
        severity="warning",
        title="without an exporter",
        series={
            "used": world.grows(used, full * limit * world.step, world.step),
            "limit": world.series("limit", limit, limit),
            "waiting": world.grows(waits, waiting * world.step),
            "others' use": world.grows(used, world.step, world.step, job="others"),
            "others' limit": world.series("limit", others, others, job="others"),
        },
        value=full,
        labels=world.pool,
        silent={
            "exactly at the threshold": {
                "used": world.growth_for_rate(world.thresholds.utilization[1], limit)
            },
            "exactly at the threshold of waiting callers": {
                "waiting": world.growth_for_rate(world.thresholds.waiting[0])
            },
            "callers of another process wait": {
                "waiting": 0.0,
                "others wait": world.grows(waits, waiting * world.step, job="others"),
            },
            "all processes together are nearly full": {"others' use": nearly_full * world.step},
            "the process has no limit": {"limit": math.inf},
        },
        true_at=STEPS_PER_WINDOW,
        optional=("others' use",),
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

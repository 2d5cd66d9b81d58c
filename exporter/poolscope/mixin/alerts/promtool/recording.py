"""Tests of the recording rules: what they make of the series of two processes."""

from __future__ import annotations

import math

from poolscope.mixin.alerts.model import Json
from poolscope.mixin.alerts.promtool.scenario import (
    STEPS_PER_WINDOW,
    ScenarioFactory,
    Series,
    duration,
)
from poolscope.mixin.alerts.recording import burn_rates

LAST = 2 * STEPS_PER_WINDOW
"""The step in which it is looked at what was recorded."""

OPEN = 6.0
"""Connections that each process may have out."""


def tests(world: ScenarioFactory) -> list[Json]:
    return [
        _of(world, "two processes", world.pool),
        _of(world, "without the labels of anybody", _bare(world)),
    ]


def _bare(world: ScenarioFactory) -> dict[str, str]:
    return {key: value for key, value in world.pool.items() if key not in world.scope}


def _of(world: ScenarioFactory, what: str, pool: dict[str, str]) -> Json:
    """
    Return the test of all rules.

    Of two processes one always waits with three callers, half of the time without a free
    connection; the other one never does. A pool without limit has no utilization.
    """
    busy, calm, unlimited = (
        _with(world, pool, instance) for instance in ("busy", "calm", "unlimited")
    )
    early = _with(world, pool, "early")
    free = {**unlimited, "pool": "unlimited"}
    bound = {"le": str(float(world.thresholds.acquire_seconds[1]))}
    lines = [
        _grows(world, "saturated_seconds_total", world.step / 2, busy),
        _grows(world, "saturated_seconds_total", 0.0, calm),
        _is(world, "instances", 1.0, busy),
        _is(world, "instances", 1.0, calm),
        _grows(world, "waiting_seconds_total", 3 * world.step, busy),
        _grows(world, "waiting_seconds_total", 0.0, calm),
        _grows(world, "in_use_seconds_total", 5 * world.step, busy),
        _grows(world, "in_use_seconds_total", world.step, calm),
        _grows(world, "in_use_seconds_total", world.step, free),
        _is(world, "limit", OPEN, busy),
        _is(world, "limit", OPEN, calm),
        _is(world, "limit", math.inf, free),
        _grows(world, "acquire_seconds", 3 * world.step, busy, "_count"),
        _grows(world, "acquire_seconds", world.step, calm, "_count"),
        _grows(world, "acquire_seconds", 2 * world.step, {**busy, **bound}, "_bucket"),
        _grows(world, "acquire_seconds", world.step, {**calm, **bound}, "_bucket"),
        _grows(world, "acquire_seconds", world.step, {**busy, "le": "0.0001"}, "_bucket"),
        _is(world, "acquires_total", 10.0, {**busy, "outcome": "ok"}),
        _is(world, "acquires_total", 20.0, {**busy, "outcome": "error"}),
        _is(world, "hold_seconds", 7.0, busy, "_count"),
        _is(world, "connections", 1.0, {**busy, "state": "in_use"}),
        _is(world, "connections", 1.0, {**busy, "state": "idle"}),
        _is(world, "acquires_total", 10.0, {**calm, "outcome": "ok"}),
        _is(world, "hold_seconds", 9.0, calm, "_count"),
        # It held connections before it was watched.
        _is(world, "acquires_total", 10.0, {**early, "outcome": "ok"}),
        _is(world, "hold_seconds", 11.0, early, "_count"),
    ]
    times = {
        time
        for burn_rate in burn_rates(world.thresholds)
        for time in (burn_rate.long_window, burn_rate.short_window)
    }
    expected = {
        world.promql.saturated: {_named(pool): 0.25},
        world.promql.waiting: {_named(pool): 3.0},
        world.promql.utilization: {_named(pool): 0.5},
        world.promql.attempts: {_named(pool): 4.0},
        world.promql.slow: {_named(pool): 1.0},
        **{world.promql.slow_share(time): {_named(pool): 0.25} for time in sorted(times)},
        world.promql.lost: {_named(busy): 2.0, _named(calm): 1.0, _named(early): -1.0},
        world.promql.lost_max: {_named(busy): 2.0, _named(calm): 1.0, _named(early): 0.0},
    }
    return {
        "name": f"recording, {what}",
        "interval": duration(world.step),
        "input_series": [
            {"series": series.selector, "values": series.values([(True, LAST + 1)])}
            for series in lines
        ],
        "promql_expr_test": [
            {
                # Means of rates have the dust of floating point.
                "expr": f"round({name}, 0.001)",
                "eval_time": duration(LAST * world.step),
                "exp_samples": [{"labels": k, "value": v} for k, v in samples.items()],
            }
            for name, samples in expected.items()
        ],
    }


def _with(world: ScenarioFactory, pool: dict[str, str], instance: str) -> dict[str, str]:
    options = world.promql.options
    # Without a label for it, the job has to tell them apart.
    if options.instance:
        return {**pool, "job": "poolscope", options.instance: instance}
    return {**pool, "job": instance}


def _named(labels: dict[str, str]) -> str:
    return Series("", labels, None).selector


def _grows(
    world: ScenarioFactory, family: str, each: float, labels: dict[str, str], part: str = ""
) -> Series:
    return Series(world.name(family, part), world.matched(labels), each, shape="grows")


def _is(
    world: ScenarioFactory, family: str, value: float, labels: dict[str, str], part: str = ""
) -> Series:
    return Series(world.name(family, part), world.matched(labels), value)

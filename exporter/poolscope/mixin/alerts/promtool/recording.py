"""Tests of the recording rules: what they record from the series of two processes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, NamedTuple

from poolscope.metrics.family import POOL_LABELS
from poolscope.mixin.alerts.model import Json
from poolscope.mixin.alerts.promtool.scenario import (
    STEPS_PER_WINDOW,
    ScenarioFactory,
    Series,
    duration,
)
from poolscope.mixin.alerts.recording import burn_rates

LAST_STEP: Final = 2 * STEPS_PER_WINDOW
"""The step at which the recorded values are checked."""

PROCESS_LIMIT: Final = 6.0
"""The limit of the pool in each process."""


def tests(world: ScenarioFactory) -> list[Json]:
    return [
        _of(world, "two processes", world.pool),
        _of(world, "without labels of a service", _without_scope(world)),
    ]


def _without_scope(world: ScenarioFactory) -> dict[str, str]:
    return {key: value for key, value in world.pool.items() if key not in world.scope}


class _Processes(NamedTuple):
    """The labels of the pool in each of four processes."""

    busy: dict[str, str]
    idle: dict[str, str]
    unlimited: dict[str, str]
    early: dict[str, str]


def _of(world: ScenarioFactory, title: str, pool: dict[str, str]) -> Json:
    """
    Return the test of all recording rules.

    In the busy process, three callers wait all the time, and half of the time no connection is
    free; in the idle one nobody waits. A pool without a limit has no utilization. The early process
    held connections before its pool was watched.
    """
    processes = _Processes(*(_with(world, pool, name) for name in _Processes._fields))
    return {
        "name": f"recording, {title}",
        "interval": duration(world.step),
        "input_series": [
            {"series": series.selector, "values": series.values([(True, LAST_STEP + 1)])}
            for series in (
                *_of_attempts(world, processes),
                *_of_connections(world, processes),
                *_of_processes(world, pool, live=_live(title)),
                *_made(world, processes, ended=title != "two processes"),
            )
        ],
        "promql_expr_test": [
            {
                # Means of rates have rounding errors.
                "expr": f"round({name}, 0.001)",
                "eval_time": duration(LAST_STEP * world.step),
                "exp_samples": [{"labels": k, "value": v} for k, v in samples.items()],
            }
            for name, samples in {
                **_expected(world, pool, processes),
                **{
                    name: {_named(_scope(world, pool)): float(_live(title) > 0)}
                    for name in (world.promql.alive, world.promql.present)
                },
            }.items()
        ],
    }


def _of_attempts(world: ScenarioFactory, processes: _Processes) -> list[Series]:
    busy, idle, _, _ = processes
    least = world.thresholds.acquire_seconds[1]
    # Of two processes, one may write the bound as 1, and the other one as 1.0.
    bound, other_spelling = {"le": f"{least}"}, {"le": f"{least:g}"}
    similar = {"le": f"{least}".replace(".", "0")}
    return [
        _grows(world, "saturated_seconds_total", world.step / 2, busy),
        _grows(world, "saturated_seconds_total", 0.0, idle),
        _is(world, "instances", 1.0, busy),
        _is(world, "instances", 1.0, idle),
        _grows(world, "waiting_seconds_total", 3 * world.step, busy),
        _grows(world, "waiting_seconds_total", 0.0, idle),
        _grows(world, "acquire_seconds", 3 * world.step, busy, "_count"),
        _grows(world, "acquire_seconds", world.step, idle, "_count"),
        _grows(world, "acquire_seconds", 2 * world.step, {**busy, **bound}, "_bucket"),
        _grows(world, "acquire_seconds", world.step, {**idle, **other_spelling}, "_bucket"),
        _grows(world, "acquire_seconds", world.step, {**idle, **similar}, "_bucket"),
        _grows(world, "acquire_seconds", world.step, {**busy, "le": "0.0005"}, "_bucket"),
    ]


def _of_connections(world: ScenarioFactory, processes: _Processes) -> list[Series]:
    busy, idle, _, early = processes
    unlimited = {**processes.unlimited, "pool": "unlimited"}
    return [
        _grows(world, "in_use_seconds_total", 5 * world.step, busy),
        _grows(world, "in_use_seconds_total", world.step, idle),
        _grows(world, "in_use_seconds_total", world.step, unlimited),
        _is(world, "limit", PROCESS_LIMIT, busy),
        _is(world, "limit", PROCESS_LIMIT, idle),
        _is(world, "limit", math.inf, unlimited),
        _is(world, "acquires_total", 10.0, {**busy, "outcome": "ok"}),
        _is(world, "acquires_total", 20.0, {**busy, "outcome": "error"}),
        _is(world, "hold_seconds", 7.0, busy, "_count"),
        _is(world, "connections", 1.0, {**busy, "state": "in_use"}),
        _is(world, "connections", 1.0, {**busy, "state": "idle"}),
        _is(world, "acquires_total", 10.0, {**idle, "outcome": "ok"}),
        _is(world, "hold_seconds", 9.0, idle, "_count"),
        # No hold has ended, so nothing is said.
        _is(world, "acquires_total", 2.0, {**unlimited, "outcome": "ok"}),
        _is(world, "acquires_total", 10.0, {**early, "outcome": "ok"}),
        _is(world, "hold_seconds", 11.0, early, "_count"),
    ]


def _of_processes(world: ScenarioFactory, pool: dict[str, str], live: float) -> list[Series]:
    """Return how many processes two exporters see, of which one sees none that lives."""
    return [
        _is(world, "exporter_processes", value, {**_service(_with(world, pool, name)), **state})
        for name, alive in (("one", 0.0), ("two", live))
        for state, value in (({"state": "live"}, alive), ({"state": "gone"}, 3.0))
    ]


def _made(world: ScenarioFactory, processes: _Processes, *, ended: bool) -> list[Series]:
    """Return how many pools two processes have made, which have no metrics any more if ended."""
    return [
        replace(
            _is(world, "instances_created_total", 2.0, labels),
            text=f"2+0x{STEPS_PER_WINDOW} stale _x{LAST_STEP}" if ended else "",
        )
        for labels in (processes.busy, processes.idle)
    ]


def _scope(world: ScenarioFactory, pool: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in pool.items() if key in world.scope}


def _live(title: str) -> float:
    """Return how many processes live: none in one of the tests."""
    return 3.0 if title == "two processes" else 0.0


def _service(labels: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key not in POOL_LABELS}


def _expected(
    world: ScenarioFactory, pool: dict[str, str], processes: _Processes
) -> dict[str, dict[str, float]]:
    """Return the recorded values by the name of the rule and the labels of the series."""
    promql = world.promql
    busy, idle, _, early = (_named(labels) for labels in processes)
    windows = {
        window
        for burn_rate in burn_rates(world.thresholds)
        for window in (burn_rate.long_window, burn_rate.short_window)
    }
    return {
        promql.saturated: {_named(pool): 0.25},
        promql.waiting: {_named(pool): 3.0},
        promql.utilization: {_named(pool): 0.5},
        promql.attempts: {_named(pool): 4.0},
        promql.slow: {_named(pool): 1.0},
        promql.slow_attempts: {_named(pool): world.window},
        **{promql.slow_share(window): {_named(pool): 0.25} for window in sorted(windows)},
        promql.lost: {busy: 2.0, idle: 1.0, early: -1.0},
        promql.lost_max: {busy: 2.0, idle: 1.0, early: 0.0},
    }


def _with(world: ScenarioFactory, pool: dict[str, str], instance: str) -> dict[str, str]:
    options = world.promql.options
    # Without a label for the instance, the job distinguishes the processes.
    if options.instance:
        return {**pool, "job": "poolscope", options.instance: instance}
    return {**pool, "job": instance}


def _named(labels: dict[str, str]) -> str:
    return Series("", labels, None).selector


def _grows(
    world: ScenarioFactory, family: str, each: float, labels: dict[str, str], part: str = ""
) -> Series:
    return Series(world.name(family, part), world.matching(labels), each, shape="grows")


def _is(
    world: ScenarioFactory, family: str, value: float, labels: dict[str, str], part: str = ""
) -> Series:
    return Series(world.name(family, part), world.matching(labels), value)

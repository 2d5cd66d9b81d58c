"""Tests of the recording rules: what they make of the series of two processes."""

from __future__ import annotations

import math

from poolscope.mixin.alerts.model import Json
from poolscope.mixin.alerts.promtool.scenario import STEPS, Line, World, duration
from poolscope.mixin.alerts.recording import burns

LAST = 2 * STEPS
"""The step in which it is looked at what was recorded."""

OPEN = 6.0
"""Connections that each process may have out."""


def tests(w: World) -> list[Json]:
    return [_of(w, "two processes", w.pool), _of(w, "without the labels of anybody", _bare(w))]


def _bare(w: World) -> dict[str, str]:
    return {key: value for key, value in w.pool.items() if key not in w.scope}


def _of(w: World, what: str, pool: dict[str, str]) -> Json:
    """
    Return the test of all rules.

    Of two processes one always waits with three callers, half of the time without a free
    connection; the other one never does. A pool without limit has no utilisation.
    """
    busy, calm, unlimited = (_with(w, pool, instance) for instance in ("busy", "calm", "unlimited"))
    early = _with(w, pool, "early")
    free = {**unlimited, "pool": "unlimited"}
    bound = {"le": str(float(w.t.acquire_seconds[1]))}
    lines = [
        _grows(w, "saturated_seconds_total", w.step / 2, busy),
        _grows(w, "saturated_seconds_total", 0.0, calm),
        _is(w, "instances", 1.0, busy),
        _is(w, "instances", 1.0, calm),
        _grows(w, "waiting_seconds_total", 3 * w.step, busy),
        _grows(w, "waiting_seconds_total", 0.0, calm),
        _grows(w, "in_use_seconds_total", 5 * w.step, busy),
        _grows(w, "in_use_seconds_total", w.step, calm),
        _grows(w, "in_use_seconds_total", w.step, free),
        _is(w, "limit", OPEN, busy),
        _is(w, "limit", OPEN, calm),
        _is(w, "limit", math.inf, free),
        _grows(w, "acquire_seconds", 3 * w.step, busy, "_count"),
        _grows(w, "acquire_seconds", w.step, calm, "_count"),
        _grows(w, "acquire_seconds", 2 * w.step, {**busy, **bound}, "_bucket"),
        _grows(w, "acquire_seconds", w.step, {**calm, **bound}, "_bucket"),
        _grows(w, "acquire_seconds", w.step, {**busy, "le": "0.0001"}, "_bucket"),
        _is(w, "acquires_total", 10.0, {**busy, "outcome": "ok"}),
        _is(w, "acquires_total", 20.0, {**busy, "outcome": "error"}),
        _is(w, "hold_seconds", 7.0, busy, "_count"),
        _is(w, "connections", 1.0, {**busy, "state": "in_use"}),
        _is(w, "connections", 1.0, {**busy, "state": "idle"}),
        _is(w, "acquires_total", 10.0, {**calm, "outcome": "ok"}),
        _is(w, "hold_seconds", 9.0, calm, "_count"),
        # It held connections before it was watched.
        _is(w, "acquires_total", 10.0, {**early, "outcome": "ok"}),
        _is(w, "hold_seconds", 11.0, early, "_count"),
    ]
    times = {time for burn in burns(w.t) for time in (burn.long, burn.short)}
    expected = {
        w.x.saturated: {_named(pool): 0.25},
        w.x.waiting: {_named(pool): 3.0},
        w.x.utilisation: {_named(pool): 0.5},
        w.x.attempts: {_named(pool): 4.0},
        w.x.slow: {_named(pool): 1.0},
        **{w.x.slow_share(time): {_named(pool): 0.25} for time in sorted(times)},
        w.x.lost: {_named(busy): 2.0, _named(calm): 1.0, _named(early): -1.0},
        w.x.surely_lost: {_named(busy): 2.0, _named(calm): 1.0, _named(early): 0.0},
    }
    return {
        "name": f"recording, {what}",
        "interval": duration(w.step),
        "input_series": [
            {"series": line.series, "values": line.values([(True, LAST + 1)])} for line in lines
        ],
        "promql_expr_test": [
            {
                # Means of rates have the dust of floating point.
                "expr": f"round({name}, 0.001)",
                "eval_time": duration(LAST * w.step),
                "exp_samples": [{"labels": k, "value": v} for k, v in samples.items()],
            }
            for name, samples in expected.items()
        ],
    }


def _with(w: World, pool: dict[str, str], instance: str) -> dict[str, str]:
    options = w.x.options
    # Without a label for it, the job has to tell them apart.
    if options.instance:
        return {**pool, "job": "poolscope", options.instance: instance}
    return {**pool, "job": instance}


def _named(labels: dict[str, str]) -> str:
    return Line("", labels, None).series


def _grows(w: World, family: str, each: float, labels: dict[str, str], part: str = "") -> Line:
    return Line(w.name(family, part), w.matched(labels), each, shape="grows")


def _is(w: World, family: str, value: float, labels: dict[str, str], part: str = "") -> Line:
    return Line(w.name(family, part), w.matched(labels), value)

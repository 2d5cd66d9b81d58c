"""Replays of releases and scaling: services that come, go, are doubled, restarted or renamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mixin.alerts.estate import DAY, HOUR, Estate, Replay, of, orders

BUSY: dict[str, Any] = {"in_use": 3.0, "ok": 600.0}
FULL = {"in_use": 10.0, "waiting": 15.0, "ok": 100.0}
ABSENT = ("ConnPoolMetricsAbsent", "warning")
EXHAUSTED = {("ConnPoolExhausted", "critical"): 1, ("ConnPoolExhausted", "warning"): 1}

Lives = Callable[[int], bool]


def pod(estate: Estate, name: str, lives: Lives, *, service: str = "shop", **measures: Any) -> None:
    """Add a process that serves its own metrics while it lives."""
    instance = f"{name}:8000"
    pool = orders(service=service, instance=instance)
    estate.pool(pool, there=lives, made=measures.pop("made", 1.0), **measures)
    up = of(service=service, instance=instance)
    estate.add("up", lambda minute: 1.0 if lives(minute) else None, up)


def blue_green(blue: str, green: str) -> Estate:
    """Return two releases of four pods, of which the second takes over after half an hour."""
    estate = Estate(3 * HOUR)
    for number in range(4):
        pod(estate, f"blue-{number}", lambda minute: minute < 90, service=blue, **BUSY)
        pod(estate, f"green-{number}", lambda minute: minute >= 60, service=green, **BUSY)
    return estate


def canary(**measures: Any) -> Estate:
    """Return twenty pods, and after an hour a single one of the next release."""
    estate = Estate(3 * HOUR)
    for number in range(20):
        pod(estate, f"stable-{number}", lambda minute: True, **BUSY)
    pod(estate, "canary", lambda minute: minute >= HOUR, **measures)
    return estate


def flapping(each: dict[str, Any]) -> Estate:
    """Return two pods that stay, and six that an autoscaler adds and removes every four minutes."""
    estate = Estate(2 * HOUR)
    for number in range(2):
        pod(estate, f"stays-{number}", lambda minute: True, **each)
    for start in range(0, 2 * HOUR, 8):
        for number in range(6):
            lives = range(start, start + 4).__contains__
            pod(estate, f"added-{start}-{number}", lives, **each)
    return estate


def replaced_every_other_minute(each: dict[str, Any]) -> Estate:
    """Return four pods, all of which are replaced by new ones every two minutes."""
    estate = Estate(HOUR)
    for start in range(0, HOUR, 2):
        for number in range(4):
            lives = range(start, start + 2).__contains__
            pod(estate, f"short-{start}-{number}", lives, **each)
    return estate


def restarted_at_once() -> Estate:
    """Return twenty pods of fixed names whose counters all begin anew after an hour."""
    estate = Estate(2 * HOUR)
    for number in range(20):
        pool = orders(instance=f"shop-{number}:8000")
        estate.pool(pool, **BUSY)
        own = f"shop-{number}:8000"
        for name, values in estate.series.items():
            if own in name and any(part in name for part in ("seconds_", "acquires_", "reused_")):
                estate.series[name] = [*values[:HOUR], *values[: len(values) - HOUR]]
    return estate


def jobs(lives: Lives, minutes: int) -> Estate:
    """Return a job that serves its own metrics while it runs."""
    estate = Estate(minutes)
    pod(estate, "job", lives, service="reports", in_use=2.0, ok=60.0)
    return estate


def exporter_restarts() -> Estate:
    """Return an exporter that is away for two minutes, and keeps its totals."""
    estate = Estate(3 * HOUR, frozenset(range(100, 102)))
    target = of(instance="exporter:10464")
    estate.add("up", 1.0, target)
    estate.add('exporter_build_info{version="1"}', 1.0, target)
    estate.add('exporter_processes{state="live"}', 4.0, target)
    estate.pool(orders(instance="exporter:10464"), limit=40.0, in_use=12.0, ok=6000.0)
    return estate


REPLAYS = [
    Replay("two releases of a service side by side for half an hour", blue_green("shop", "shop")),
    Replay(
        "two releases that are services of their own, of which one ends",
        blue_green("shop-blue", "shop-green"),
        {ABSENT: 1},
    ),
    Replay("a canary of one pod that is well", canary(**BUSY)),
    Replay(
        "a canary of one pod that is full",
        canary(in_use=10.0, waiting=1.5, ok=100.0),
        {("ConnPoolOneProcessFull", "warning"): 1},
    ),
    Replay(
        "a canary of one pod whose every attempt fails",
        canary(error=30.0),
        {("ConnPoolAcquireErrors", "warning"): 1},
    ),
    Replay("an autoscaler that adds and removes pods all the time", flapping(BUSY)),
    Replay(
        "an autoscaler that adds and removes pods all the time, and all of them are full",
        flapping(FULL),
        EXHAUSTED,
    ),
    Replay(
        # Each of them counts for a whole window, so that the pool seems to be larger than it is.
        "full pods that are all replaced every other minute: a ticket, but no page",
        replaced_every_other_minute(FULL),
        {("ConnPoolExhausted", "warning"): 1},
    ),
    Replay("all pods restart at once, and their counters begin anew", restarted_at_once()),
    Replay("an exporter that is restarted, and keeps its totals", exporter_restarts()),
    Replay(
        "a job that serves its own metrics for ten minutes of each hour",
        jobs(lambda minute: minute % HOUR in range(20, 30), 8 * HOUR),
    ),
    # After its very first run, it cannot be told from a service that has ended.
    Replay(
        "a job that serves its own metrics for half an hour each night",
        jobs(lambda minute: minute % DAY in range(120, 150), 2 * DAY + 12 * HOUR),
        {ABSENT: 1},
    ),
]

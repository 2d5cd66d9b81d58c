"""Replays of what happens in an estate: releases, crashes, scaling, and two Prometheus servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mixin.alerts.estate import HOUR, Estate, Replay, of, orders

BUSY = {"in_use": 3.0, "ok": 600.0}


def pods(minutes: int, count: int, lives: Callable[[int], range], **measures: Any) -> Estate:
    """Return pods with a pool, each of which is there in some minutes."""
    estate = Estate(minutes)
    for number in range(count):
        instance = f"shop-{number}:8000"
        there = lives(number)
        estate.pool(orders(instance=instance), there=there.__contains__, **BUSY | measures)
        estate.add("up", in_these(there, 1.0), of(instance=instance))
    return estate


def in_these(minutes: range, value: float) -> Callable[[int], float | None]:
    """Return a series that is there in these minutes only."""
    return lambda minute: value if minute in minutes else None


def rolling(number: int) -> range:
    """Return when a pod of the old or the new release lives: one is replaced every minute."""
    replaced = HOUR + number % 20
    return range(replaced + 1) if number < 20 else range(replaced, 3 * HOUR)


def crashing(number: int) -> range:
    """Return when a pod lives that crashes after two minutes, and is replaced after five."""
    return range(30 + 5 * number, 32 + 5 * number)


def crash_loop() -> Estate:
    """Return a healthy pod, and one that crashes again and again, each time with another name."""
    estate = pods(2 * HOUR, 12, crashing, in_use=1.0, ok=5.0)
    estate.pool(orders(instance="healthy:8000"), **BUSY)
    return estate


def exporter(minutes: int, failed: frozenset[int] = frozenset()) -> tuple[Estate, dict[str, str]]:
    estate, target = Estate(minutes, failed), of(instance="exporter:10464")
    estate.add("up", 1.0, target)
    estate.add('exporter_build_info{version="1"}', 1.0, target)
    return estate, {**target, "pool": "orders", "kind": "asyncpg"}


def killed_while_holding(returned: float) -> Estate:
    """Return a process that is killed after an hour, and has not returned all connections."""
    estate, pool = exporter(2 * HOUR)
    live = estate.minutes // 2

    def held(minute: int) -> float:
        return 10.0 - returned if minute < live else 0.0

    estate.add("instances_created_total", 2.0, pool)
    estate.add('acquires_total{outcome="ok"}', 10.0, pool)
    estate.add("hold_seconds_count{}", returned, pool)
    estate.add('connections{state="in_use"}', held, pool)
    estate.add('exporter_processes{state="live"}', 2.0, of(instance="exporter:10464"))
    return estate


def emptied_folder() -> Estate:
    """Return an exporter whose folder somebody empties: it sees no process, and no pool."""
    estate, pool = exporter(2 * HOUR)
    there = range(HOUR)
    estate.add("instances_created_total", in_these(there, 4.0), pool)
    target = of(instance="exporter:10464")
    estate.add(
        'exporter_processes{state="live"}', lambda minute: float(4 * (minute in there)), target
    )
    return estate


def scaled_to_zero() -> Estate:
    """Return pods that all end, on purpose, and whose targets are no more."""
    return pods(2 * HOUR, 4, lambda number: range(HOUR))


def two_clusters() -> Estate:
    """Return full pools of one name, whose Prometheus servers have external labels."""
    estate = Estate(HOUR)
    full = {"in_use": 10.0, "waiting": 15.0, "ok": 100.0}
    for cluster in ("eu", "us"):
        estate.pool({**orders(), "cluster": cluster}, **full)
    return estate


def replicated() -> Estate:
    """Return a healthy pool whose series two replicas of Prometheus have sent to one store."""
    estate = Estate(2 * HOUR)
    for replica in ("a", "b"):
        estate.pool(orders(replica=replica), limit=10.0, in_use=7.0, ok=600.0)
    return estate


def renamed() -> Estate:
    """Return two pools of a target that has a label `pool` itself."""
    estate = Estate(HOUR)
    for name in ("orders", "billing"):
        estate.pool(orders(exported_pool=name) | {"pool": "blue"}, **BUSY)
    return estate


REPLAYS = [
    Replay("a rolling restart of 20 pods", pods(3 * HOUR, 40, rolling)),
    Replay("a crash loop beside a healthy pod", crash_loop()),
    Replay(
        "a process that is killed while it holds connections",
        killed_while_holding(returned=7.0),
        {("ConnPoolProcessGoneHolding", "warning"): 1},
    ),
    Replay(
        "a process that ends, and has returned all connections",
        killed_while_holding(returned=10.0),
    ),
    Replay(
        "a folder that is emptied",
        emptied_folder(),
        {("ConnPoolNoProcesses", "warning"): 1, ("ConnPoolMetricsAbsent", "warning"): 1},
    ),
    Replay(
        "a service that is scaled to zero",
        scaled_to_zero(),
        {("ConnPoolMetricsAbsent", "warning"): 1},
    ),
    Replay(
        "full pools of one name, from two Prometheus servers with external labels",
        two_clusters(),
        {("ConnPoolExhausted", "critical"): 2, ("ConnPoolExhausted", "warning"): 2},
    ),
    Replay(
        "a target with a label named pool, which replaces those of its pools",
        renamed(),
        {("ConnPoolLabelsRenamed", "warning"): 1},
    ),
    Replay("a pool that two replicas of Prometheus have scraped", replicated()),
    Replay(
        "a crawler whose tasks always wait for a connection",
        pods(2 * HOUR, 1, lambda number: range(2 * HOUR), in_use=10.0, waiting=40.0),
        {("ConnPoolExhausted", "critical"): 1, ("ConnPoolExhausted", "warning"): 1},
    ),
]

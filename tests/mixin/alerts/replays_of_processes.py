"""Replays of processes: one of many is in trouble, or all of a service are gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mixin.alerts.estate import DAY, HOUR, Estate, Replay, of, orders

ERRORS, TIMEOUTS = "ConnPoolAcquireErrors", "ConnPoolAcquireTimeouts"
FULL = {"in_use": 10.0, "waiting": 1.5, "ok": 100}
BUSY = {"in_use": 3.0, "ok": 600}


def twenty(one: dict[str, Any], others: dict[str, Any]) -> Estate:
    """Return twenty embedded processes, of which one is different."""
    estate = Estate(HOUR)
    for number in range(20):
        estate.pool(orders(instance=f"shop-{number}:8000"), **(others if number else one))
    return estate


def rarely(minute: int) -> float:
    """Return the attempts of a minute, if there is one in 90 seconds."""
    return minute * 2 // 3 - (minute - 1) * 2 // 3 if minute else 0


def exporter(live: Callable[[int], float | None], minutes: int) -> Estate:
    """Return an exporter that sees so many live processes, and knows the pools of dead ones."""
    estate = Estate(minutes)
    target = of(instance="exporter:10464")
    estate.add("up", 1.0, target)
    estate.add('exporter_build_info{version="1"}', 1.0, target)
    estate.add('exporter_processes{state="live"}', live, target)
    estate.add("instances_created_total", 4.0, {**target, "pool": "orders", "kind": "asyncpg"})
    return estate


def restarted(minute: int) -> float:
    """Return the live processes of a service of 4 that is restarted, and is gone for 2 minutes."""
    return 0.0 if minute in range(100, 102) else 4.0


def deadlocked_listener() -> Estate:
    """Return a full process in which nobody waits, beside one in which callers wait for a while."""
    estate = twenty({"in_use": 10.0}, BUSY)
    estate.pool(orders(instance="late:8000"), in_use=5.0, waiting=0.3, saturated=0.01, ok=100)
    return estate


REPLAYS = [
    Replay(
        "one full process of twenty, without an exporter",
        twenty(FULL, BUSY),
        {("ConnPoolOneProcessFull", "warning"): 1},
    ),
    Replay("one full process of twenty in which nobody waits", deadlocked_listener()),
    Replay(
        "a worker whose every attempt fails, once in 90 seconds",
        twenty({"error": rarely}, {}),
        {(ERRORS, "critical"): 1, (ERRORS, "warning"): 1},
    ),
    Replay(
        "a worker whose every attempt times out, once in 90 seconds",
        twenty({"timeout": rarely}, {}),
        {(TIMEOUTS, "critical"): 1, (TIMEOUTS, "warning"): 1},
    ),
    Replay(
        "one of twenty workers whose every attempt fails, while the others are busy",
        twenty({"error": rarely}, BUSY),
        {(ERRORS, "warning"): 1},
    ),
    Replay(
        "a worker that fails four times, and then no more",
        twenty({"error": lambda minute: float(minute in range(10, 14)), "ok": 1.0}, {"ok": 1.0}),
    ),
    Replay(
        "all processes of a service gone while the exporter lives",
        exporter(lambda minute: 4.0 if minute < 3 * HOUR else 0.0, 4 * HOUR),
        {("ConnPoolNoProcesses", "warning"): 1},
    ),
    Replay("a restart of all processes", exporter(restarted, 3 * HOUR)),
    Replay(
        "a job that runs each night, beside an exporter that stays",
        exporter(lambda minute: float(minute % DAY in range(120, 180)), DAY // 2),
    ),
    Replay(
        "a job that runs for ten minutes of each hour",
        exporter(lambda minute: float(minute % HOUR in range(20, 30)), 6 * HOUR),
    ),
]

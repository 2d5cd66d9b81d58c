"""Replays of how Prometheus scrapes: often, rarely, with a gap, twice, or through an agent."""

from __future__ import annotations

from typing import Any

from mixin.alerts.estate import HOUR, Estate, Replay, of, orders

BUSY = {"in_use": 3.0, "ok": 600.0}
FULL = {"in_use": 10.0, "waiting": 15.0, "ok": 300.0}
EXHAUSTED = {("ConnPoolExhausted", "critical"): 1, ("ConnPoolExhausted", "warning"): 1}


def every(step: int, **since: Any) -> Estate:
    """Return a pool that is scraped every so many seconds; its trouble begins after 20 minutes."""
    steps = 5 * HOUR * 60 // step if step >= 60 else HOUR * 60 // step
    begins = 20 * 60 // step
    estate = Estate(steps, step=step)

    def each(name: str) -> Any:
        before = BUSY.get(name, 0.0)
        return lambda at: since.get(name, before) if at >= begins else before

    per_step = {"ok", "timeout", "error"}
    measures = {name: each(name) for name in {*BUSY, *since}}
    for name in per_step & set(measures):
        whole = measures[name]
        measures[name] = lambda at, whole=whole: whole(at) * step / 60
    estate.pool(orders(), **measures)
    estate.add("up", 1.0, of())
    return estate


def gap(minutes: int, **measures: Any) -> Estate:
    """Return a pool of an exporter, of which nothing is scraped for some minutes."""
    estate = Estate(3 * HOUR, frozenset(range(HOUR, HOUR + minutes)))
    target = of(instance="exporter:10464")
    estate.add('exporter_build_info{version="1"}', 1.0, target)
    estate.add('exporter_processes{state="live"}', 4.0, target)
    estate.pool(orders(instance="exporter:10464"), **{**BUSY, **measures})
    estate.add("up", lambda minute: 1.0, target)
    # A Prometheus that is down does not know that a scrape has failed.
    up = next(name for name in estate.series if name.startswith("up{"))
    for minute in range(HOUR, HOUR + minutes):
        estate.series[up][minute] = None
    return estate


def agents(**measures: Any) -> Estate:
    """Return the pools of agents that send their external labels with each series."""
    estate = Estate(2 * HOUR)
    for region in ("eu-1", "eu-2"):
        estate.pool(orders(prometheus=f"agent-{region}", cluster=region), **measures)
        estate.add("up", 1.0, of(prometheus=f"agent-{region}", cluster=region))
    return estate


def replicas() -> Estate:
    """Return a pool that two replicas have scraped, and one callers wait for a little."""
    estate = Estate(2 * HOUR)
    for replica in ("a", "b"):
        estate.pool(orders(replica=replica), in_use=5.0, waiting=0.04, saturated=0.02, ok=600.0)
        target = of(instance="exporter:10464", replica=replica)
        estate.add("up", 1.0, target)
        estate.add('exporter_build_info{version="1"}', 1.0, target)
        estate.add('exporter_processes{state="live"}', 4.0, target)
    return estate


REPLAYS = [
    *(
        replay
        for step in (5, 15, 60, 120)
        for replay in (
            Replay(f"a healthy pool that is scraped every {step} s", every(step)),
            Replay(f"a full pool that is scraped every {step} s", every(step, **FULL), EXHAUSTED),
        )
    ),
    Replay("a healthy pool while Prometheus is down for ten minutes", gap(10)),
    Replay(
        "a healthy pool of which an agent sends nothing for half an hour",
        gap(30),
        {("ConnPoolMetricsAbsent", "warning"): 1},
    ),
    Replay("pools of two agents with external labels", agents(**BUSY)),
    Replay(
        "full pools of two agents with external labels",
        agents(**FULL),
        {("ConnPoolExhausted", "critical"): 2, ("ConnPoolExhausted", "warning"): 2},
    ),
    Replay("a pool that a ruler sees twice, for which hardly anybody waits", replicas()),
]

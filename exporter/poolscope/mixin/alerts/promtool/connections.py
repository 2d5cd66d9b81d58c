"""Scenarios of connections that do not come back, or are opened too often."""

from __future__ import annotations

import math
from typing import Any

from poolscope.mixin.alerts.promtool.scenario import (
    BEYOND,
    STEPS,
    Line,
    Scenario,
    World,
    beyond,
    exactly,
    less_than,
)

WARNING, INFO = "warning", "info"


def scenarios(w: World) -> list[Scenario]:
    overdue, abandoned = {"reason": "overdue"}, {"reason": "abandoned"}
    t = w.t
    return [
        _overdue(w),
        _counted(w, "ConnPoolConnectionsOverdue", INFO, t.overdue_often, "leaks_total", **overdue),
        _counted(
            w, "ConnPoolConnectionsAbandoned", WARNING, t.leaked[0], "leaks_total", **abandoned
        ),
        _counted(w, "ConnPoolNestedAcquires", WARNING, t.nested, "nested_acquires_total"),
        _lost(w),
        _finding(w),
        _share(w, "ConnPoolOpenFailures", t.open_failures[0], "opened_total", "outcome", "ok"),
        _share(w, "ConnPoolDnsFailures", t.dns_failures, "dns_lookups_total", "result", "miss"),
        _stale(w),
        _low_reuse(w, WARNING, 1),
        _low_reuse(w, INFO, 0),
        _churn(w),
        _per_request(w),
    ]


def _overdue(w: World) -> Scenario:
    least = w.t.leaked[0]
    return Scenario(
        alert="ConnPoolConnectionsOverdue",
        severity=WARNING,
        lines={
            "overdue": w.line("leaked", least, reason="overdue"),
            "abandoned": w.line("leaked", 0.0, reason="abandoned"),
        },
        value=least,
        labels=w.pool,
        silent={"with fewer": {"overdue": least * 0.95, "abandoned": least}},
        needless=("abandoned",),
    )


def _counted(
    w: World, alert: str, severity: str, least: float, family: str, **labels: str
) -> Scenario:
    """Something happens so many times at once, and is forgotten after a while."""
    fewer: dict[str, float | Line | None] = {"counted": least * 0.95}
    if "reason" in labels:
        fewer["other"] = w.jumps(family, least, reason="another")
    return Scenario(
        alert=alert,
        severity=severity,
        lines={"counted": w.jumps(family, least, **labels)},
        value=least,
        labels=w.pool,
        silent={"with fewer": fewer},
        before=1,
        ends=w.steps(w.t.counted) + 1,
    )


def _lost(w: World) -> Scenario:
    """Of what is held, some is held no more, without having been returned."""
    left = 2.0
    return Scenario(
        alert="ConnPoolProcessGoneHolding",
        severity=WARNING,
        lines={
            "acquired": w.line("acquires_total", 100.0, 100.0, outcome="ok"),
            "timed out": w.line("acquires_total", 50.0, 50.0, outcome="timeout"),
            "returned": w.line("hold_seconds", 98.0 - w.t.lost, 98.0 - w.t.lost, part="_count"),
            "held": w.line("connections", left, left + w.t.lost, state="in_use"),
            "idle": w.line("connections", 5.0, 5.0, state="idle"),
        },
        value=w.t.lost,
        labels=w.pool,
        silent={"of fewer": {"held": left + w.t.lost * 0.05}},
        before=STEPS * 2,
        needless=("timed out", "idle"),
    )


def _finding(w: World) -> Scenario:
    rule = {"rule": "nested-acquire", "severity": "critical"}
    minor = w.line("finding", 1.0, 1.0, rule="too-large", severity="info")
    return Scenario(
        alert="ConnPoolCriticalFinding",
        severity=WARNING,
        lines={"finding": w.line("finding", 1.0, None, **rule)},
        value=1.0,
        labels={**w.pool, "rule": "nested-acquire"},
        silent={
            "of no pool": {"finding": 0.0},
            "less serious": {"finding": None, "minor": minor},
        },
    )


def _share(w: World, alert: str, threshold: float, family: str, label: str, well: str) -> Scenario:
    """Too large a share of something ends with an error."""
    share, few = beyond(threshold, 1), w.t.events * 0.95 / STEPS
    at, rest = w.parts(threshold)
    of_aiohttp: dict[str, Any] = {"kind": "aiohttp"} if label == "result" else {}
    labels = {**w.pool, **of_aiohttp}
    hits: dict[str, Line] = {}
    if label == "result":
        # They ask nobody, and so cannot fail.
        hits["hits"] = w.grows(family, 1000.0, 1000.0, **{**of_aiohttp, label: "hit"})
    return Scenario(
        alert=alert,
        severity=WARNING,
        lines={
            "failed": w.grows(family, w.events, **{**of_aiohttp, label: "error"}),
            "well": w.grows(
                family, w.events / share - w.events, 1.0, **{**of_aiohttp, label: well}
            ),
            **hits,
        },
        value=share,
        labels=labels,
        silent={
            "as often as it may be": {"failed": at, "well": rest},
            "too seldom to count": {"failed": few, "well": few / share - few},
        },
        begins=w.enough,
        needless=("well", "hits"),
    )


def _stale(w: World) -> Scenario:
    """Those that are closed at once, and those that are closed later, add up."""
    threshold = w.t.stale
    share, few, family = beyond(threshold, 1), w.t.events * 0.95 / STEPS, "invalidated_total"
    at, rest = w.parts(threshold)
    return Scenario(
        alert="ConnPoolStaleConnections",
        severity=WARNING,
        lines={
            "hard": w.grows(family, w.events / 2, mode="hard"),
            "soft": w.grows(family, w.events / 2, mode="soft"),
            "attempts": w.grows("acquires_total", w.events / share, 1.0, outcome="ok"),
        },
        value=share,
        labels=w.pool,
        silent={
            "as often as it may be": {"hard": at / 2, "soft": at / 2, "attempts": at + rest},
            "too seldom to count": {"hard": few / 2, "soft": few / 2, "attempts": few / share},
        },
        begins=w.enough,
    )


def _low_reuse(w: World, severity: str, level: int) -> Scenario:
    share = less_than(w.t.reuse[level], 0.0 if level else w.t.reuse[1])
    served = beyond(w.t.traffic) * w.step
    at, rest = w.parts(w.t.reuse[level], less=True)
    seldom = w.grows_at(w.t.traffic)
    return Scenario(
        alert="ConnPoolLowReuse",
        severity=severity,
        lines={
            "reused": w.grows("reused_total", share * served, served),
            "served": w.grows("acquires_total", served, served, outcome="ok"),
            "gave up": w.grows("acquires_total", served, 0.0, outcome="timeout"),
            "kept": w.line("idle_limit", 1.0, 1.0),
        },
        value=share,
        labels=w.pool,
        silent={
            "as little as it may be": {"reused": at, "served": at + rest},
            "too seldom to count": {"reused": share * seldom, "served": seldom},
            "of a pool that keeps none": {"kept": 0.0},
        },
        begins=STEPS,
        needless=("gave up",),
    )


def _churn(w: World) -> Scenario:
    often = beyond(w.t.traffic) * w.step
    # Whole numbers stay exact when they are added up.
    whole = float(math.ceil(often))
    seldom = w.grows_at(w.t.traffic)
    life = less_than(w.t.churn_seconds)

    def open_for(life: float, closed: float) -> float:
        """Return how many connections are open of each state, if they stay so long."""
        return life * w.rate(closed) / 2

    at = exactly(
        open_for(w.t.churn_seconds, whole),
        lambda each: 2 * each / w.rate(whole),
        w.t.churn_seconds,
        less=True,
    )
    each = open_for(life, often)
    few = open_for(life, seldom)
    return Scenario(
        alert="ConnPoolChurn",
        severity=INFO,
        lines={
            "in use": w.line("connections", each, each, state="in_use"),
            "idle": w.line("connections", each, each, state="idle"),
            "opening": w.line("connections", 1000 * each, 0.0, state="opening"),
            "closed": w.grows("closed_total", often),
            "kept": w.line("idle_limit", 1.0, 1.0),
        },
        value=life,
        labels=w.pool,
        silent={
            "as long as they should": {"in use": at, "idle": at, "closed": whole},
            "too seldom to count": {"in use": few, "idle": few, "closed": seldom},
            "of a pool that keeps none": {"kept": 0.0},
        },
        begins=STEPS,
        needless=("opening", "in use", "idle"),
    )


def _per_request(w: World) -> Scenario:
    made, few = w.t.pools_made, w.t.few_acquires
    each = less_than(few)
    fewer = made * 0.95
    return Scenario(
        alert="ConnPoolPerRequest",
        severity=WARNING,
        lines={
            "made": w.jumps("instances_created_total", made),
            "served": w.jumps("acquires_total", made * each, outcome="ok"),
            "gave up": w.jumps("acquires_total", made * few * BEYOND, outcome="timeout"),
        },
        value=each,
        labels=w.pool,
        silent={
            "with enough callers for each": {"served": made * few},
            "too seldom to count": {"made": fewer, "served": fewer * each},
        },
        before=1,
        ends=w.steps(w.t.counted) + 1,
        needless=("gave up",),
    )

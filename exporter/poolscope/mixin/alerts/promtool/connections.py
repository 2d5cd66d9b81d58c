"""Scenarios of connections that are not returned, fail to open, or are opened too frequent."""

from __future__ import annotations

import math
from typing import Any

from poolscope.mixin.alerts.promtool.scenario import (
    MARGIN,
    ROUNDING_MARGIN,
    STEPS_PER_WINDOW,
    Scenario,
    ScenarioFactory,
    Series,
    beyond,
    exactly,
    less_than,
)

WARNING, INFO = "warning", "info"


def scenarios(world: ScenarioFactory) -> list[Scenario]:
    overdue, abandoned = {"reason": "overdue"}, {"reason": "abandoned"}
    thresholds = world.thresholds
    return [
        _overdue(world),
        _counted(
            world,
            "ConnPoolConnectionsOverdue",
            INFO,
            thresholds.overdue_often,
            "leaks_total",
            **overdue,
        ),
        _counted(
            world,
            "ConnPoolConnectionsAbandoned",
            WARNING,
            thresholds.leaked[0],
            "leaks_total",
            **abandoned,
        ),
        _counted(
            world, "ConnPoolNestedAcquires", WARNING, thresholds.nested, "nested_acquires_total"
        ),
        _lost(world),
        _finding(world),
        _share(
            world,
            "ConnPoolOpenFailures",
            thresholds.open_failures[0],
            "opened_total",
            "outcome",
            "ok",
        ),
        _share(
            world,
            "ConnPoolDnsFailures",
            thresholds.dns_failures,
            "dns_lookups_total",
            "result",
            "miss",
        ),
        _stale(world),
        _low_reuse(world, WARNING, 1),
        _low_reuse(world, INFO, 0),
        _churn(world),
        _per_request(world),
    ]


def _overdue(world: ScenarioFactory) -> Scenario:
    least = world.thresholds.leaked[0]
    return Scenario(
        alert="ConnPoolConnectionsOverdue",
        severity=WARNING,
        series={
            "overdue": world.series("leaked", least, reason="overdue"),
            "abandoned": world.series("leaked", 0.0, reason="abandoned"),
        },
        value=least,
        labels=world.pool,
        silent={"fewer than the threshold": {"overdue": least * 0.95, "abandoned": least}},
        optional=("abandoned",),
    )


def _counted(
    world: ScenarioFactory, alert: str, severity: str, least: float, family: str, **labels: str
) -> Scenario:
    """A rare event happens `least` times at once, and leaves the window after a while."""
    fewer: dict[str, float | Series | None] = {"counted": least * 0.95}
    if "reason" in labels:
        fewer["other"] = world.jumps(family, least, reason="another")
    return Scenario(
        alert=alert,
        severity=severity,
        series={"counted": world.jumps(family, least, **labels)},
        value=least,
        labels=world.pool,
        silent={"fewer than the threshold": fewer},
        steps_before=1,
        resolves_after=world.steps(world.thresholds.rare_event_window) + 1,
    )


def _lost(world: ScenarioFactory) -> Scenario:
    """Some of the connections in use vanish without being returned."""
    still_held = 2.0
    return Scenario(
        alert="ConnPoolProcessGoneHolding",
        severity=WARNING,
        series={
            "acquired": world.series("acquires_total", 100.0, 100.0, outcome="ok"),
            "timed out": world.series("acquires_total", 50.0, 50.0, outcome="timeout"),
            "returned": world.series(
                "hold_seconds",
                98.0 - world.thresholds.connections_lost,
                98.0 - world.thresholds.connections_lost,
                part="_count",
            ),
            "held": world.series(
                "connections",
                still_held,
                still_held + world.thresholds.connections_lost,
                state="in_use",
            ),
            "idle": world.series("connections", 5.0, 5.0, state="idle"),
        },
        value=world.thresholds.connections_lost,
        labels=world.pool,
        silent={
            "fewer than the threshold": {
                "held": still_held + world.thresholds.connections_lost * 0.05
            }
        },
        steps_before=STEPS_PER_WINDOW * 2,
        optional=("timed out", "idle"),
    )


def _finding(world: ScenarioFactory) -> Scenario:
    rule = {"rule": "nested-acquire", "severity": "critical"}
    minor = world.series("finding", 1.0, 1.0, rule="too-large", severity="info")
    return Scenario(
        alert="ConnPoolCriticalFinding",
        severity=WARNING,
        series={"finding": world.series("finding", 1.0, None, **rule)},
        value=1.0,
        labels={**world.pool, "rule": "nested-acquire"},
        silent={
            "no pool has it": {"finding": 0.0},
            "the finding is less serious": {"finding": None, "minor": minor},
        },
    )


def _share(
    world: ScenarioFactory, alert: str, threshold: float, family: str, label: str, success: str
) -> Scenario:
    """Too large a share of the events ends with an error."""
    share, few = beyond(threshold, 1), world.thresholds.events * 0.95 / STEPS_PER_WINDOW
    at_threshold, rest = world.parts_with_share(threshold)
    of_aiohttp: dict[str, Any] = {"kind": "aiohttp"} if label == "result" else {}
    labels = {**world.pool, **of_aiohttp}
    hits: dict[str, Series] = {}
    if label == "result":
        # The cache answers them, so they cannot fail.
        hits["hits"] = world.grows(family, 1000.0, 1000.0, **{**of_aiohttp, label: "hit"})
    return Scenario(
        alert=alert,
        severity=WARNING,
        series={
            "failed": world.grows(family, world.events_per_step, **{**of_aiohttp, label: "error"}),
            "succeeded": world.grows(
                family,
                world.events_per_step / share - world.events_per_step,
                1.0,
                **{**of_aiohttp, label: success},
            ),
            **hits,
        },
        value=share,
        labels=labels,
        silent={
            "exactly at the threshold": {"failed": at_threshold, "succeeded": rest},
            "too few events": {"failed": few, "succeeded": few / share - few},
        },
        true_at=world.enough_events_at,
        optional=("succeeded", "hits"),
    )


def _stale(world: ScenarioFactory) -> Scenario:
    """Connections that are invalidated hard and soft are summed."""
    threshold = world.thresholds.invalidation_ratio
    share, few, family = (
        beyond(threshold, 1),
        world.thresholds.events * 0.95 / STEPS_PER_WINDOW,
        "invalidated_total",
    )
    at_threshold, rest = world.parts_with_share(threshold)
    return Scenario(
        alert="ConnPoolStaleConnections",
        severity=WARNING,
        series={
            "hard": world.grows(family, world.events_per_step / 2, mode="hard"),
            "soft": world.grows(family, world.events_per_step / 2, mode="soft"),
            "attempts": world.grows(
                "acquires_total", world.events_per_step / share, 1.0, outcome="ok"
            ),
        },
        value=share,
        labels=world.pool,
        silent={
            "exactly at the threshold": {
                "hard": at_threshold / 2,
                "soft": at_threshold / 2,
                "attempts": at_threshold + rest,
            },
            "too few events": {"hard": few / 2, "soft": few / 2, "attempts": few / share},
        },
        true_at=world.enough_events_at,
    )


def _low_reuse(world: ScenarioFactory, severity: str, level: int) -> Scenario:
    share = less_than(world.thresholds.reuse[level], 0.0 if level else world.thresholds.reuse[1])
    served = beyond(world.thresholds.traffic) * world.step
    at_threshold, rest = world.parts_with_share(world.thresholds.reuse[level], less=True)
    # Versions of Prometheus round rates differently.
    at_threshold *= 1 + ROUNDING_MARGIN
    rare = world.growth_for_rate(world.thresholds.traffic)
    return Scenario(
        alert="ConnPoolLowReuse",
        severity=severity,
        series={
            "reused": world.grows("reused_total", share * served, served),
            "served": world.grows("acquires_total", served, served, outcome="ok"),
            "timed out": world.grows("acquires_total", served, 0.0, outcome="timeout"),
            "kept": world.series("idle_limit", 1.0, 1.0),
        },
        value=share,
        labels=world.pool,
        silent={
            "exactly at the threshold": {"reused": at_threshold, "served": at_threshold + rest},
            "too few events": {"reused": share * rare, "served": rare},
            "the pool keeps no idle connections": {"kept": 0.0},
        },
        true_at=STEPS_PER_WINDOW,
        optional=("timed out",),
    )


def _churn(world: ScenarioFactory) -> Scenario:
    frequent = beyond(world.thresholds.traffic) * world.step
    # Whole numbers stay exact when they are summed.
    whole = float(math.ceil(frequent))
    rare = world.growth_for_rate(world.thresholds.traffic)
    lifetime = less_than(world.thresholds.churn_seconds)

    def open_for(lifetime: float, closed: float) -> float:
        """Return how many connections of each of two states are open with that lifetime."""
        return lifetime * world.rate(closed) / 2

    at_threshold = exactly(
        open_for(world.thresholds.churn_seconds, whole),
        lambda each: 2 * each / world.rate(whole),
        world.thresholds.churn_seconds,
        less=True,
    )
    each = open_for(lifetime, frequent)
    few = open_for(lifetime, rare)
    return Scenario(
        alert="ConnPoolChurn",
        severity=INFO,
        series={
            "in use": world.series("connections", each, each, state="in_use"),
            "idle": world.series("connections", each, each, state="idle"),
            "opening": world.series("connections", 1000 * each, 0.0, state="opening"),
            "closed": world.grows("closed_total", frequent),
            "kept": world.series("idle_limit", 1.0, 1.0),
        },
        value=lifetime,
        labels=world.pool,
        silent={
            "exactly at the threshold": {
                "in use": at_threshold,
                "idle": at_threshold,
                "closed": whole,
            },
            "too few events": {"in use": few, "idle": few, "closed": rare},
            "the pool keeps no idle connections": {"kept": 0.0},
        },
        true_at=STEPS_PER_WINDOW,
        optional=("opening", "in use", "idle"),
    )


def _per_request(world: ScenarioFactory) -> Scenario:
    made, few = world.thresholds.pools_made, world.thresholds.few_acquires
    each = less_than(few)
    fewer = made * 0.95
    return Scenario(
        alert="ConnPoolPerRequest",
        severity=WARNING,
        series={
            "made": world.jumps("instances_created_total", made),
            "served": world.jumps("acquires_total", made * each, outcome="ok"),
            "timed out": world.jumps("acquires_total", made * few * MARGIN, outcome="timeout"),
        },
        value=each,
        labels=world.pool,
        silent={
            "each pool has enough callers": {"served": made * few},
            "too few events": {"made": fewer, "served": fewer * each},
        },
        steps_before=1,
        resolves_after=world.steps(world.thresholds.rare_event_window) + 1,
        optional=("timed out",),
    )

"""Scenarios of database servers, and of the instrumentation itself."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

from poolscope.metrics.family import POOL_LABELS
from poolscope.mixin.alerts.exporter import COVERAGE, EXPORTER_DOWN, NONE_LEFT, SOME_LEFT, WATCHDOG
from poolscope.mixin.alerts.promtool.scenario import (
    Scenario,
    ScenarioFactory,
    Series,
    beyond,
    exactly,
)

SERVER: Final = {"server": "db:5432"}
ACCEPTED: Final = 100.0
RESERVED: Final = 3.0
WARNING: Final = "warning"
CONNECTION: Final[dict[str, Any]] = {
    "database": "shop",
    "user": "shop",
    "application": "shop:orders",
    "state": "idle",
}
"""The labels of a connection that a server sees."""


def scenarios(world: ScenarioFactory) -> list[Scenario]:
    return [
        *_overcommitted(world),
        _nearly_full(world),
        _pgbouncer_nearly_full(world),
        _idle_in_transaction(world),
        _unreachable(world, "server_up"),
        _unreachable(world, "pgbouncer_up"),
        *_down(world),
        _absent(world),
        _no_processes(world),
        _bad_segments(world),
        *(_labels_renamed(world, label) for label in POOL_LABELS),
        _internal_errors(world),
        Scenario(WATCHDOG, "info", {}, 1.0, {}, resolves_after=0),
    ]


def _server(
    world: ScenarioFactory, family: str, bad: float, good: float = 0.0, **labels: Any
) -> Series:
    return world.series(family, bad, good, of=SERVER, **labels)


def _limits(world: ScenarioFactory) -> dict[str, Series]:
    return {
        "limit": _server(world, "server_limit", ACCEPTED + RESERVED, ACCEPTED + RESERVED),
        "reserved": _server(world, "server_reserved", RESERVED, RESERVED),
    }


def _seen(
    world: ScenarioFactory, application: str, count: float, good: float = 0.0, **labels: Any
) -> Series:
    """Return the number of connections of an application that a server sees."""
    more = {**CONNECTION, "application": application, **labels}
    return _server(world, "server_connections", count, good, **more)


def _overcommitted(world: ScenarioFactory) -> list[Scenario]:
    service = world.promql.options.service
    without = [_promised(world, {service: ""}, "without services")] if service else []
    return [_promised(world, {}, ""), *without]


def _promised(world: ScenarioFactory, own: dict[str, str], title: str) -> Scenario:
    """
    The limits of two pools exceed what the server accepts.

    Pools of HTTP, pools without a limit, and pools of other servers, services and clusters do not
    count.

    own: labels of all these pools.
    """
    orders, billing = ACCEPTED / 2, ACCEPTED / 2 + 1

    def limit(bad: float, good: float, pool: str, kind: str = "sqlalchemy", **more: Any) -> Series:
        return world.series("limit", bad, good, of={"pool": pool, "kind": kind}, **{**own, **more})

    namesakes = {
        f"another {label}": limit(1000.0, 1000.0, "orders", **{label: "another"})
        for label in world.scope
    }
    return Scenario(
        alert="ConnPoolServerOvercommitted",
        severity=WARNING,
        title=title,
        series={
            **_limits(world),
            "orders are seen": _seen(world, "shop:orders", 5.0, 5.0),
            "billing is seen": _seen(world, "shop:billing", 7.0, 7.0),
            "unlimited is seen": _seen(world, "shop:unlimited", 7.0, 7.0),
            "others are seen": _seen(world, "psql", 7.0, 7.0),
            "orders": limit(orders, 10.0, "orders"),
            "billing": limit(billing, 10.0, "billing", "asyncpg"),
            "unlimited": limit(math.inf, math.inf, "unlimited"),
            "elsewhere": limit(1000.0, 1000.0, "elsewhere"),
            "http": limit(1000.0, 1000.0, "orders", "aiohttp"),
            **namesakes,
        },
        value=orders + billing,
        labels=world.server,
        silent={"exactly as many as it accepts": {"billing": ACCEPTED / 2}},
        optional=(
            *("unlimited is seen", "others are seen"),
            *("unlimited", "elsewhere", "http", *namesakes),
        ),
    )


def _nearly_full(world: ScenarioFactory) -> Scenario:
    """Two exporters report the same connections of a server, which count once."""
    threshold = world.thresholds.server_used[0]
    full = beyond(threshold, 1)
    idle, each = ACCEPTED / 4, ACCEPTED / 10
    others = {
        f"other {label}": _server(
            world, "server_connections", each, **{**CONNECTION, label: "other"}
        )
        for label in ("database", "user", "application")
    }
    rest = idle + len(others) * each

    def used(share: float) -> float:
        return share * ACCEPTED - rest

    at_threshold = exactly(used(threshold), lambda used: (used + rest) / ACCEPTED, threshold)
    other: dict[str, Any] = {"job": "other"}
    return Scenario(
        alert="ConnPoolServerNearlyFull",
        severity=WARNING,
        series={
            **_limits(world),
            "idle": _seen(world, "shop:orders", idle),
            "active": _seen(world, "shop:orders", used(full), state="active"),
            **others,
            "other's idle": _seen(world, "shop:orders", idle, **other),
        },
        value=full,
        labels=world.server,
        silent={"exactly at the threshold": {"active": at_threshold}},
        optional=("other's idle", "idle"),
    )


def _pgbouncer_nearly_full(world: ScenarioFactory) -> Scenario:
    threshold = world.thresholds.server_used[0]
    full = beyond(threshold, 1)
    at_threshold = exactly(threshold * ACCEPTED, lambda used: used / ACCEPTED, threshold)
    return Scenario(
        alert="ConnPoolPgbouncerNearlyFull",
        severity=WARNING,
        series={
            "used": _server(world, "pgbouncer_used_clients", full * ACCEPTED),
            "limit": _server(world, "pgbouncer_client_limit", ACCEPTED, ACCEPTED),
        },
        value=full,
        labels=world.server,
        silent={"exactly at the threshold": {"used": at_threshold}},
    )


def _idle_in_transaction(world: ScenarioFactory) -> Scenario:
    threshold, family = (
        world.thresholds.idle_in_transaction_seconds[0],
        "server_oldest_idle_in_transaction_seconds",
    )
    application: dict[str, Any] = {"application": "shop:orders"}
    return Scenario(
        alert="ConnPoolIdleInTransaction",
        severity=WARNING,
        series={"oldest": _server(world, family, beyond(threshold), **application)},
        value=beyond(threshold),
        labels={**world.server, **application},
        silent={"exactly at the threshold": {"oldest": threshold}},
    )


def _unreachable(world: ScenarioFactory, family: str) -> Scenario:
    return Scenario(
        alert="ConnPoolServerUnreachable",
        severity=WARNING,
        title=family,
        series={"up": _server(world, family, 0.0, 1.0)},
        value=0.0,
        labels=world.server,
        silent={
            "another exporter gets answers": {
                "other": _server(world, family, 1.0, 1.0, job="other")
            }
        },
    )


def _exporter(world: ScenarioFactory, up: float, **labels: Any) -> dict[str, Series]:
    """Return the series of an exporter that was scraped before, and is `up` or not now."""
    build = 1.0 if up else None
    name = " ".join(labels.values()) or "this"
    return {
        f"{name} up": world.series("up", up, 1.0, of={}, **labels),
        f"{name} build": world.series(
            "exporter_build_info", build, 1.0, of={}, version="1", **labels
        ),
    }


def _elsewhere(world: ScenarioFactory) -> list[dict[str, Any]]:
    """Return labels of other services: of another name, or of that name in another cluster."""
    return [{label: f"another-{label}"} for label in world.scope]


def _down(world: ScenarioFactory) -> list[Scenario]:
    this, other = _exporter(world, 0.0), _exporter(world, 1.0, job="other")
    unknown = {"unknown": world.series("up", 1.0, 1.0, of={}, job="other")}
    distant: dict[str, Series] = {}
    for labels in _elsewhere(world):
        distant |= _exporter(world, 1.0, **labels)
    common: dict[str, Any] = {
        "alert": EXPORTER_DOWN,
        "severity": WARNING,
        "value": 0.0,
        "labels": world.target,
        "steps_before": 10,
    }
    no_exporter = world.series("exporter_build_info", None, None, of={}, version="1")
    return [
        Scenario(
            **common,
            extra_labels={COVERAGE: NONE_LEFT},
            title="the only one",
            series={**this, **unknown, **distant},
            silent={
                "the exporter answers": {"this up": 1.0},
                "the target is not an exporter": {"this build": no_exporter},
                "another exporter answers": other,
            },
            optional=("unknown", *distant),
        ),
        Scenario(
            **common,
            extra_labels={COVERAGE: SOME_LEFT},
            title="one of two",
            series={**this, **other},
            silent={
                "the exporter answers": {"this up": 1.0},
                "the target is not an exporter": {"this build": no_exporter},
                "the other exporter is down as well": {
                    **_exporter(world, 0.0, job="other"),
                    **distant,
                },
            },
        ),
    ]


def _absent(world: ScenarioFactory) -> Scenario:
    made = "instances_created_total"
    distant = {
        " ".join(labels.values()): world.series(made, 1.0, 1.0, **labels)
        for labels in _elsewhere(world)
    }
    there_for, usual = _usual(world, "5", "stale", "_")
    pools = world.series(made, None, 5.0)
    return Scenario(
        alert="ConnPoolMetricsAbsent",
        severity=WARNING,
        series={"pools": pools, **distant},
        value=1.0,
        labels=world.scope,
        silent={
            "one pool is left": {
                "other": world.series(made, 1.0, 1.0, of={"pool": "a", "kind": "b"})
            },
            "it has metrics for the usual share of a day": {"pools": replace(pools, text=usual)},
        },
        steps_before=there_for,
        optional=tuple(distant),
    )


def _usual(world: ScenarioFactory, there: str, ends: str, gone: str) -> tuple[int, str]:
    """
    Return for how many steps a service must have been there, so that it is missed afterwards, and
    the values of one that was there for exactly the usual share of its time.
    """
    share, lasts = world.thresholds.alive, world.steps(world.thresholds.absent_after)
    alive_for = math.floor(share / (1 - share) * (lasts + 1)) + 1
    usual = Fraction(share).limit_denominator(100)
    times = math.ceil((lasts + 1) / (usual.denominator - usual.numerator))
    missing = alive_for + lasts + 1 - times * usual.denominator
    before = f"_x{missing} " if missing else ""
    return alive_for, f"{before}{there}+0x{times * usual.numerator - 1} {ends} {gone}x1000"


def _no_processes(world: ScenarioFactory) -> Scenario:
    """The service had processes for a little more than the usual share of its time."""
    alive_for, usual = _usual(world, "1", "0", "0+0")
    exactly_usual = Series(world.promql.alive, world.scope, 0.0, text=usual)
    return Scenario(
        alert="ConnPoolNoProcesses",
        severity=WARNING,
        series={"alive": Series(world.promql.alive, world.scope, 0.0, 1.0)},
        value=0.0,
        labels=world.scope,
        silent={"it has a process for the usual share of a day": {"alive": exactly_usual}},
        steps_before=alive_for,
    )


def _bad_segments(world: ScenarioFactory) -> Scenario:
    return Scenario(
        alert="ConnPoolBadSegments",
        severity=WARNING,
        series={"bad": world.series("exporter_bad_segments", 1.0, of={})},
        value=1.0,
        labels=world.target,
        silent={"all files are readable": {"bad": 0.0}},
    )


def _labels_renamed(world: ScenarioFactory, label: str) -> Scenario:
    """A label of the target has replaced that of two pools."""

    def pool(name: str, **labels: Any) -> Series:
        of = {"pool": name, "kind": "asyncpg", **labels}
        return world.series("instances_created_total", 1.0, None, of=of)

    renamed, own = {label: "blue"}, f"exported_{label}"
    return Scenario(
        alert="ConnPoolLabelsRenamed",
        severity=WARNING,
        title=label,
        series={
            "orders": pool("orders", **renamed, **{own: "one"}),
            "billing": pool("billing", **renamed, **{own: "other"}),
        },
        value=2.0,
        labels=world.target,
        silent={"labels are as they were": {"orders": pool("a"), "billing": pool("b")}},
        optional=("orders", "billing"),
    )


def _internal_errors(world: ScenarioFactory) -> Scenario:
    return Scenario(
        alert="ConnPoolInternalErrors",
        severity=WARNING,
        series={"errors": world.jumps("internal_errors_total", 1.0, of={})},
        value=1.0,
        labels=world.target,
        silent={"there are no errors": {"errors": 0.0}},
        steps_before=1,
        resolves_after=world.steps(world.thresholds.rare_event_window) + 1,
    )

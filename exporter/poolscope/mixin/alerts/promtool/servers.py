"""Scenarios of servers, and of the instrumentation itself."""

from __future__ import annotations

import math
from typing import Any, Final

from poolscope.mixin.alerts.exporter import COVERAGE, DOWN, NONE_LEFT, SOME_LEFT, WATCHDOG
from poolscope.mixin.alerts.promtool.scenario import Line, Scenario, World, beyond, exactly

SERVER = {"server": "db:5432"}
ACCEPTS = 100.0
RESERVED = 3.0
WARNING = "warning"
SEEN: Final[dict[str, Any]] = {
    "database": "shop",
    "user": "shop",
    "application": "shop:orders",
    "state": "idle",
}
"""Of a connection, as a server sees it."""


def scenarios(w: World) -> list[Scenario]:
    return [
        _overcommitted(w),
        _nearly_full(w),
        _bouncer_full(w),
        _idle(w),
        _unreachable(w, "server_up"),
        _unreachable(w, "pgbouncer_up"),
        *_down(w),
        _absent(w),
        _bad(w),
        _errors(w),
        Scenario(WATCHDOG, "info", {}, 1.0, {}, ends=0),
    ]


def _server(w: World, family: str, bad: float, good: float = 0.0, **labels: Any) -> Line:
    return w.line(family, bad, good, of=SERVER, **labels)


def _limits(w: World) -> dict[str, Line]:
    return {
        "limit": _server(w, "server_limit", ACCEPTS + RESERVED, ACCEPTS + RESERVED),
        "reserved": _server(w, "server_reserved", RESERVED, RESERVED),
    }


def _seen(w: World, application: str, count: float, good: float = 0.0, **labels: Any) -> Line:
    """Return how many connections of an application a server sees."""
    more = {**SEEN, "application": application, **labels}
    return _server(w, "server_connections", count, good, **more)


def _overcommitted(w: World) -> Scenario:
    """Two pools ask for more; one of HTTP, one without a limit, and one elsewhere do not count."""
    other = {"pool": "billing", "kind": "asyncpg"}
    orders, billing = ACCEPTS / 2, ACCEPTS / 2 + 1
    unlimited = {"pool": "unlimited", "kind": "sqlalchemy"}
    elsewhere = {"pool": "elsewhere", "kind": "sqlalchemy"}
    http = {"pool": "orders", "kind": "aiohttp"}
    abroad = dict.fromkeys(w.cluster, "us")
    namesake = {"abroad": w.line("limit", 1000.0, 1000.0, **abroad)} if abroad else {}
    return Scenario(
        alert="ConnPoolServerOvercommitted",
        severity=WARNING,
        lines={
            **_limits(w),
            "orders are seen": _seen(w, "shop:orders", 5.0, 5.0),
            "billing is seen": _seen(w, "shop:billing", 7.0, 7.0),
            "unlimited is seen": _seen(w, "shop:unlimited", 7.0, 7.0),
            "others are seen": _seen(w, "psql", 7.0, 7.0),
            "orders": w.line("limit", orders, 10.0),
            "billing": w.line("limit", billing, 10.0, of=other),
            "unlimited": w.line("limit", math.inf, math.inf, of=unlimited),
            "elsewhere": w.line("limit", 1000.0, 1000.0, of=elsewhere),
            "http": w.line("limit", 1000.0, 1000.0, of=http),
            **namesake,
        },
        value=orders + billing,
        labels=w.server,
        silent={"as many as it accepts": {"billing": ACCEPTS / 2}},
        needless=(
            *("unlimited is seen", "others are seen"),
            *("unlimited", "elsewhere", "http", "abroad"),
        ),
    )


def _nearly_full(w: World) -> Scenario:
    """Two exporters say the same of one server, which counts once."""
    threshold = w.t.server_used[0]
    full = beyond(threshold, 1)
    idle, each = ACCEPTS / 4, ACCEPTS / 10
    others = {
        f"other {label}": _server(w, "server_connections", each, **{**SEEN, label: "other"})
        for label in ("database", "user", "application")
    }
    rest = idle + len(others) * each

    def used(share: float) -> float:
        return share * ACCEPTS - rest

    at = exactly(used(threshold), lambda used: (used + rest) / ACCEPTS, threshold)
    other: dict[str, Any] = {"job": "other"}
    return Scenario(
        alert="ConnPoolServerNearlyFull",
        severity=WARNING,
        lines={
            **_limits(w),
            "idle": _seen(w, "shop:orders", idle),
            "active": _seen(w, "shop:orders", used(full), state="active"),
            **others,
            "other's idle": _seen(w, "shop:orders", idle, **other),
        },
        value=full,
        labels=w.server,
        silent={"as full as it may be": {"active": at}},
        needless=("other's idle", "idle"),
    )


def _bouncer_full(w: World) -> Scenario:
    threshold = w.t.server_used[0]
    full = beyond(threshold, 1)
    at = exactly(threshold * ACCEPTS, lambda used: used / ACCEPTS, threshold)
    return Scenario(
        alert="ConnPoolPgbouncerNearlyFull",
        severity=WARNING,
        lines={
            "used": _server(w, "pgbouncer_used_clients", full * ACCEPTS),
            "limit": _server(w, "pgbouncer_client_limit", ACCEPTS, ACCEPTS),
        },
        value=full,
        labels=w.server,
        silent={"as full as it may be": {"used": at}},
    )


def _idle(w: World) -> Scenario:
    threshold, family = (
        w.t.idle_in_transaction_seconds[0],
        "server_oldest_idle_in_transaction_seconds",
    )
    application: dict[str, Any] = {"application": "shop:orders"}
    return Scenario(
        alert="ConnPoolIdleInTransaction",
        severity=WARNING,
        lines={"oldest": _server(w, family, beyond(threshold), **application)},
        value=beyond(threshold),
        labels={**w.server, **application},
        silent={"as long as it may be": {"oldest": threshold}},
    )


def _unreachable(w: World, family: str) -> Scenario:
    return Scenario(
        alert="ConnPoolServerUnreachable",
        severity=WARNING,
        title=family,
        lines={"up": _server(w, family, 0.0, 1.0)},
        value=0.0,
        labels=w.server,
        silent={"seen by another": {"other": _server(w, family, 1.0, 1.0, job="other")}},
    )


def _exporter(w: World, up: float, **labels: Any) -> dict[str, Line]:
    """Return an exporter that was there, and now is `up` or not."""
    build = 1.0 if up else None
    name = " ".join(labels.values()) or "this"
    return {
        f"{name} up": w.line("up", up, 1.0, of={}, **labels),
        f"{name} build": w.line("exporter_build_info", build, 1.0, of={}, version="1", **labels),
    }


def _elsewhere(w: World) -> list[dict[str, Any]]:
    """Return labels of others: of another service, and of one of that name in another cluster."""
    return [{label: f"another-{label}"} for label in w.scope]


def _down(w: World) -> list[Scenario]:
    this, other = _exporter(w, 0.0), _exporter(w, 1.0, job="other")
    unknown = {"unknown": w.line("up", 1.0, 1.0, of={}, job="other")}
    far: dict[str, Line] = {}
    for labels in _elsewhere(w):
        far |= _exporter(w, 1.0, **labels)
    common: dict[str, Any] = {
        "alert": DOWN,
        "severity": WARNING,
        "value": 0.0,
        "labels": w.target,
        "before": 10,
    }
    no_exporter = w.line("exporter_build_info", None, None, of={}, version="1")
    return [
        Scenario(
            **common,
            own={COVERAGE: NONE_LEFT},
            title="the only one",
            lines={**this, **unknown, **far},
            silent={
                "up": {"this up": 1.0},
                "no exporter at all": {"this build": no_exporter},
                "with another": other,
            },
            needless=("unknown", *far),
        ),
        Scenario(
            **common,
            own={COVERAGE: SOME_LEFT},
            title="one of two",
            lines={**this, **other},
            silent={
                "up": {"this up": 1.0},
                "no exporter at all": {"this build": no_exporter},
                "with another that is down, too": {**_exporter(w, 0.0, job="other"), **far},
            },
        ),
    ]


def _absent(w: World) -> Scenario:
    made = "instances_created_total"
    far = {" ".join(labels.values()): w.line(made, 1.0, 1.0, **labels) for labels in _elsewhere(w)}
    return Scenario(
        alert="ConnPoolMetricsAbsent",
        severity=WARNING,
        lines={"pools": w.line(made, None, 5.0), **far},
        value=1.0,
        labels=w.scope,
        silent={
            "while one pool is left": {
                "other": w.line(made, 1.0, 1.0, of={"pool": "a", "kind": "b"})
            }
        },
        before=10,
        needless=tuple(far),
    )


def _bad(w: World) -> Scenario:
    return Scenario(
        alert="ConnPoolBadSegments",
        severity=WARNING,
        lines={"bad": w.line("exporter_bad_segments", 1.0, of={})},
        value=1.0,
        labels=w.target,
        silent={"of none": {"bad": 0.0}},
    )


def _errors(w: World) -> Scenario:
    return Scenario(
        alert="ConnPoolInternalErrors",
        severity=WARNING,
        lines={"errors": w.jumps("internal_errors_total", 1.0, of={})},
        value=1.0,
        labels=w.target,
        silent={"of none": {"errors": 0.0}},
        before=1,
        ends=w.steps(w.t.counted) + 1,
    )

"""The fleet as JSON: pools with their processes, holders and findings."""

from __future__ import annotations

import math
from typing import Any

from poolscope.fleet import ProcessView, View
from poolscope.holders import Hold
from poolscope.reading import Reading
from poolscope.report import Report

GAUGES = (
    "in_use", "idle", "opening", "waiting", "limit", "idle_limit", "idle_floor", "overdue",
    "abandoned", "in_use_peak", "waiting_peak", "oldest_hold_seconds", "oldest_wait_seconds",
    "instances",
)  # fmt: skip
COUNTERS = (
    "acquired", "timed_out", "cancelled", "failed", "waited", "reused", "opened", "open_failed",
    "closed", "nested", "leaks_overdue", "leaks_abandoned", "leaks_recovered", "in_use_seconds",
    "waiting_seconds", "saturated_seconds",
)  # fmt: skip


def document(view: View) -> dict[str, Any]:
    """Return all that is known; numbers without a limit are null, as JSON has no infinity."""
    return {
        "version": view.version,
        "processes": {"live": len(view.processes), "gone": view.gone},
        "bad_segments": view.bad,
        "pools": [_pool(report, view) for report in view.reports],
    }


def _pool(report: Report, view: View) -> dict[str, Any]:
    key = report.pool, report.kind
    holds = [hold for hold in view.holds if (hold.pool, hold.kind) == key]
    return {
        "pool": report.pool,
        "kind": report.kind,
        "live": report.reading.live,
        "utilization_max": view.fullest.get(key, 0.0),
        "instances_created": report.created,
        **_numbers(report.reading, GAUGES + COUNTERS),
        "info": [
            {"class": info.cls, "driver": info.driver, "version": info.version}
            for info in report.infos
        ],
        "findings": [
            {
                "rule": finding.rule,
                "severity": finding.severity,
                "message": finding.message,
                "sites": list(finding.sites),
            }
            for finding in report.findings
        ],
        "holders": [_hold(hold) for hold in holds],
        "processes": [entry for process in view.processes for entry in _process(process, key)],
    }


def _process(process: ProcessView, key: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"pid": process.pid, **_numbers(pool.reading, GAUGES)}
        for pool in process.pools
        if (pool.pool, pool.kind) == key
    ]


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "pid": hold.pid,
        "site": hold.site,
        "owner": hold.owner,
        "held_seconds": hold.held_seconds,
        "overdue": hold.overdue,
        "abandoned": hold.abandoned,
    }


def _numbers(reading: Reading, fields: tuple[str, ...]) -> dict[str, float | None]:
    values = {field: getattr(reading, field) for field in fields}
    return {field: value if value < math.inf else None for field, value in values.items()}

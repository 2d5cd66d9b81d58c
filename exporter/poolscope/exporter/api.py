"""The fleet as JSON: pools with their processes, holders and findings."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from poolscope.exporter.history import History
from poolscope.fleet.commitments import pools_of
from poolscope.fleet.fleet import Key
from poolscope.metrics.exporter_families import Scrape
from poolscope.readings.application_names import shown
from poolscope.readings.database_servers import ServerReading
from poolscope.readings.holders import Hold
from poolscope.readings.reading import GAUGES, SCALARS, Reading
from poolscope.readings.report import Report

NOT_IN_JSON: Final = frozenset(
    (
        "watched_seconds", "most_in_use", "invalidated_hard", "invalidated_soft", "dns_hits",
        "dns_misses", "dns_errors", "held_across", "held_across_seconds",
    )
)  # fmt: skip
"""Fields of a reading that only findings or single families need."""

JSON_GAUGES: Final = tuple(field for field in Reading._fields[:GAUGES] if field not in NOT_IN_JSON)
JSON_COUNTERS: Final = tuple(
    field for field in Reading._fields[GAUGES:SCALARS] if field not in NOT_IN_JSON
)


def document(scrape: Scrape, history: History) -> dict[str, Any]:
    """
    Return the fleet as a JSON document, as `pools.schema.json` describes it.

    A missing limit is null, as JSON has no infinity; what is counted is a whole number.
    """
    view = scrape.view
    holds: defaultdict[Key, list[Hold]] = defaultdict(list)
    for hold in view.holds:
        holds[hold.pool, hold.kind].append(hold)
    processes: defaultdict[Key, list[dict[str, Any]]] = defaultdict(list)
    for process in view.processes:
        for pool in process.pools:
            numbers = {"pid": process.pid, **_numbers(pool.reading, JSON_GAUGES)}
            processes[pool.pool, pool.kind].append(numbers)
    return {
        "version": scrape.version,
        "processes": {"live": len(view.processes), "gone": view.gone},
        "bad_segments": view.bad,
        "pools": [
            {
                **_pool(report, view.fullest),
                "holders": [_hold(hold) for hold in holds[report.pool, report.kind]],
                "holders_by_line": _by_line(holds[report.pool, report.kind]),
                "processes": processes[report.pool, report.kind],
                "history": history.columns((report.pool, report.kind)),
                "servers": _seen_by_servers(report.pool, scrape.servers),
            }
            for report in view.reports
        ],
        "servers": [
            *(_server(server, view.reports) for server in scrape.servers),
            *({"kind": "pgbouncer", **dataclasses.asdict(b)} for b in scrape.bouncers),
        ],
    }


def _server(server: ServerReading, reports: Sequence[Report]) -> dict[str, Any]:
    """Return a PostgreSQL server, with the sum of the limits of all pools that connect to it."""
    seen = pools_of(server)
    known = dataclasses.asdict(server)
    del known["applications"]  # it is about labels
    limits = [report.reading.limit for report in reports if seen[shown(report.pool)]]
    promised = sum(limits) if limits else None
    return {
        "kind": "postgres",
        **known,
        "promised": _whole_or_none(promised) if promised is not None else None,
    }


def _seen_by_servers(pool: str, servers: Sequence[ServerReading]) -> list[dict[str, Any]]:
    """Return the servers that have connections with the name of the pool, and how many."""
    seen = [(server.server, pools_of(server)[shown(pool)]) for server in servers]
    return [{"server": server, "connections": count} for server, count in seen if count]


def _pool(report: Report, fullest: dict[Key, float]) -> dict[str, Any]:
    return {
        "pool": report.pool,
        "kind": report.kind,
        "live": report.reading.live,
        "utilization_max": fullest.get((report.pool, report.kind), 0.0),
        "instances_created": report.created,
        **_numbers(report.reading, JSON_GAUGES + JSON_COUNTERS),
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
    }


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "pid": hold.pid,
        "site": hold.site,
        "operation": hold.operation,
        "now_at": hold.now_at,
        "owner": hold.owner,
        "trace_id": hold.trace_id,
        "held_seconds": hold.held_seconds,
        "overdue": hold.overdue,
        "abandoned": hold.abandoned,
        "on_purpose": hold.on_purpose,
    }


def _by_line(holds: Sequence[Hold]) -> list[dict[str, Any]]:
    """Return a row for each line and operation that hold connections, most connections first."""
    rows: dict[tuple[str | None, str | None], dict[str, Any]] = {}
    for hold in holds:  # the oldest one first
        row = rows.setdefault(
            (hold.site, hold.operation),
            {
                "site": hold.site,
                "operation": hold.operation,
                "count": 0,
                "oldest_seconds": hold.held_seconds,
                "overdue": 0,
                "abandoned": 0,
            },
        )
        row["count"] += 1
        row["overdue"] += hold.overdue
        row["abandoned"] += hold.abandoned
    return sorted(rows.values(), key=lambda row: (-row["count"], -row["oldest_seconds"]))


def _numbers(reading: Reading, fields: tuple[str, ...]) -> dict[str, float | None]:
    values = {field: getattr(reading, field) for field in fields}
    return {
        field: value if field.endswith("_seconds") else _whole_or_none(value)
        for field, value in values.items()
    }


def _whole_or_none(number: float) -> int | None:
    return round(number) if number < math.inf else None

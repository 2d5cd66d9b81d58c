"""
The catalogue: every metric family, declared once.

The collector, the reference page in the docs, the dashboards and the alerts all read this table;
no family's name is written anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from poolscope.metrics.family import POOL_LABELS, Family, Values, gauge
from poolscope.readings.buckets import ACQUIRE_BUCKETS, DNS_BUCKETS, HOLD_BUCKETS, OPEN_BUCKETS
from poolscope.readings.report import Report


def _one(field: str) -> Callable[[Report], Values]:
    """Return a getter of a family without further labels: one field of the reading."""
    return lambda report: (((), getattr(report.reading, field)),)


def _each(**fields: str) -> Callable[[Report], Values]:
    """Return a getter of a family with one further label: its values, and a field for each."""
    return lambda report: tuple(
        ((value,), getattr(report.reading, field)) for value, field in fields.items()
    )


def _counter(
    name: str, help: str, samples: Callable[[Report], Values], *labels: str
) -> Family[Report]:
    return Family(name, "counter", help, POOL_LABELS + labels, samples)


def _histogram(name: str, help: str, buckets: tuple[float, ...]) -> Family[Report]:
    field = name.removeprefix("connpool_")
    return Family(name, "histogram", help, POOL_LABELS, _one(field), buckets)


def _aiohttp(samples: Callable[[Report], Values]) -> Callable[[Report], Values]:
    """Return a getter that has nothing for the other kinds of pool."""
    return lambda report: samples(report) if report.kind == "aiohttp" else ()


INTERNAL_ERRORS: Final[Family[Report]] = Family(
    "connpool_internal_errors_total",
    "counter",
    "Errors inside the instrumentation itself; the application is not affected by them.",
    (),
    lambda _: (),
)

FAMILIES: Final[tuple[Family[Report], ...]] = (
    gauge(
        "connpool_connections",
        "Open connections: in_use (out with a caller), idle (open, in the pool), "
        "opening (being established for a caller).",
        _each(in_use="in_use", idle="idle", opening="opening"), *POOL_LABELS,
        "state",
    ),
    gauge(
        "connpool_waiting",
        "Callers that are blocked because no slot is free.",
        _one("waiting"), *POOL_LABELS,
    ),
    gauge(
        "connpool_limit",
        "The most connections that can be out at once; +Inf where there is no limit.",
        _one("limit"), *POOL_LABELS,
    ),
    gauge(
        "connpool_idle_limit",
        "The most connections that are kept when idle.",
        _one("idle_limit"), *POOL_LABELS,
    ),
    gauge(
        "connpool_idle_floor",
        "The fewest connections that are kept open.",
        _one("idle_floor"), *POOL_LABELS,
    ),
    gauge(
        "connpool_leaked",
        "Connections that are out now and overdue (held for longer than leak_after) or abandoned "
        "(nobody is left who could return them).",
        _each(overdue="overdue", abandoned="abandoned"), *POOL_LABELS,
        "reason",
    ),
    gauge(
        "connpool_in_use_peak",
        "The most connections in use during the last minute (at least 60 s, at most 120 s back).",
        _one("in_use_peak"), *POOL_LABELS,
    ),
    gauge(
        "connpool_waiting_peak",
        "The most callers waiting during the last minute (at least 60 s, at most 120 s back).",
        _one("waiting_peak"), *POOL_LABELS,
    ),
    gauge(
        "connpool_oldest_hold_seconds",
        "For how long the connection that has been out longest is out; 0 when none is.",
        _one("oldest_hold_seconds"), *POOL_LABELS,
    ),
    gauge(
        "connpool_oldest_wait_seconds",
        "For how long the caller that has waited longest is waiting; 0 when none is.",
        _one("oldest_wait_seconds"), *POOL_LABELS,
    ),
    gauge(
        "connpool_instances",
        "Live pool objects behind this name.",
        _one("instances"), *POOL_LABELS,
    ),
    gauge(
        "connpool_info",
        "What kind of pool it is: its class, the driver below it, and the library's version.",
        lambda report: tuple(((i.cls, i.driver, i.version), 1.0) for i in report.infos),
        *POOL_LABELS,
        "class",
        "driver",
        "version",
    ),
    Family(
        "connpool_finding",
        "gauge",
        "Known mistakes in how the pool is set up or used: 1 for each; docs/findings has them.",
        (*POOL_LABELS, "rule", "severity"),
        # Also between two pools of an application that makes one for each request.
        lambda report: tuple(((f.rule, f.severity), 1.0) for f in report.findings),
    ),
    _counter(
        "connpool_acquires_total",
        "Finished attempts to get a connection, by how they ended: ok, timeout, cancelled, error.",
        _each(ok="acquired", timeout="timed_out", cancelled="cancelled", error="failed"),
        "outcome",
    ),
    _counter(
        "connpool_waits_total",
        "Attempts that had to wait for a slot.",
        _one("waited"),
    ),
    _counter(
        "connpool_reused_total",
        "Attempts that were served by a connection that was already open.",
        _one("reused"),
    ),
    _counter(
        "connpool_nested_acquires_total",
        "Attempts by a task or thread that already held a connection of the same pool.",
        _one("nested"),
    ),
    _counter(
        "connpool_opened_total",
        "Connections established: ok, error. Those that were open when the watch began count "
        "once as ok, so ok less connpool_closed_total is what the pool has open.",
        _each(ok="opened", error="open_failed"),
        "outcome",
    ),
    _counter(
        "connpool_closed_total",
        "Connections that left the pool: closed, invalidated, recycled, lost, detached.",
        _one("closed"),
    ),
    _counter(
        "connpool_invalidated_total",
        "Connections marked unusable: hard (closed at once), soft (closed before the next use).",
        lambda report: (
            (("hard",), report.reading.invalidated_hard),
            (("soft",), report.reading.invalidated_soft),
        )
        if report.kind == "sqlalchemy"
        else (),
        "mode",
    ),
    _counter(
        "connpool_leaks_total",
        "Holds that became overdue, or abandoned.",
        _each(overdue="leaks_overdue", abandoned="leaks_abandoned"),
        "reason",
    ),
    _counter(
        "connpool_leaks_recovered_total",
        "Overdue holds that were returned after all.",
        _one("leaks_recovered"),
    ),
    _counter(
        "connpool_in_use_seconds_total",
        "Connection-seconds out. Its rate is the mean number in use.",
        _one("in_use_seconds"),
    ),
    _counter(
        "connpool_waiting_seconds_total",
        "Waiter-seconds. Its rate is the mean number of callers waiting.",
        _one("waiting_seconds"),
    ),
    _counter(
        "connpool_saturated_seconds_total",
        "Seconds during which no slot was free.",
        _one("saturated_seconds"),
    ),
    _counter(
        "connpool_instances_created_total",
        "Pool objects ever watched under this name.",
        lambda report: (((), float(report.created)),),
    ),
    _histogram(
        "connpool_acquire_seconds",
        "From asking for a connection to having it or giving up, whatever the outcome.",
        ACQUIRE_BUCKETS,
    ),
    _histogram(
        "connpool_queue_seconds",
        "Waiting for a slot; only attempts that waited.",
        ACQUIRE_BUCKETS,
    ),
    _histogram(
        "connpool_open_seconds",
        "Establishing a connection, whether it succeeded or not.",
        OPEN_BUCKETS,
    ),
    _histogram(
        "connpool_hold_seconds",
        "From having a connection to returning it.",
        HOLD_BUCKETS,
    ),
    gauge(
        "connpool_site_connections",
        "Connections out now, by the function that asked, as module:function; the first 50, the "
        "rest as other. Absent with call_sites=False.",
        lambda report: tuple(((site.site,), site.in_use) for site in report.sites), *POOL_LABELS,
        "site",
    ),
    _counter(
        "connpool_site_in_use_seconds_total",
        "Connection-seconds out, by the function that asked. Its rate is how many connections "
        "the function holds on average.",
        lambda report: tuple(((site.site,), site.in_use_seconds) for site in report.sites),
        "site",
    ),
    gauge(
        "connpool_site_leaked",
        "Connections that are out now and overdue, or abandoned, by the function that asked.",
        lambda report: tuple(
            sample
            for site in report.sites
            for sample in (
                ((site.site, "overdue"), site.overdue),
                ((site.site, "abandoned"), site.abandoned),
            )
        ), *POOL_LABELS,
        "site",
        "reason",
    ),
    gauge(
        "connpool_host_connections",
        "Open connections of an aiohttp pool by host:port; the 20 busiest, the rest as other.",
        lambda report: tuple(
            sample
            for host in report.hosts
            for sample in (
                ((host.host, "in_use"), host.in_use),
                ((host.host, "idle"), host.idle),
                ((host.host, "opening"), host.opening),
            )
        ), *POOL_LABELS,
        "host",
        "state",
    ),
    gauge(
        "connpool_host_waiting",
        "Callers of an aiohttp pool that are blocked, by host:port.",
        lambda report: tuple(((host.host,), host.waiting) for host in report.hosts), *POOL_LABELS,
        "host",
    ),
    _counter(
        "connpool_dns_lookups_total",
        "Hosts resolved by an aiohttp pool: hit (from its cache), miss (looked up), error.",
        _aiohttp(_each(hit="dns_hits", miss="dns_misses", error="dns_errors")),
        "result",
    ),
    Family(
        "connpool_dns_seconds",
        "histogram",
        "Resolving a host, whether it succeeded or not; cache hits take no time.",
        POOL_LABELS,
        _aiohttp(_one("dns_seconds")),
        DNS_BUCKETS,
    ),
    INTERNAL_ERRORS,
)  # fmt: skip

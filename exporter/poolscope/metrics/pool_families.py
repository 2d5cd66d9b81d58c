"""
The catalogue of metric families that describe pools; each family is declared here once.

The collector, the reference page in the docs, the dashboards and the alerts all read this table;
no module but the two catalogues writes a family's name as a string.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from poolscope.metrics.family import POOL_LABELS, Family, Values, gauge
from poolscope.readings.buckets import ACQUIRE_BUCKETS, DNS_BUCKETS, HOLD_BUCKETS, OPEN_BUCKETS
from poolscope.readings.report import Report


def _one(field: str) -> Callable[[Report], Values]:
    """Return a getter of one field of the reading, for a family without further labels."""
    return lambda report: (((), getattr(report.reading, field)),)


def _each(**fields: str) -> Callable[[Report], Values]:
    """Return a getter for a family with one more label; `fields` maps its values to fields."""
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
    """Return a getter that yields samples for aiohttp pools only."""
    return lambda report: samples(report) if report.kind == "aiohttp" else ()


INTERNAL_ERRORS: Final[Family[Report]] = Family(
    "connpool_internal_errors_total",
    "counter",
    "Exceptions raised inside poolscope itself; they never reach the application.",
    (),
    lambda _: (),
)

FAMILIES: Final[tuple[Family[Report], ...]] = (
    gauge(
        "connpool_connections",
        "Connections by state: in_use (a caller holds it), idle (open and in the pool), opening "
        "(being established for a caller).",
        _each(in_use="in_use", idle="idle", opening="opening"),
        *POOL_LABELS,
        "state",
    ),
    gauge(
        "connpool_waiting",
        "Callers that are waiting for a free connection of the pool.",
        _one("waiting"),
        *POOL_LABELS,
    ),
    gauge(
        "connpool_limit",
        "Maximum number of connections that can be in use at once; +Inf if the pool has no limit.",
        _one("limit"),
        *POOL_LABELS,
    ),
    gauge(
        "connpool_idle_limit",
        "Maximum number of idle connections that the pool keeps open.",
        _one("idle_limit"),
        *POOL_LABELS,
    ),
    gauge(
        "connpool_idle_floor",
        "Minimum number of connections that the pool keeps open.",
        _one("idle_floor"),
        *POOL_LABELS,
    ),
    gauge(
        "connpool_leaked",
        "Connections in use that look leaked: overdue (held for longer than leak_after) or "
        "abandoned (dropped without being returned, so that nothing can return them).",
        _each(overdue="overdue", abandoned="abandoned"),
        *POOL_LABELS,
        "reason",
    ),
    gauge(
        "connpool_in_use_peak",
        "Maximum number of connections in use at once during the last 60 to 120 seconds.",
        _one("in_use_peak"),
        *POOL_LABELS,
    ),
    gauge(
        "connpool_waiting_peak",
        "Maximum number of callers waiting at once during the last 60 to 120 seconds.",
        _one("waiting_peak"),
        *POOL_LABELS,
    ),
    gauge(
        "connpool_oldest_hold_seconds",
        "Age of the oldest hold, in seconds; 0 when no connection is in use.",
        _one("oldest_hold_seconds"),
        *POOL_LABELS,
    ),
    gauge(
        "connpool_oldest_wait_seconds",
        "Age of the oldest wait, in seconds; 0 when no caller is waiting.",
        _one("oldest_wait_seconds"),
        *POOL_LABELS,
    ),
    gauge(
        "connpool_instances",
        "Number of pool objects with this name that exist now.",
        _one("instances"),
        *POOL_LABELS,
    ),
    gauge(
        "connpool_info",
        "Class of the pool, its database driver, and the version of its library; always 1.",
        lambda report: tuple(((i.cls, i.driver, i.version), 1.0) for i in report.infos),
        *POOL_LABELS,
        "class",
        "driver",
        "version",
    ),
    Family(
        "connpool_finding",
        "gauge",
        "A known mistake in how the pool is configured or used; always 1. See docs/findings.",
        (*POOL_LABELS, "rule", "severity"),
        # Also between two pools of an application that makes one for each request.
        lambda report: tuple(((f.rule, f.severity), 1.0) for f in report.findings),
    ),
    _counter(
        "connpool_acquires_total",
        "Finished attempts to acquire a connection, by outcome: ok, timeout, cancelled or error.",
        _each(ok="acquired", timeout="timed_out", cancelled="cancelled", error="failed"),
        "outcome",
    ),
    _counter(
        "connpool_waits_total",
        "Attempts to acquire a connection that had to wait for a free one.",
        _one("waited"),
    ),
    _counter(
        "connpool_waits_given_up_total",
        "Attempts to acquire a connection that ended while they waited for a free one: by a time "
        "limit, a deadline around the caller, or cancellation.",
        _one("gave_up"),
    ),
    _counter(
        "connpool_reused_total",
        "Attempts to acquire a connection that got one that was already open.",
        _one("reused"),
    ),
    _counter(
        "connpool_nested_acquires_total",
        "Attempts to acquire a connection by a task or thread that already held one of the pool.",
        _one("nested"),
    ),
    _counter(
        "connpool_opened_total",
        "Attempts to open a connection, by outcome: ok or error. Connections that were already "
        "open when the watch began count as ok, so ok minus connpool_closed_total is the number "
        "of open connections.",
        _each(ok="opened", error="open_failed"),
        "outcome",
    ),
    _counter(
        "connpool_closed_total",
        "Connections that left the pool: closed, invalidated, recycled, lost or detached.",
        _one("closed"),
    ),
    _counter(
        "connpool_invalidated_total",
        "Connections marked unusable, by mode: hard (closed at once) or soft (closed before the "
        "next use).",
        lambda report: (
            (
                (("hard",), report.reading.invalidated_hard),
                (("soft",), report.reading.invalidated_soft),
            )
            if report.kind == "sqlalchemy"
            else ()
        ),
        "mode",
    ),
    _counter(
        "connpool_leaks_total",
        "Connections that were found leaked: overdue (held for longer than leak_after) or "
        "abandoned (dropped without being returned).",
        _each(overdue="leaks_overdue", abandoned="leaks_abandoned"),
        "reason",
    ),
    _counter(
        "connpool_leaks_recovered_total",
        "Overdue connections that were returned after all.",
        _one("leaks_recovered"),
    ),
    _counter(
        "connpool_in_use_seconds_total",
        "Time that connections were in use, summed over all connections, in seconds. Its rate is "
        "the mean number of connections in use.",
        _one("in_use_seconds"),
    ),
    _counter(
        "connpool_waiting_seconds_total",
        "Time that callers waited, summed over all callers, in seconds. Its rate is the mean "
        "number of waiting callers.",
        _one("waiting_seconds"),
    ),
    _counter(
        "connpool_saturated_seconds_total",
        "Time during which the pool was at its limit, with no connection free, in seconds.",
        _one("saturated_seconds"),
    ),
    _counter(
        "connpool_instances_created_total",
        "Number of pool objects that were ever watched under this name.",
        lambda report: (((), float(report.created)),),
    ),
    _histogram(
        "connpool_acquire_seconds",
        "Time from asking for a connection to getting it or giving up, in seconds, whatever the "
        "outcome.",
        ACQUIRE_BUCKETS,
    ),
    _histogram(
        "connpool_queue_seconds",
        "Time that an attempt waited for a free connection, in seconds; only attempts that waited.",
        ACQUIRE_BUCKETS,
    ),
    _histogram(
        "connpool_open_seconds",
        "Time to open a connection, in seconds, whether the attempt succeeded or failed.",
        OPEN_BUCKETS,
    ),
    _histogram(
        "connpool_hold_seconds",
        "Time from getting a connection to returning it, in seconds.",
        HOLD_BUCKETS,
    ),
    gauge(
        "connpool_site_connections",
        "Connections in use, by the function that acquired them, as module:function. The first "
        "50 functions have their own label, the rest share the label other. Absent with "
        "call_sites=False.",
        lambda report: tuple(((site.label,), site.in_use) for site in report.sites),
        *POOL_LABELS,
        "site",
    ),
    _counter(
        "connpool_site_in_use_seconds_total",
        "Time that connections were in use, summed over all connections, by the function that "
        "acquired them, in seconds. Its rate is the mean number of connections the function holds.",
        lambda report: tuple(((site.label,), site.in_use_seconds) for site in report.sites),
        "site",
    ),
    gauge(
        "connpool_site_leaked",
        "Connections in use that look leaked (overdue or abandoned), by the function that acquired "
        "them.",
        lambda report: tuple(
            sample
            for site in report.sites
            for sample in (
                ((site.label, "overdue"), site.overdue),
                ((site.label, "abandoned"), site.abandoned),
            )
        ),
        *POOL_LABELS,
        "site",
        "reason",
    ),
    gauge(
        "connpool_operation_connections",
        "Connections in use, by what they are for: the name of the operation. The first 50 "
        "operations have their own label, the rest share the label other. Absent where nothing was "
        "ever an operation.",
        lambda report: tuple(((each.label,), each.in_use) for each in report.operations),
        *POOL_LABELS,
        "operation",
    ),
    _counter(
        "connpool_operation_in_use_seconds_total",
        "Time that connections were in use, summed over all connections, by operation, in seconds. "
        "Its rate is the mean number of connections that the operation holds.",
        lambda report: tuple(((each.label,), each.in_use_seconds) for each in report.operations),
        "operation",
    ),
    gauge(
        "connpool_host_connections",
        "Connections of an aiohttp pool by host:port and state. The first 20 hosts have their own "
        "label, the rest share the label other.",
        lambda report: tuple(
            sample
            for host in report.hosts
            for sample in (
                ((host.host, "in_use"), host.in_use),
                ((host.host, "idle"), host.idle),
                ((host.host, "opening"), host.opening),
            )
        ),
        *POOL_LABELS,
        "host",
        "state",
    ),
    gauge(
        "connpool_host_waiting",
        "Callers that are waiting for a connection of an aiohttp pool, by host:port.",
        lambda report: tuple(((host.host,), host.waiting) for host in report.hosts),
        *POOL_LABELS,
        "host",
    ),
    _counter(
        "connpool_host_opened_total",
        "Attempts of an aiohttp pool to open a connection, by host:port and outcome: ok or error. "
        "The hosts are those of connpool_host_connections.",
        lambda report: tuple(
            sample
            for host in report.hosts
            for sample in (
                ((host.host, "ok"), host.opened),
                ((host.host, "error"), host.open_failed),
            )
        ),
        "host",
        "outcome",
    ),
    _counter(
        "connpool_dns_lookups_total",
        "DNS lookups of an aiohttp pool, by result: hit (answered from its cache), miss (the "
        "resolver answered) or error.",
        _aiohttp(_each(hit="dns_hits", miss="dns_misses", error="dns_errors")),
        "result",
    ),
    Family(
        "connpool_dns_seconds",
        "histogram",
        "Time to resolve a host name, in seconds, whether the lookup succeeded or failed; cache "
        "hits are not counted.",
        POOL_LABELS,
        _aiohttp(_one("dns_seconds")),
        DNS_BUCKETS,
    ),
    INTERNAL_ERRORS,
)

"""Measures of pools, and panels of them, that several dashboards show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import (
    GREEN,
    ORANGE,
    RED,
    Json,
    PlacedPanel,
    ascending_thresholds,
    colour,
    query,
    stat,
    timeseries,
)
from poolscope.mixin.queries import Queries, share, share_of_traffic

STAT: Final = (4, 4)
PERCENTILES: Final = {50: GREEN, 95: ORANGE, 99: RED}
"""The percentiles of a duration that are drawn, with their colours."""


def utilization(queries: Queries, by: str = "") -> str:
    """Return the mean share of the limit that is in use; only for pools that have a limit."""
    used = queries.rate("in_use_seconds_total", by=by)
    return share(used, f"{queries.mean('limit', by=by)} < +Inf")


def utilization_now(queries: Queries, by: str = "") -> str:
    """Return the same; it is +Inf for a pool without a limit, so that this can be shown."""
    return f"{utilization(queries, by)} or {queries.gauge('limit', by=by)} == +Inf"


def live(queries: Queries, by: str) -> str:
    """
    Return the pools that there are now, or that served somebody a moment ago.

    The counters of a pool outlive it: without this, a pool that is gone would have a rate of 0.
    """
    instances, attempts = queries.gauge("instances", by=by), queries.rate("acquires_total", by=by)
    return f"({instances} > 0 or {attempts} > 0)"


def busy(queries: Queries, by: str) -> str:
    """
    Return the pools that somebody asks for a connection.

    A full pool whose connections are held for good, as one for LISTEN is, is not in trouble.
    """
    attempts = queries.rate("acquires_total", by=by)
    return f"({attempts} > 0 or {queries.rate('waiting_seconds_total', by=by)} > 0)"


def of_live(expr: str, queries: Queries, by_pool: str, by: str = "") -> str:
    """Return a rate of the pools that are live; `by` are the labels that it is grouped by."""
    return f"{expr} and on ({by}) {live(queries, by_pool)}"


def saturated(queries: Queries, by: str = "") -> str:
    """Return the share of the time in which no connection was free."""
    return share(queries.rate("saturated_seconds_total", by=by), queries.gauge("instances", by=by))


def timed_out(queries: Queries, by: str = "") -> str:
    """Return the share of the attempts that timed out."""
    timeouts = queries.rate("acquires_total", 'outcome="timeout"', by=by)
    return share_of_traffic(timeouts, queries.rate("acquires_total", by=by))


def reused(queries: Queries, by: str = "") -> str:
    """Return the share of the callers that got a connection that was already open."""
    served = queries.rate("acquires_total", 'outcome="ok"', by=by)
    return share_of_traffic(queries.rate("reused_total", by=by), served)


def up(queries: Queries) -> str:
    """Return whether Prometheus could scrape each target."""
    return f"up{{{', '.join(queries.matchers)}}}"


def waiting_stat(
    queries: Queries,
    options: Options,
    description: str,
    title: str = "Callers waiting",
    *,
    size: tuple[int, int] = STAT,
) -> PlacedPanel:
    """Return the mean number of callers that wait for a connection."""
    return stat(
        title,
        description,
        "short",
        query(of_live(queries.rate("waiting_seconds_total"), queries, options.by_pool), "waiting"),
        thresholds=ascending_thresholds(options.thresholds.waiting),
        decimals=1,
        size=size,
    )


def timeouts_stat(
    queries: Queries, options: Options, description: str, *, size: tuple[int, int] = STAT
) -> PlacedPanel:
    """Return the share of the attempts that timed out."""
    return stat(
        "Timed out",
        description,
        "percentunit",
        query(of_live(timed_out(queries), queries, options.by_pool), "timed out"),
        thresholds=ascending_thresholds(options.thresholds.timeouts),
        decimals=1,
        size=size,
    )


def leaked_stat(
    queries: Queries, options: Options, description: str, *, size: tuple[int, int] = STAT
) -> PlacedPanel:
    """Return the number of connections that are overdue or abandoned."""
    return stat(
        "Leaked",
        description,
        "short",
        query(queries.gauge("leaked"), "leaked"),
        thresholds=ascending_thresholds(options.thresholds.leaked),
        decimals=0,
        size=size,
    )


def open_failures_stat(
    queries: Queries, options: Options, description: str, title: str = "Failed to open"
) -> PlacedPanel:
    """Return the share of the connections that could not be opened."""
    failed = queries.rate("opened_total", 'outcome="error"')
    failures = share_of_traffic(failed, queries.rate("opened_total"))
    return stat(
        title,
        description,
        "percentunit",
        query(of_live(failures, queries, options.by_pool), "failed"),
        thresholds=ascending_thresholds(options.thresholds.open_failures),
        not_a_number="none opened",
    )


def percentiles(
    queries: Queries,
    title: str,
    description: str,
    family: str,
    *,
    colours: Mapping[int, str] = PERCENTILES,
    size: tuple[int, int] = (6, 7),
    thresholds: Sequence[Json] = (),
) -> PlacedPanel:
    """Return a graph of percentiles of a histogram of seconds."""
    return timeseries(
        title,
        description,
        "s",
        *(query(queries.quantile(percent / 100, family), f"p{percent}") for percent in colours),
        size=size,
        thresholds=thresholds,
        overrides=[colour(f"p{percent}", fixed) for percent, fixed in colours.items()],
    )

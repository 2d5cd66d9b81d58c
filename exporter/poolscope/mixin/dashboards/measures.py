"""Measures of pools, and panels of them, that several dashboards show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

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
from poolscope.mixin.queries import Queries, share
from poolscope.mixin.thresholds import Thresholds

PERCENTILES: Final = {50: GREEN, 95: ORANGE, 99: RED}
"""The percentiles of a duration that are drawn, with their colours."""


def utilization(queries: Queries, by: str = "") -> str:
    """Return the share of the limit that is in use or being opened; only for pools with a limit."""
    used = queries.gauge("connections", 'state=~"in_use|opening"', by=by)
    return share(used, f"{queries.gauge('limit', by=by)} < +Inf")


def saturated(queries: Queries, by: str = "") -> str:
    """Return the share of the time in which no connection was free."""
    return share(queries.rate("saturated_seconds_total", by=by), queries.gauge("instances", by=by))


def timed_out(queries: Queries, by: str = "") -> str:
    """Return the share of the attempts that timed out."""
    timeouts = queries.rate("acquires_total", 'outcome="timeout"', by=by)
    return share(timeouts, queries.rate("acquires_total", by=by))


def reused(queries: Queries, by: str = "") -> str:
    """Return the share of the callers that got a connection that was already open."""
    served = queries.rate("acquires_total", 'outcome="ok"', by=by)
    return share(queries.rate("reused_total", by=by), served)


def waiting_stat(
    queries: Queries, thresholds: Thresholds, description: str, title: str = "Callers waiting"
) -> PlacedPanel:
    """Return the mean number of callers that wait for a connection."""
    return stat(
        title,
        description,
        "short",
        query(queries.rate("waiting_seconds_total"), "waiting"),
        thresholds=ascending_thresholds(thresholds.waiting),
        decimals=1,
    )


def timeouts_stat(queries: Queries, thresholds: Thresholds, description: str) -> PlacedPanel:
    """Return the share of the attempts that timed out."""
    return stat(
        "Timed out",
        description,
        "percentunit",
        query(timed_out(queries), "timed out"),
        thresholds=ascending_thresholds(thresholds.timeouts),
        decimals=1,
    )


def leaked_stat(queries: Queries, thresholds: Thresholds, description: str) -> PlacedPanel:
    """Return the number of connections that are overdue or abandoned."""
    return stat(
        "Leaked connections",
        description,
        "short",
        query(queries.gauge("leaked"), "leaked"),
        thresholds=ascending_thresholds(thresholds.leaked),
        decimals=0,
    )


def open_failures_stat(
    queries: Queries, thresholds: Thresholds, description: str, title: str = "Failed to open"
) -> PlacedPanel:
    """Return the share of the connections that could not be opened."""
    failed = queries.rate("opened_total", 'outcome="error"')
    return stat(
        title,
        description,
        "percentunit",
        query(share(failed, queries.rate("opened_total")), "failed"),
        thresholds=ascending_thresholds(thresholds.open_failures),
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

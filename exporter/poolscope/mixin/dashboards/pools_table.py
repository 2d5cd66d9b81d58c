"""The table of all pools, those in trouble first."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.dashboards.board import url_of_pool
from poolscope.mixin.dashboards.measures import (
    busy,
    live,
    of_live,
    reused,
    timed_out,
    utilization,
    utilization_now,
)
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import (
    ORANGE,
    RED,
    Json,
    PlacedPanel,
    ascending_thresholds,
    descending_thresholds,
)
from poolscope.mixin.dashboards.tables import Column, table
from poolscope.mixin.queries import Queries
from poolscope.mixin.thresholds import Thresholds

WAITING: Final = 100_000
GIVEN_UP: Final = 1000
QUIET: Final = -1
MOST: Final = 1_000_000_000
"""
What the trouble of a pool begins at: callers wait (and how many), callers gave up (and how many).
Below that it is the utilization of a pool that somebody asks for connections.
"""


def pools_table(queries: Queries, options: Options) -> PlacedPanel:
    """Return the table of pools; the first ones have callers that wait, then that gave up."""
    return table(
        "Pools, those in trouble first",
        "One row for each pool of each service, summed over all processes: first those for which "
        "callers wait, then those on which callers gave up, then the fullest that are used. Click "
        "on a name to see who holds its connections, its latencies and its findings.",
        {**options.owner_columns, "pool": "Pool", "kind": "Kind"},
        _columns(queries, options),
        links=(("Pool", "Details of this pool", url_of_pool(options)),),
        size=(24, 9),
    )


def _columns(queries: Queries, options: Options) -> tuple[Column, ...]:
    by, thresholds = options.by_pool, options.thresholds
    gave_up = f"round({queries.increase('waits_given_up_total', by=by)})"
    waiting = queries.rate("waiting_seconds_total", by=by)
    in_use = queries.gauge("connections", 'state="in_use"', by=by)
    acquire = queries.quantile(0.99, "acquire_seconds", by=by)
    return (
        Column("Trouble", _trouble(queries, by), mappings=_words(thresholds), coloured=True),
        Column(
            "Waiting",
            of_live(waiting, queries, by, by),
            thresholds=ascending_thresholds(thresholds.waiting),
            decimals=1,
        ),
        Column("Gave up", of_live(gave_up, queries, by, by), decimals=0),
        Column(
            "Utilization",
            utilization_now(queries, by),
            "percentunit",
            ascending_thresholds(thresholds.utilization),
            0,
        ),
        Column("In use", in_use, decimals=0),
        Column("Limit", queries.gauge("limit", by=by), decimals=0),
        Column(
            "Timed out",
            of_live(timed_out(queries, by), queries, by, by),
            "percentunit",
            ascending_thresholds(thresholds.timeouts),
            1,
        ),
        Column(
            "p99 acquire",
            of_live(acquire, queries, by, by),
            "s",
            ascending_thresholds(thresholds.acquire_seconds),
        ),
        Column(
            "Reused",
            of_live(reused(queries, by), queries, by, by),
            "percentunit",
            descending_thresholds(thresholds.reuse),
            0,
        ),
        Column(
            "Leaked",
            queries.gauge("leaked", by=by),
            thresholds=ascending_thresholds(thresholds.leaked),
            decimals=0,
        ),
        Column("Findings", queries.once("finding", by=by, more=options.owners), decimals=0),
    )


def _trouble(queries: Queries, by: str) -> str:
    waiting = queries.rate("waiting_seconds_total", by=by)
    gave_up = queries.increase("waits_given_up_total", by=by)
    return (
        f"{WAITING} + ({waiting} > 0) "
        f"or {GIVEN_UP} + clamp_max({gave_up} > 0, {WAITING - GIVEN_UP - 1}) "
        f"or ({utilization(queries, by)} and on ({by}) {busy(queries, by)}) "
        f"or 0 * {busy(queries, by)} "
        f"or {QUIET} + 0 * {live(queries, by)}"
    )


def _words(thresholds: Thresholds) -> list[Json]:
    """Return what is said instead of the numbers that sort the table."""
    warning, critical = thresholds.utilization
    some, many = thresholds.waiting
    steps: list[tuple[float, str, str]] = [
        (QUIET, "quiet", "transparent"),
        (0, "none", "transparent"),
        (warning, "nearly full", ORANGE),
        (critical, "full", ORANGE),
        (GIVEN_UP, "callers gave up", RED),
        (WAITING, "callers wait", "transparent"),
        (WAITING + some, "callers wait", ORANGE),
        (WAITING + many, "callers wait", RED),
    ]
    ends = [start for start, _, _ in steps[1:]] + [MOST]
    return [
        {
            "type": "range",
            "options": {
                "from": start,
                "to": end,
                "result": {"text": text, "color": colour, "index": index},
            },
        }
        # A range includes its end: the later ones come first.
        for index, ((start, text, colour), end) in reversed(
            list(enumerate(zip(steps, ends, strict=True)))
        )
    ]

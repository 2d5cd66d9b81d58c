"""The panels that say what the connections of a pool are for: requests, tasks and jobs."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.dashboards.board import of_series
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import GREY, PlacedPanel, colour, query, timeseries
from poolscope.mixin.queries import Queries, top

TOP_OPERATIONS: Final = 10
REST: Final = "no operation"
HUNDREDTH: Final = 0.01
NOTHING: Final = (
    "Nothing is an operation yet: poolscope.instrument(app) makes each request or task one"
)


def used_by_operation(queries: Queries, options: Options, *, size: tuple[int, int]) -> PlacedPanel:
    """Return a graph of how many connections each operation has held on average."""
    used = queries.rate("operation_in_use_seconds_total", by="operation")
    rest = _rest(
        queries.rate("in_use_seconds_total"), queries.rate("operation_in_use_seconds_total")
    )
    return _stacked(
        "Who used the pool, by operation",
        "Connection-seconds per second that each operation used: how many connections it held on "
        "average. Of requests, it is the route whose holds should be shorter. Where the live page "
        "is linked, a click leads to its lines.",
        (used, rest),
        queries,
        options,
        size,
    )


def out_by_operation(queries: Queries, options: Options, *, size: tuple[int, int]) -> PlacedPanel:
    """Return a graph of how many connections are out for each operation."""
    out = queries.gauge("operation_connections", by="operation")
    rest = _rest(
        queries.gauge("connections", 'state="in_use"'), queries.gauge("operation_connections")
    )
    return _stacked(
        "Connections out by operation",
        "Connections that are in use at each scrape, by what they are for: a request by its route, "
        "a task by its name. In an incident, the widest band is the endpoint to limit or to turn "
        "off first.",
        (out, rest),
        queries,
        options,
        size,
    )


def _rest(whole: str, known: str) -> str:
    """Return what is for no operation; nothing where there never was one."""
    # The rates of two counters are never quite equal.
    return f"clamp_min(round({whole} - {known}, {HUNDREDTH}), 0)"


def _stacked(
    title: str,
    description: str,
    parts: tuple[str, str],
    queries: Queries,
    options: Options,
    size: tuple[int, int],
) -> PlacedPanel:
    """Return a graph of the operations that hold the most; parts: theirs, and the rest."""
    by_operation, rest = parts
    rank = queries.total("operation_in_use_seconds_total", by="operation")
    live_page = f"{options.live_page}?group=operation&q={of_series('operation')}"
    return timeseries(
        title,
        description,
        "short",
        query(top(TOP_OPERATIONS, rank, by_operation, "operation"), "{{operation}}"),
        query(rest, REST),
        size=size,
        stacked=True,
        many=True,
        overrides=(colour(REST, GREY),),
        nothing=NOTHING,
        link=("Lines, tasks and processes", live_page) if options.live_page else None,
    )

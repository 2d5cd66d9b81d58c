"""The dashboard that says what is wrong now, and with which pool."""

from __future__ import annotations

from poolscope.mixin.dashboards.board import Board, Section, Variable, address, queries_of
from poolscope.mixin.dashboards.measures import reused, saturated, timed_out, utilization
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import (
    RED,
    Column,
    PlacedPanel,
    ascending_thresholds,
    descending_thresholds,
    query,
    stat,
    table,
    threshold_steps,
    timeline,
    timeseries,
)
from poolscope.mixin.queries import Queries

QUESTION = """
**Which pool is in trouble now?** Utilization, saturation (callers that wait) and errors (callers
that gave up) of all pools; the worst come first. A name leads to the details.
"""

BY_POOL = "pool, kind"
POOL_LEGEND = "{{pool}} ({{kind}})"
TOP_POOLS = 15
SERIOUS_FINDINGS = 'severity=~"critical|warning"'


def board(options: Options) -> Board:
    queries = queries_of(options, 'pool=~"$pool"', 'kind=~"$kind"')
    return Board(
        key="overview",
        question=QUESTION.strip(),
        variables=(
            Variable("kind", "instances", "kind", "Kind"),
            Variable("pool", "instances", "pool", "Pool", matchers=('kind=~"$kind"',)),
        ),
        sections=(
            Section("", _numbers(queries, options)),
            Section("Which pools", (_saturation(queries, options), _pools(queries, options))),
            Section("How it came to this", _graphs(queries, options)),
        ),
        options=options,
    )


def _numbers(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    thresholds = options.thresholds
    return (
        stat(
            "Fullest pool",
            "The share of its connections that the fullest pool has out. Above the critical "
            "threshold the next burst has to wait: look at who holds them, in its details.",
            "percentunit",
            query(f"max({utilization(queries, BY_POOL)})", "fullest"),
            thresholds=ascending_thresholds(thresholds.utilization),
            decimals=0,
        ),
        stat(
            "Saturated pools",
            "How many pools had no free connection for more of the time than they should. Each of "
            "them makes its callers wait; the timeline below says which and since when.",
            "short",
            query(
                f"count({saturated(queries, BY_POOL)} > {thresholds.saturated[1]:g}) or vector(0)",
                "pools",
            ),
            thresholds=threshold_steps("green", (1, RED)),
            decimals=0,
        ),
        stat(
            "Callers waiting",
            "How many callers wait for a connection, on average. It should be close to none; if it "
            "grows, a pool is too small or connections are held for too long.",
            "short",
            query(queries.rate("waiting_seconds_total"), "waiting"),
            thresholds=ascending_thresholds(thresholds.waiting),
            decimals=1,
        ),
        stat(
            "Gave up",
            "The share of attempts that timed out before they had a connection. Users see these as "
            "errors: find the pool in the table, and who holds its connections.",
            "percentunit",
            query(timed_out(queries), "timed out"),
            thresholds=ascending_thresholds(thresholds.timeouts),
            decimals=1,
        ),
        stat(
            "Leaked connections",
            "Connections that are overdue (held for longer than leak_after), or abandoned (nobody "
            "is left who could return them). The details of the pool name the function.",
            "short",
            query(queries.gauge("leaked"), "leaked"),
            thresholds=ascending_thresholds(thresholds.leaked),
            decimals=0,
        ),
        stat(
            "Serious findings",
            "Known mistakes of severity critical or warning in how pools are set up or used. Each "
            "has a page in docs/findings that says what to write instead.",
            "short",
            query(f"{queries.gauge('finding', SERIOUS_FINDINGS)} or vector(0)", "findings"),
            thresholds=threshold_steps("green", (1, "orange")),
            graph=False,
            decimals=0,
        ),
    )


def _saturation(queries: Queries, options: Options) -> PlacedPanel:
    return timeline(
        "Time without a free connection",
        "For each pool, the share of the time in which no connection was free. A red row was full "
        "then: compare it with deploys and with traffic, and open the details of the pool.",
        "percentunit",
        query(f"topk({TOP_POOLS}, {saturated(queries, BY_POOL)})", POOL_LEGEND),
        thresholds=ascending_thresholds(options.thresholds.saturated),
        size=(24, 7),
    )


def _pools(queries: Queries, options: Options) -> PlacedPanel:
    thresholds = options.thresholds
    columns = (
        Column(
            "Utilization",
            utilization(queries, BY_POOL),
            "percentunit",
            ascending_thresholds(thresholds.utilization),
            0,
        ),
        Column(
            "In use",
            queries.gauge("connections", 'state="in_use"', by=BY_POOL),
            "short",
            decimals=0,
        ),
        Column("Limit", queries.gauge("limit", by=BY_POOL), "short", decimals=0),
        Column(
            "Waiting",
            queries.rate("waiting_seconds_total", by=BY_POOL),
            "short",
            ascending_thresholds(thresholds.waiting),
            1,
        ),
        Column(
            "Gave up",
            timed_out(queries, BY_POOL),
            "percentunit",
            ascending_thresholds(thresholds.timeouts),
            1,
        ),
        Column(
            "p99 acquire",
            queries.quantile(0.99, "acquire_seconds", by=BY_POOL),
            "s",
            ascending_thresholds(thresholds.acquire_seconds),
        ),
        Column(
            "Reused",
            reused(queries, BY_POOL),
            "percentunit",
            descending_thresholds(thresholds.reuse),
            0,
        ),
        Column(
            "Leaked",
            queries.gauge("leaked", by=BY_POOL),
            "short",
            ascending_thresholds(thresholds.leaked),
            0,
        ),
        Column("Findings", queries.gauge("finding", by=BY_POOL), "short", decimals=0),
    )
    pool = address("pool", options, pool="${__data.fields.Pool}", kind="${__data.fields.Kind}")
    return table(
        "Pools, the fullest first",
        "One row for each pool, over all processes. Colours are those of the alerts. Click on a "
        "name for who holds its connections, its latencies and its findings.",
        {"pool": "Pool", "kind": "Kind"},
        columns,
        links=(("Pool", "Details of this pool", pool),),
        size=(24, 8),
    )


def _graphs(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    thresholds = options.thresholds
    return (
        timeseries(
            "Utilization",
            "The share of connections that each pool has out: at 100% callers wait. One that only "
            "climbs leaks connections; one that follows the traffic needs a larger limit.",
            "percentunit",
            query(f"topk({TOP_POOLS}, {utilization(queries, BY_POOL)})", POOL_LEGEND),
            thresholds=ascending_thresholds(thresholds.utilization),
            axis_soft_max=1,
        ),
        timeseries(
            "Callers waiting",
            "The mean number of callers that wait for each pool, from waiter-seconds, so that no "
            "burst is missed. It should be close to none at all times.",
            "short",
            query(
                f"topk({TOP_POOLS}, {queries.rate('waiting_seconds_total', by=BY_POOL)})",
                POOL_LEGEND,
            ),
            axis_soft_max=1,
        ),
        timeseries(
            "Callers that gave up",
            "Attempts in a second that timed out, by pool. Each is an error that somebody has "
            "seen; the log of the service says which lines held the connections then.",
            "reqps",
            query(queries.rate("acquires_total", 'outcome="timeout"', by=BY_POOL), POOL_LEGEND),
            axis_soft_max=1,
        ),
        timeseries(
            "Time to get a connection (p99)",
            "What the slowest of a hundred callers waits for a connection, its opening included. "
            "If it grows while utilization is low, opening connections is what takes long.",
            "s",
            query(
                f"topk({TOP_POOLS}, {queries.quantile(0.99, 'acquire_seconds', by=BY_POOL)})",
                POOL_LEGEND,
            ),
            thresholds=ascending_thresholds(thresholds.acquire_seconds),
        ),
    )

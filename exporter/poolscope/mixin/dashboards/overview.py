"""The dashboard of all pools: which one is in trouble now?"""

from __future__ import annotations

from typing import Final

from poolscope.mixin.dashboards.board import Board, Section, Variable, queries_of, url_of
from poolscope.mixin.dashboards.measures import (
    leaked_stat,
    reused,
    saturated,
    timed_out,
    timeouts_stat,
    utilization,
    waiting_stat,
)
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
from poolscope.mixin.thresholds import Thresholds

QUESTION: Final = """
**Which pool is in trouble now?** Utilization, saturation (callers wait) and errors (callers time
out) of all pools, the worst ones first. Click on the name of a pool for its details.
"""

BY_POOL: Final = "pool, kind"
POOL_LEGEND: Final = "{{pool}} ({{kind}})"
TOP_POOLS: Final = 15
SERIOUS_FINDINGS: Final = 'severity=~"critical|warning"'


def board(options: Options) -> Board:
    queries, thresholds = queries_of(options, 'pool=~"$pool"', 'kind=~"$kind"'), options.thresholds
    return Board(
        key="overview",
        question=QUESTION.strip(),
        variables=(
            Variable("kind", "instances", "kind", "Kind"),
            Variable("pool", "instances", "pool", "Pool", matchers=('kind=~"$kind"',)),
        ),
        sections=(
            Section("", _numbers(queries, thresholds)),
            Section("Pools", (_saturation(queries, thresholds), _pools(queries, options))),
            Section("Over time", _graphs(queries, thresholds)),
        ),
        options=options,
    )


def _numbers(queries: Queries, thresholds: Thresholds) -> tuple[PlacedPanel, ...]:
    saturated_pools = f"count({saturated(queries, BY_POOL)} > {thresholds.saturated[1]:g})"
    return (
        stat(
            "Fullest pool",
            "Utilization of the fullest pool: the share of its limit that is in use. Above the "
            "critical threshold the next burst has to wait; its details show who holds the "
            "connections.",
            "percentunit",
            query(f"max({utilization(queries, BY_POOL)})", "fullest"),
            thresholds=ascending_thresholds(thresholds.utilization),
            decimals=0,
        ),
        stat(
            "Saturated pools",
            "Number of pools that had no free connection for a larger share of the time than the "
            "critical threshold. Each makes its callers wait; the timeline below shows which pools "
            "and since when.",
            "short",
            query(f"{saturated_pools} or vector(0)", "pools"),
            thresholds=threshold_steps("green", (1, RED)),
            decimals=0,
        ),
        waiting_stat(
            queries,
            thresholds,
            "Mean number of callers that wait for a connection. It should be close to 0; if it "
            "grows, a pool is too small or connections are held for too long.",
        ),
        timeouts_stat(
            queries,
            thresholds,
            "Share of the attempts to get a connection that timed out. Users see these as errors: "
            "find the pool in the table, and who holds its connections.",
        ),
        leaked_stat(
            queries,
            thresholds,
            "Connections that are overdue (held for longer than leak_after) or abandoned (nothing "
            "is left that could return them). The details of the pool name the function.",
        ),
        stat(
            "Serious findings",
            "Known mistakes, of severity critical or warning, in how pools are set up or used. "
            "Each has a page in docs/findings that says what to write instead.",
            "short",
            query(f"{queries.gauge('finding', SERIOUS_FINDINGS)} or vector(0)", "findings"),
            thresholds=threshold_steps("green", (1, "orange")),
            graph=False,
            decimals=0,
        ),
    )


def _saturation(queries: Queries, thresholds: Thresholds) -> PlacedPanel:
    return timeline(
        "Time without a free connection",
        "Share of the time in which each pool had no free connection. Where a row is red, the pool "
        "was full: compare with deployments and traffic, and open the details of the pool.",
        "percentunit",
        query(f"topk({TOP_POOLS}, {saturated(queries, BY_POOL)})", POOL_LEGEND),
        thresholds=ascending_thresholds(thresholds.saturated),
        size=(24, 7),
    )


def _pools(queries: Queries, options: Options) -> PlacedPanel:
    thresholds = options.thresholds
    in_use = queries.gauge("connections", 'state="in_use"', by=BY_POOL)
    columns = (
        Column(
            "Utilization",
            utilization(queries, BY_POOL),
            "percentunit",
            ascending_thresholds(thresholds.utilization),
            0,
        ),
        Column("In use", in_use, "short", decimals=0),
        Column("Limit", queries.gauge("limit", by=BY_POOL), "short", decimals=0),
        Column(
            "Waiting",
            queries.rate("waiting_seconds_total", by=BY_POOL),
            "short",
            ascending_thresholds(thresholds.waiting),
            1,
        ),
        Column(
            "Timed out",
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
    pool = url_of("pool", options, pool="${__data.fields.Pool}", kind="${__data.fields.Kind}")
    return table(
        "Pools, the fullest first",
        "One row for each pool, summed over all processes. The colours are those of the alerts. "
        "Click on a name to see who holds its connections, its latencies and its findings.",
        {"pool": "Pool", "kind": "Kind"},
        columns,
        links=(("Pool", "Details of this pool", pool),),
        size=(24, 8),
    )


def _graphs(queries: Queries, thresholds: Thresholds) -> tuple[PlacedPanel, ...]:
    waiting = queries.rate("waiting_seconds_total", by=BY_POOL)
    acquire = queries.quantile(0.99, "acquire_seconds", by=BY_POOL)
    return (
        timeseries(
            "Utilization",
            "Share of each pool's limit that is in use; at 100% callers wait. A pool that only "
            "climbs leaks connections; one that follows the traffic needs a higher limit.",
            "percentunit",
            query(f"topk({TOP_POOLS}, {utilization(queries, BY_POOL)})", POOL_LEGEND),
            thresholds=ascending_thresholds(thresholds.utilization),
            axis_soft_max=1,
        ),
        timeseries(
            "Callers waiting",
            "Mean number of callers that wait for each pool, computed from the seconds that they "
            "waited, so that no burst is missed. It should be close to 0 at all times.",
            "short",
            query(f"topk({TOP_POOLS}, {waiting})", POOL_LEGEND),
            axis_soft_max=1,
        ),
        timeseries(
            "Timeouts",
            "Attempts per second that timed out, by pool. A user has seen each of them as an "
            "error; the service's log names the lines that held the connections at that time.",
            "reqps",
            query(queries.rate("acquires_total", 'outcome="timeout"', by=BY_POOL), POOL_LEGEND),
            axis_soft_max=1,
        ),
        timeseries(
            "Time to get a connection (p99)",
            "Time within which 99% of the callers get a connection, including the time to open it. "
            "If it grows while utilization is low, opening connections is slow.",
            "s",
            query(f"topk({TOP_POOLS}, {acquire})", POOL_LEGEND),
            thresholds=ascending_thresholds(thresholds.acquire_seconds),
        ),
    )

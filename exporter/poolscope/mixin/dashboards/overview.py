"""The dashboard of all pools: which one is in trouble now?"""

from __future__ import annotations

from typing import Final

from poolscope.mixin.dashboards.board import Board, Section, Variable, of_series, queries_of, url_of
from poolscope.mixin.dashboards.measures import (
    busy,
    leaked_stat,
    live,
    saturated,
    timeouts_stat,
    up,
    utilization,
    waiting_stat,
)
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import (
    GREEN,
    RED,
    PlacedPanel,
    ascending_thresholds,
    query,
    stat,
    threshold_steps,
    timeline,
    timeseries,
)
from poolscope.mixin.dashboards.pools_table import pools_table
from poolscope.mixin.queries import Queries, share, top

QUESTION: Final = """
**Which pool is in trouble now?** Utilization, saturation (callers wait) and errors (callers give
up) of all pools, the worst ones first. Click on the name of a pool for its details.
"""

POOL_LEGEND: Final = "{{pool}} ({{kind}})"
TOP_POOLS: Final = 10
TOP_ROWS: Final = 12
GRAPH: Final = (24, 9)
SIZE: Final = (3, 4)
NARROW: Final = (2, 4)
PEAK_FIRST: Final = 1000
SOME_EVENTS: Final = 5
"""Up to which the axis of a count reaches, so that it has no half events."""
IN_USE: Final = 'state="in_use"'
SERIOUS_FINDINGS: Final = 'severity=~"critical|warning"'


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
            Section(
                "", (*_fullest(queries, options), *_numbers(queries, options), *_sources(options))
            ),
            Section("Pools", (_saturation(queries, options), pools_table(queries, options))),
            Section("Over time", _graphs(queries, options)),
        ),
        options=options,
    )


def _fullest(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    thresholds, by_pool = options.thresholds, options.by_pool
    of_labels = {label: of_series(label) for label in by_pool.split(", ")}
    asked = f"and on ({by_pool}) {busy(queries, by_pool)}"
    unlimited = f"{queries.gauge('limit', by=by_pool)} == +Inf"
    waits = f"{queries.rate('waiting_seconds_total', by=by_pool)} > 0"
    used = f"{utilization(queries, by_pool)} {asked}"
    full = f"({saturated(queries, by_pool)} > {thresholds.saturated[1]:g}) and on ({by_pool})"
    some = f"count({live(queries, by_pool)})"
    return (
        stat(
            "Fullest pool",
            "Utilization of the fullest pool that somebody asks for connections: the mean share of "
            "its limit that is in use. Above the critical threshold the next burst has to wait; "
            "its page shows who holds the connections: click on it.",
            "percentunit",
            query(f"topk(1, {used})", options.short_legend),
            query(f"(max({unlimited} {asked}) or NaN * {some}) unless on () ({used})", "all pools"),
            thresholds=ascending_thresholds(thresholds.utilization),
            decimals=0,
            size=(4, 4),
            named=True,
            link=("Who holds its connections", url_of("pool", options, **of_labels)),
        ),
        stat(
            "Saturated pools",
            "Number of pools for which callers waited, and that had no free connection for a "
            "larger share of the time than the critical threshold. The timeline below shows which "
            "pools and since when.",
            "short",
            query(f"count({full} ({waits})) or 0 * {some}", "pools"),
            thresholds=threshold_steps("green", (1, RED)),
            decimals=0,
            size=SIZE,
        ),
    )


def _numbers(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    some = f"count({live(queries, options.by_pool)})"
    # Of each pool once, however many processes report it.
    serious = queries.once("finding", SERIOUS_FINDINGS, more=options.owners)
    return (
        waiting_stat(
            queries,
            options,
            "Mean number of callers that wait for a connection. It should be close to 0; if it "
            "grows, a pool is too small or connections are held for too long.",
            size=SIZE,
        ),
        timeouts_stat(
            queries,
            options,
            "Share of the attempts to get a connection that timed out. Users see these as errors: "
            "find the pool in the table, and who holds its connections.",
            size=SIZE,
        ),
        leaked_stat(
            queries,
            options,
            "Connections that are overdue (held for longer than leak_after) or abandoned (nothing "
            "is left that could return them). The details of the pool name the function.",
            size=NARROW,
        ),
        stat(
            "Serious findings",
            "Known mistakes, of severity critical or warning, in how pools are set up or used. "
            "The details of a pool lead to the page of each, which says what to write instead.",
            "short",
            query(f"{serious} or 0 * {some}", "findings"),
            thresholds=threshold_steps("green", (1, "orange")),
            decimals=0,
            size=SIZE,
        ),
    )


def _sources(options: Options) -> tuple[PlacedPanel, ...]:
    """Return where the numbers come from: without these, silence looks like peace."""
    queries, by = queries_of(options), options.target
    exporters = queries.gauge("exporter_processes", 'state="live"', by=by)
    embedded = f"group by ({by}) ({queries.select('instances')})"
    answering = f"group by ({by}) ({exporters} or {embedded})"
    known = f"last_over_time({queries.select('instances')}[$__range])"
    down = f"{up(queries)} == 0 and on ({by}) {known}"
    return (
        stat(
            "Live processes",
            "Processes whose pools are in these numbers: those that exporters see, and one for "
            "each process that serves its own metrics. If there are fewer than you run, the others "
            "are not watched.",
            "short",
            query(f"sum({exporters} or {embedded})", "processes"),
            thresholds=threshold_steps(RED, (1, GREEN)),
            decimals=0,
            size=SIZE,
        ),
        stat(
            "Silent targets",
            "Targets that had pools within the time range and that Prometheus cannot scrape now. "
            "Nothing on this page is about them, however green it is. 0 means that all answer.",
            "short",
            query(f"count({down}) or 0 * count({answering})", "silent"),
            thresholds=threshold_steps(GREEN, (1, RED)),
            decimals=0,
            size=SIZE,
        ),
    )


def _saturation(queries: Queries, options: Options) -> PlacedPanel:
    by_pool = options.by_pool
    rank = share(
        queries.total("saturated_seconds_total", by=by_pool),
        queries.total_mean("instances", by=by_pool),
    )
    return timeline(
        "Time without a free connection",
        "Share of the time in which a pool had no free connection, of those for which that is the "
        "most. Where a row is red, the pool "
        "was full: compare with deployments and traffic, and open the details of the pool.",
        "percentunit",
        query(
            top(TOP_ROWS, rank, saturated(queries, by_pool), by_pool), options.legend(POOL_LEGEND)
        ),
        thresholds=ascending_thresholds(options.thresholds.saturated),
        size=(24, 8),
    )


def _graphs(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    thresholds, by_pool = options.thresholds, options.by_pool
    waiting = queries.rate("waiting_seconds_total", by=by_pool)
    acquire = queries.quantile(0.99, "acquire_seconds", by=by_pool)
    gave_up = queries.increase("waits_given_up_total", by=by_pool)
    # By the peak; of those with the same peak, one that is always full comes first.
    used = (
        f"({PEAK_FIRST} * {queries.total_peak('in_use_peak', by=by_pool)}"
        f" + {queries.total_mean('connections', IN_USE, by=by_pool)})"
    )
    fullest = share(used, f"{queries.total_mean('limit', by=by_pool)} < +Inf")
    longest = queries.total("waiting_seconds_total", by=by_pool)
    most = queries.total("waits_given_up_total", by=by_pool)
    slowest = queries.total_quantile(0.99, "acquire_seconds", by_pool)
    legend = options.legend(POOL_LEGEND)
    return (
        timeseries(
            "Utilization",
            "Mean share of each pool's limit that is in use; at 100% callers wait. A pool that "
            "only climbs leaks connections; one that follows the traffic needs a higher limit.",
            "percentunit",
            query(top(TOP_POOLS, fullest, utilization(queries, by_pool), by_pool), legend),
            thresholds=ascending_thresholds(thresholds.utilization),
            axis_soft_max=1,
            size=GRAPH,
            many=True,
        ),
        timeseries(
            "Callers waiting",
            "Mean number of callers that wait for each pool, computed from the seconds that they "
            "waited, so that no burst is missed. It should be close to 0 at all times.",
            "short",
            query(top(TOP_POOLS, longest, waiting, by_pool), legend),
            axis_soft_max=1,
            size=GRAPH,
            many=True,
        ),
        timeseries(
            "Callers that gave up",
            "Callers that ended their wait without a connection, by pool: by the pool's time "
            "limit, a deadline of their own, or because their client left. The service's log names "
            "the lines that held the connections at that time.",
            "short",
            query(top(TOP_POOLS, most, f"round({gave_up})", by_pool), legend),
            axis_soft_max=SOME_EVENTS,
            decimals=0,
            size=GRAPH,
            many=True,
        ),
        timeseries(
            "Time to get a connection (p99)",
            "Time within which 99% of the callers get a connection, including the time to open it. "
            "If it grows while utilization is low, opening connections is slow.",
            "s",
            query(top(TOP_POOLS, slowest, acquire, by_pool), legend),
            thresholds=ascending_thresholds(thresholds.acquire_seconds),
            size=GRAPH,
            many=True,
        ),
    )

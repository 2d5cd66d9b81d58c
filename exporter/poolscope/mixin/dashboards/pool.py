"""The dashboard of one pool: what it does, how long it takes, and who holds its connections."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.dashboards.board import Board, Section, Variable, queries_of
from poolscope.mixin.dashboards.measures import (
    leaked_stat,
    percentiles,
    reused,
    timeouts_stat,
    utilization,
    waiting_stat,
)
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import (
    BLUE,
    GREEN,
    GREY,
    LIGHT_BLUE,
    ORANGE,
    PURPLE,
    RED,
    Column,
    PlacedPanel,
    ascending_thresholds,
    colour,
    dashed_line,
    descending_thresholds,
    heatmap,
    query,
    stat,
    table,
    timeseries,
    unstacked_line,
)
from poolscope.mixin.queries import Queries
from poolscope.mixin.thresholds import Thresholds

QUESTION: Final = """
**What does this pool do, and who holds its connections?** From top to bottom: the callers (do they
wait, do they time out?), the connections (in use, opened, lost), and the functions that hold them.
"""

TOP_SITES: Final = 10
LONG_HOLD_SECONDS: Final = (30, 60)
"""Half of the default of `leak_after`, and all of it."""


def board(options: Options) -> Board:
    queries, thresholds = queries_of(options, 'pool="$pool"', 'kind="$kind"'), options.thresholds
    return Board(
        key="pool",
        question=QUESTION.strip(),
        variables=(
            Variable("pool", "instances", "pool", "Pool", single=True),
            Variable("kind", "instances", "kind", "Kind", single=True, matchers=('pool="$pool"',)),
        ),
        sections=(
            Section("", _numbers(queries, thresholds)),
            Section("Connections", _connections(queries)),
            Section("Durations", _durations(queries, thresholds)),
            Section("Outcomes", _outcomes(queries, thresholds)),
            Section("Holders", _holders(queries, thresholds)),
            Section("Processes and findings", _processes(queries, thresholds)),
        ),
        options=options,
    )


def _numbers(queries: Queries, thresholds: Thresholds) -> tuple[PlacedPanel, ...]:
    return (
        stat(
            "Utilization",
            "Share of the pool's limit that is in use. If it stays high, either the limit is too "
            "low for the traffic, or connections are held for too long.",
            "percentunit",
            query(utilization(queries), "utilization"),
            thresholds=ascending_thresholds(thresholds.utilization),
            decimals=0,
        ),
        waiting_stat(
            queries,
            thresholds,
            "Mean number of callers that wait for a connection. See below who holds the "
            "connections at the same time.",
        ),
        timeouts_stat(
            queries,
            thresholds,
            "Share of the attempts to get a connection that timed out. Users see these as errors: "
            "shorten the holds first; raise the limit only if the server has room.",
        ),
        stat(
            "p99 to acquire",
            "Time within which 99% of the callers get a connection. Above the threshold, check "
            "whether callers queue, or whether opening connections is slow.",
            "s",
            query(queries.quantile(0.99, "acquire_seconds"), "p99"),
            thresholds=ascending_thresholds(thresholds.acquire_seconds),
            no_value="no traffic",
        ),
        stat(
            "Oldest hold",
            "Age of the oldest hold. If it only grows, the code has forgotten to return a "
            "connection: the leaks below name the function.",
            "s",
            query(queries.maximum("oldest_hold_seconds"), "oldest"),
            thresholds=ascending_thresholds(LONG_HOLD_SECONDS),
        ),
        leaked_stat(
            queries,
            thresholds,
            "Connections that are overdue or abandoned now. An abandoned connection is not "
            "returned by itself: restart the process, and fix the function that is named below.",
        ),
    )


def _connections(queries: Queries) -> tuple[PlacedPanel, ...]:
    in_use, opening, idle = (
        queries.gauge("connections", f'state="{state}"') for state in ("in_use", "opening", "idle")
    )
    return (
        timeseries(
            "Connections",
            "Connections in use, being opened and idle, compared with the limit. The mean is "
            "computed from connection-seconds, so that no burst is missed. Where the peak touches "
            "the limit, callers have waited.",
            "short",
            query(in_use, "in use"),
            query(opening, "opening"),
            query(idle, "idle"),
            query(queries.rate("in_use_seconds_total"), "in use (mean)"),
            query(queries.gauge("in_use_peak"), "in use (peak)"),
            query(f"{queries.gauge('limit')} < +Inf", "limit"),
            size=(14, 9),
            stacked=True,
            overrides=(
                colour("in use", BLUE),
                colour("opening", PURPLE),
                colour("idle", LIGHT_BLUE),
                unstacked_line("in use (mean)", "white"),
                unstacked_line("in use (peak)", ORANGE),
                dashed_line("limit"),
            ),
        ),
        timeseries(
            "Callers waiting",
            "Callers that wait for a connection: the mean, computed from the seconds that they "
            "waited, and the peak. If callers wait all the time, connections are held for too "
            "long, or there are too few.",
            "short",
            query(queries.rate("waiting_seconds_total"), "mean"),
            query(queries.gauge("waiting_peak"), "peak"),
            size=(10, 9),
            overrides=(colour("mean", RED, fillOpacity=30), colour("peak", ORANGE)),
            axis_soft_max=1,
        ),
    )


def _durations(queries: Queries, thresholds: Thresholds) -> tuple[PlacedPanel, ...]:
    return (
        percentiles(
            queries,
            "Time to acquire",
            "From asking for a connection to getting it or giving up, including waiting and "
            "opening. This is the time that the pool adds to each request.",
            "acquire_seconds",
            thresholds=ascending_thresholds(thresholds.acquire_seconds),
        ),
        percentiles(
            queries,
            "Time in the queue",
            "How long callers waited until another one returned its connection; callers that did "
            "not wait are not counted. If it is close to the timeout, callers are about to give "
            "up.",
            "queue_seconds",
        ),
        percentiles(
            queries,
            "Time to open",
            "Time to establish a connection. If it grows, the server, the network or TLS is slow; "
            "keep more connections idle, so that callers do not wait for it.",
            "open_seconds",
        ),
        percentiles(
            queries,
            "Hold time",
            "From getting a connection to returning it. The limit divided by the mean hold time is "
            "the maximum number of requests per second that the pool can serve.",
            "hold_seconds",
        ),
        heatmap(
            "Distribution of the time to acquire",
            "How many attempts took how long. Two bands mean two kinds of callers: some find an "
            "idle connection, others wait or open one.",
            "s",
            queries.buckets("acquire_seconds"),
            size=(12, 10),
        ),
        heatmap(
            "Distribution of the hold time",
            "How many connections were held for how long. A band that rises slowly is a query that "
            "becomes slower; a single high band is a transaction that should be split.",
            "s",
            queries.buckets("hold_seconds"),
            size=(12, 10),
        ),
    )


def _outcomes(queries: Queries, thresholds: Thresholds) -> tuple[PlacedPanel, ...]:
    return (
        timeseries(
            "Attempts by outcome",
            "How the attempts to get a connection ended. Users see timeouts as errors; an attempt "
            "is cancelled when its client disconnects while it waits.",
            "reqps",
            query(queries.rate("acquires_total", by="outcome"), "{{outcome}}"),
            size=(8, 8),
            stacked=True,
            overrides=(
                colour("ok", GREEN),
                colour("timeout", RED),
                colour("cancelled", ORANGE),
                colour("error", PURPLE),
            ),
        ),
        timeseries(
            "Opened and closed",
            "Connections opened and closed per second. In a healthy pool both are close to 0. If "
            "both are high (churn), too few are kept idle, or they are recycled or invalidated too "
            "early.",
            "ops",
            query(queries.rate("opened_total", 'outcome="ok"'), "opened"),
            query(queries.rate("opened_total", 'outcome="error"'), "failed to open"),
            query(queries.rate("closed_total"), "closed"),
            size=(8, 8),
            overrides=(
                colour("opened", BLUE),
                colour("failed to open", RED),
                colour("closed", GREY),
            ),
        ),
        timeseries(
            "Reused",
            "Share of the callers that got a connection that was already open. If it is low, most "
            "callers wait until one is opened: keep more connections idle.",
            "percentunit",
            query(reused(queries), "reused"),
            size=(8, 8),
            thresholds=descending_thresholds(thresholds.reuse),
            axis_soft_max=1,
        ),
    )


def _holders(queries: Queries, thresholds: Thresholds) -> tuple[PlacedPanel, ...]:
    by_site = queries.rate("site_in_use_seconds_total", by="site")
    leaked = queries.gauge("site_leaked", by="site")
    return (
        timeseries(
            "Connections by the function that holds them",
            "Mean number of connections that each function holds, computed from "
            "connection-seconds. Shorter holds help most in the function with the widest band.",
            "short",
            query(f"topk({TOP_SITES}, {by_site})", "{{site}}"),
            size=(14, 9),
            stacked=True,
        ),
        table(
            "By function, now",
            "Functions that hold connections now, and how many of these are overdue or abandoned. "
            "The live page of the exporter, /pools, shows lines, tasks and processes.",
            {"site": "Function"},
            (
                Column("Holds", queries.gauge("site_connections", by="site"), "short", decimals=0),
                Column("Leaked", leaked, "short", ascending_thresholds(thresholds.leaked), 0),
            ),
            size=(10, 9),
        ),
        timeseries(
            "Leaks",
            "Holds that became overdue or abandoned, and overdue ones that were returned later "
            "(recovered). Overdue and recovered together are slow work; abandoned holds are bugs.",
            "short",
            query(queries.increase("leaks_total", by="reason"), "{{reason}}"),
            query(queries.increase("leaks_recovered_total"), "recovered"),
            size=(12, 8),
            overrides=(
                colour("overdue", ORANGE),
                colour("abandoned", RED),
                colour("recovered", GREEN),
            ),
            axis_soft_max=1,
        ),
        timeseries(
            "Nested acquires",
            "Attempts by a task or thread that already held a connection of this pool. Enough of "
            "them at the same time deadlock the pool: pass the first connection on instead.",
            "ops",
            query(queries.rate("nested_acquires_total"), "nested"),
            size=(12, 8),
            overrides=(colour("nested", RED),),
            axis_soft_max=1,
        ),
    )


def _processes(queries: Queries, thresholds: Thresholds) -> tuple[PlacedPanel, ...]:
    in_use = queries.gauge("process_connections", 'state="in_use"', by="pid")
    waiting = queries.gauge("process_waiting", by="pid")
    oldest = queries.maximum("process_oldest_hold_seconds", by="pid")
    return (
        timeseries(
            "Fullest process and all processes",
            "Utilization of the fullest process, and of all processes together. If they are far "
            "apart, the load is uneven: one process can be full while the sum looks fine.",
            "percentunit",
            query(queries.maximum("utilization_max"), "fullest process"),
            query(utilization(queries), "all processes"),
            size=(9, 8),
            thresholds=ascending_thresholds(thresholds.utilization),
            overrides=(colour("fullest process", ORANGE), colour("all processes", BLUE)),
            axis_soft_max=1,
        ),
        table(
            "Processes",
            "Current connections of each process, if the exporter runs with --per-process. The "
            "page /pools always shows them.",
            {"pid": "Process"},
            (
                Column("In use", in_use, decimals=0),
                Column("Limit", queries.gauge("process_limit", by="pid"), decimals=0),
                Column("Waiting", waiting, "short", ascending_thresholds(thresholds.waiting), 0),
                Column("Oldest hold", oldest, "s"),
            ),
            size=(8, 8),
        ),
        table(
            "Findings",
            "Known mistakes in how this pool is set up or used. Each has a page of its name in "
            "docs/findings: what is wrong, what it causes, and what to write instead.",
            {"rule": "Rule", "severity": "Severity"},
            (Column("Pools", queries.gauge("finding", by="rule, severity"), decimals=0),),
            size=(7, 8),
        ),
    )

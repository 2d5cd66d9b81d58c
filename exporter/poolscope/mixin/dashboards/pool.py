"""The dashboard of one pool: what it does, how long it takes, and who holds its connections."""

from __future__ import annotations

from poolscope.mixin.dashboards.board import Board, Section, Variable, queries_of
from poolscope.mixin.dashboards.measures import reused, timed_out, utilization
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
    threshold_steps,
    timeseries,
    unstacked_line,
)
from poolscope.mixin.queries import Queries

QUESTION = """
**What does this pool do, and who holds its connections?** From the callers (do they wait, do they
give up?) to the connections (in use, opened, lost), and to the functions that hold them.
"""

TOP_SITES = 10


def board(options: Options) -> Board:
    queries = queries_of(options, 'pool="$pool"', 'kind="$kind"')
    return Board(
        key="pool",
        question=QUESTION.strip(),
        variables=(
            Variable("pool", "instances", "pool", "Pool", single=True),
            Variable("kind", "instances", "kind", "Kind", single=True, matchers=('pool="$pool"',)),
        ),
        sections=(
            Section("", _numbers(queries, options)),
            Section("Connections", _connections(queries)),
            Section("How long it takes", _times(queries, options)),
            Section("What becomes of it", _outcomes(queries, options)),
            Section("Who holds them", _holders(queries, options)),
            Section("Processes and findings", _processes(queries, options)),
        ),
        options=options,
    )


def _numbers(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    thresholds = options.thresholds
    return (
        stat(
            "Utilization",
            "The share of its connections that the pool has out. If it stays high, either the "
            "limit is too low for the traffic, or connections are held for too long.",
            "percentunit",
            query(utilization(queries), "utilization"),
            thresholds=ascending_thresholds(thresholds.utilization),
            decimals=0,
        ),
        stat(
            "Callers waiting",
            "How many callers wait for a connection, on average. See below who holds the "
            "connections meanwhile.",
            "short",
            query(queries.rate("waiting_seconds_total"), "waiting"),
            thresholds=ascending_thresholds(thresholds.waiting),
            decimals=1,
        ),
        stat(
            "Gave up",
            "The share of attempts that timed out. Users see these as errors: make holds shorter "
            "first, and the pool larger only if its server has room.",
            "percentunit",
            query(timed_out(queries), "timed out"),
            thresholds=ascending_thresholds(thresholds.timeouts),
            decimals=1,
        ),
        stat(
            "p99 to acquire",
            "What the slowest of a hundred callers waits for a connection. Above the threshold "
            "look whether they queue or whether opening connections is what takes long.",
            "s",
            query(queries.quantile(0.99, "acquire_seconds"), "p99"),
            thresholds=ascending_thresholds(thresholds.acquire_seconds),
            no_value="no traffic",
        ),
        stat(
            "Oldest hold",
            "For how long the connection that has been out longest is out. If it only grows, "
            "somebody has forgotten to return it: the leaks below name the function.",
            "s",
            query(queries.maximum("oldest_hold_seconds"), "oldest"),
            thresholds=threshold_steps(GREEN, (30, ORANGE), (60, RED)),
        ),
        stat(
            "Leaked connections",
            "Connections that are overdue or abandoned now. Abandoned ones never come back by "
            "themselves: restart the process, and mend the line that is named below.",
            "short",
            query(queries.gauge("leaked"), "leaked"),
            thresholds=ascending_thresholds(thresholds.leaked),
            decimals=0,
        ),
    )


def _connections(queries: Queries) -> tuple[PlacedPanel, ...]:
    return (
        timeseries(
            "Connections",
            "What is in use, being opened and idle, against the limit; the true mean in use, from "
            "connection-seconds, which no burst escapes; and the peak: where it touches the limit, "
            "callers have waited.",
            "short",
            query(queries.gauge("connections", 'state="in_use"'), "in use"),
            query(queries.gauge("connections", 'state="opening"'), "opening"),
            query(queries.gauge("connections", 'state="idle"'), "idle"),
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
            "Callers that wait for a connection: the mean, from waiter-seconds, and the peak. Any "
            "that lasts says that connections are held for too long, or that there are too few.",
            "short",
            query(queries.rate("waiting_seconds_total"), "mean"),
            query(queries.gauge("waiting_peak"), "peak"),
            size=(10, 9),
            overrides=(colour("mean", RED, fillOpacity=30), colour("peak", ORANGE)),
            axis_soft_max=1,
        ),
    )


def _times(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    return (
        _quantiles(
            queries,
            "To acquire",
            "From asking for a connection to having it, or giving up; waiting and opening are "
            "included. This is what the pool costs each request.",
            "acquire_seconds",
            options.thresholds.acquire_seconds,
        ),
        _quantiles(
            queries,
            "To wait for a slot",
            "Only of those who had to wait: for how long, until a connection was given back. If "
            "it is close to the time-out, callers are about to give up.",
            "queue_seconds",
        ),
        _quantiles(
            queries,
            "To open",
            "Establishing a connection. If it grows, the server, the network or TLS is slow; keep "
            "more connections idle so that callers do not pay for it.",
            "open_seconds",
        ),
        _quantiles(
            queries,
            "To hold",
            "From having a connection to returning it. The limit divided by the mean hold is the "
            "most requests in a second that the pool can serve.",
            "hold_seconds",
        ),
        heatmap(
            "Acquiring, as a heatmap",
            "How many attempts took how long. Two bands mean two kinds of callers: those that "
            "find a free connection, and those that wait or open one.",
            "s",
            queries.buckets("acquire_seconds"),
            size=(12, 10),
        ),
        heatmap(
            "Holding, as a heatmap",
            "How many connections were held for how long. A band that creeps upwards is a query "
            "that becomes slower; a single high one is a transaction that should be split.",
            "s",
            queries.buckets("hold_seconds"),
            size=(12, 10),
        ),
    )


def _quantiles(
    queries: Queries,
    title: str,
    description: str,
    family: str,
    limits: tuple[float, float] | None = None,
) -> PlacedPanel:
    return timeseries(
        title,
        description,
        "s",
        query(queries.quantile(0.5, family), "p50"),
        query(queries.quantile(0.95, family), "p95"),
        query(queries.quantile(0.99, family), "p99"),
        size=(6, 7),
        thresholds=ascending_thresholds(limits) if limits else (),
        overrides=(colour("p50", GREEN), colour("p95", ORANGE), colour("p99", RED)),
    )


def _outcomes(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    return (
        timeseries(
            "Attempts by outcome",
            "How attempts to get a connection ended. Time-outs are seen by users; cancelled ones "
            "are clients that went away while they waited.",
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
            "Connections in a second. Both close to 0 is what a pool is for; both high is churn: "
            "too few are kept idle, or they are recycled or invalidated too soon.",
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
            "The share of callers that got an open connection. If it is low, each of them pays "
            "for opening one: raise what is kept idle.",
            "percentunit",
            query(reused(queries), "reused"),
            size=(8, 8),
            thresholds=descending_thresholds(options.thresholds.reuse),
            axis_soft_max=1,
        ),
    )


def _holders(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    return (
        timeseries(
            "Connections by the function that holds them",
            "How many connections each function holds on average, from connection-seconds. The "
            "widest band is where shorter holds gain most.",
            "short",
            query(
                f"topk({TOP_SITES}, {queries.rate('site_in_use_seconds_total', by='site')})",
                "{{site}}",
            ),
            size=(14, 9),
            stacked=True,
        ),
        table(
            "By function, now",
            "Who holds connections now, and which of them are overdue or abandoned. The live page "
            "of the exporter, /pools, has the lines, tasks and processes.",
            {"site": "Function"},
            (
                Column("Holds", queries.gauge("site_connections", by="site"), "short", decimals=0),
                Column(
                    "Leaked",
                    queries.gauge("site_leaked", by="site"),
                    "short",
                    ascending_thresholds(options.thresholds.leaked),
                    0,
                ),
            ),
            size=(10, 9),
        ),
        timeseries(
            "Leaks",
            "Holds that became overdue or abandoned, and overdue ones that were returned after "
            "all. Overdue and recovered together are slow work; abandoned ones are errors.",
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
            "them at once wait for each other for ever: hand the connection on instead.",
            "ops",
            query(queries.rate("nested_acquires_total"), "nested"),
            size=(12, 8),
            overrides=(colour("nested", RED),),
            axis_soft_max=1,
        ),
    )


def _processes(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    return (
        timeseries(
            "Fullest process beside all",
            "The utilization of all processes together, and of the fullest one. If they are far "
            "apart, work is spread unevenly: one process can be full while the sum looks fine.",
            "percentunit",
            query(queries.maximum("utilization_max"), "fullest process"),
            query(utilization(queries), "all processes"),
            size=(9, 8),
            thresholds=ascending_thresholds(options.thresholds.utilization),
            overrides=(colour("fullest process", ORANGE), colour("all processes", BLUE)),
            axis_soft_max=1,
        ),
        table(
            "Processes",
            "What each process has now; only with --per-process of the exporter. The page /pools "
            "has the same at any time.",
            {"pid": "Process"},
            (
                Column(
                    "In use",
                    queries.gauge("process_connections", 'state="in_use"', by="pid"),
                    decimals=0,
                ),
                Column("Limit", queries.gauge("process_limit", by="pid"), decimals=0),
                Column(
                    "Waiting",
                    queries.gauge("process_waiting", by="pid"),
                    "short",
                    ascending_thresholds(options.thresholds.waiting),
                    0,
                ),
                Column(
                    "Oldest hold", queries.maximum("process_oldest_hold_seconds", by="pid"), "s"
                ),
            ),
            size=(8, 8),
        ),
        table(
            "Findings",
            "Known mistakes in how this pool is set up or used. Each has a page of its name in "
            "docs/findings: what is wrong, what it costs, and what to write instead.",
            {"rule": "Rule", "severity": "Severity"},
            (Column("Pools", queries.gauge("finding", by="rule, severity"), decimals=0),),
            size=(7, 8),
        ),
    )

"""The dashboard of one pool: what it does, how long it takes, and who holds its connections."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.dashboards.board import Board, Section, Variable, queries_of
from poolscope.mixin.dashboards.holders import LONG_HOLD_SECONDS, holders
from poolscope.mixin.dashboards.measures import (
    leaked_stat,
    of_live,
    percentiles,
    reused,
    timeouts_stat,
    utilization_now,
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
    PlacedPanel,
    ascending_thresholds,
    colour,
    dashed_line,
    descending_thresholds,
    heatmap,
    outline,
    own_axis,
    query,
    stat,
    timeseries,
    unstacked_line,
)
from poolscope.mixin.dashboards.processes import processes
from poolscope.mixin.queries import Queries
from poolscope.mixin.thresholds import Thresholds

QUESTION: Final = """
**What does this pool do, and who holds its connections?** From top to bottom: the callers (do they
wait, do they time out?), who holds the connections and since when, and the connections themselves.
"""

SOME_EVENTS: Final = 5
"""Up to which the axis of a count reaches, so that it has no half events."""


def board(options: Options) -> Board:
    queries = queries_of(options, 'pool="$pool"', 'kind="$kind"', one_service=True)
    thresholds = options.thresholds
    return Board(
        key="pool",
        question=QUESTION.strip(),
        variables=(
            Variable("pool", "instances", "pool", "Pool", single=True),
            Variable("kind", "instances", "kind", "Kind", single=True, matchers=('pool="$pool"',)),
        ),
        sections=(
            Section("", _numbers(queries, options)),
            Section("Holders", holders(queries, options)),
            Section("Connections", _connections(queries)),
            Section("Durations", _durations(queries, thresholds)),
            Section("Outcomes", _outcomes(queries, thresholds)),
            Section("Distributions", _distributions(queries), closed=True),
            Section("Leaks and nested acquires", _mistakes(queries), closed=True),
            Section("Processes", processes(queries, options), closed=True),
        ),
        one_service=True,
        options=options,
    )


def _numbers(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    thresholds, by_pool = options.thresholds, options.by_pool
    return (
        stat(
            "Utilization",
            "Mean share of the pool's limit that is in use. If it stays high, either the limit is "
            "too low for the traffic, or connections are held for too long.",
            "percentunit",
            query(utilization_now(queries, by_pool), "utilization"),
            thresholds=ascending_thresholds(thresholds.utilization),
            decimals=0,
        ),
        waiting_stat(
            queries,
            options,
            "Mean number of callers that wait for a connection. See below who holds the "
            "connections at the same time.",
        ),
        timeouts_stat(
            queries,
            options,
            "Share of the attempts to get a connection that timed out. Users see these as errors: "
            "shorten the holds first; raise the limit only if the server has room.",
        ),
        stat(
            "p99 to acquire",
            "Time within which 99% of the callers get a connection. Above the threshold, check "
            "whether callers queue, or whether opening connections is slow.",
            "s",
            query(of_live(queries.quantile(0.99, "acquire_seconds"), queries, by_pool), "p99"),
            thresholds=ascending_thresholds(thresholds.acquire_seconds),
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
            options,
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
                colour("in use", BLUE, fillOpacity=70),
                colour("opening", PURPLE, fillOpacity=70),
                outline("idle", LIGHT_BLUE),
                unstacked_line("in use (mean)", "white"),
                unstacked_line("in use (peak)", ORANGE),
                dashed_line("limit"),
            ),
        ),
        timeseries(
            "Callers waiting",
            "Callers that wait for a connection: the mean, computed from the seconds that they "
            "waited, and the peak, which has its own axis at the right. If callers wait all the "
            "time, connections are held for too long, or there are too few.",
            "short",
            query(queries.rate("waiting_seconds_total"), "mean"),
            query(queries.gauge("waiting_peak"), "peak"),
            size=(10, 9),
            overrides=(
                colour("mean", RED, fillOpacity=30, axisLabel="mean"),
                own_axis("peak", ORANGE),
            ),
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
    )


def _distributions(queries: Queries) -> tuple[PlacedPanel, ...]:
    return (
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
            axis_soft_max=1,
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


def _mistakes(queries: Queries) -> tuple[PlacedPanel, ...]:
    return (
        timeseries(
            "Leaks",
            "Holds that became overdue or abandoned, and overdue ones that were returned later "
            "(recovered). Overdue and recovered together are slow work; abandoned holds are bugs.",
            "short",
            query(f"round({queries.increase('leaks_total', by='reason')})", "{{reason}}"),
            query(f"round({queries.increase('leaks_recovered_total')})", "recovered"),
            size=(12, 8),
            overrides=(
                colour("overdue", ORANGE),
                colour("abandoned", RED),
                colour("recovered", GREEN),
            ),
            axis_soft_max=SOME_EVENTS,
            decimals=0,
        ),
        timeseries(
            "Nested acquires",
            "Attempts by a task or thread that already held a connection of this pool. Enough of "
            "them at the same time deadlock the pool: pass the first connection on instead.",
            "short",
            query(f"round({queries.increase('nested_acquires_total')})", "nested"),
            size=(12, 8),
            overrides=(colour("nested", RED),),
            axis_soft_max=SOME_EVENTS,
            decimals=0,
        ),
    )

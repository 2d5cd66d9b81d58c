"""The dashboard that says what is wrong now, and with which pool."""

from __future__ import annotations

from poolscope.mixin.dashboards.board import Board, Section, Variable, address, queries_of
from poolscope.mixin.dashboards.measures import reused, saturated, timed_out, utilisation
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import (
    RED,
    Column,
    Sized,
    better,
    query,
    stat,
    steps,
    table,
    timeline,
    timeseries,
    worse,
)
from poolscope.mixin.queries import Queries

QUESTION = """
**Which pool is in trouble now?** Utilisation, saturation (callers that wait) and errors (callers
that gave up) of all pools; the worst come first. A name leads to the details.
"""

BY = "pool, kind"
NAMED = "{{pool}} ({{kind}})"
LONGEST = 15
SERIOUS = 'severity=~"critical|warning"'


def board(options: Options) -> Board:
    q = queries_of(options, 'pool=~"$pool"', 'kind=~"$kind"')
    return Board(
        key="overview",
        question=QUESTION.strip(),
        variables=(
            Variable("kind", "instances", "kind", "Kind"),
            Variable("pool", "instances", "pool", "Pool", matchers=('kind=~"$kind"',)),
        ),
        sections=(
            Section("", _numbers(q, options)),
            Section("Which pools", (_saturation(q, options), _pools(q, options))),
            Section("How it came to this", _graphs(q, options)),
        ),
        options=options,
    )


def _numbers(q: Queries, options: Options) -> tuple[Sized, ...]:
    limits = options.thresholds
    return (
        stat(
            "Fullest pool",
            "The share of its connections that the fullest pool has out. Above the critical "
            "threshold the next burst has to wait: look at who holds them, in its details.",
            "percentunit",
            query(f"max({utilisation(q, BY)})", "fullest"),
            thresholds=worse(limits.utilisation),
            decimals=0,
        ),
        stat(
            "Saturated pools",
            "How many pools had no free connection for more of the time than they should. Each of "
            "them makes its callers wait; the timeline below says which and since when.",
            "short",
            query(f"count({saturated(q, BY)} > {limits.saturated[1]:g}) or vector(0)", "pools"),
            thresholds=steps("green", (1, RED)),
            decimals=0,
        ),
        stat(
            "Callers waiting",
            "How many callers wait for a connection, on average. It should be close to none; if it "
            "grows, a pool is too small or connections are held for too long.",
            "short",
            query(q.rate("waiting_seconds_total"), "waiting"),
            thresholds=worse(limits.waiting),
            decimals=1,
        ),
        stat(
            "Gave up",
            "The share of attempts that timed out before they had a connection. Users see these as "
            "errors: find the pool in the table, and who holds its connections.",
            "percentunit",
            query(timed_out(q), "timed out"),
            thresholds=worse(limits.timeouts),
            decimals=1,
        ),
        stat(
            "Leaked connections",
            "Connections that are overdue (held for longer than leak_after), or abandoned (nobody "
            "is left who could return them). The details of the pool name the function.",
            "short",
            query(q.gauge("leaked"), "leaked"),
            thresholds=worse(limits.leaked),
            decimals=0,
        ),
        stat(
            "Serious findings",
            "Known mistakes of severity critical or warning in how pools are set up or used. Each "
            "has a page in docs/findings that says what to write instead.",
            "short",
            query(f"{q.gauge('finding', SERIOUS)} or vector(0)", "findings"),
            thresholds=steps("green", (1, "orange")),
            graph=False,
            decimals=0,
        ),
    )


def _saturation(q: Queries, options: Options) -> Sized:
    return timeline(
        "Time without a free connection",
        "For each pool, the share of the time in which no connection was free. A red row was full "
        "then: compare it with deploys and with traffic, and open the details of the pool.",
        "percentunit",
        query(f"topk({LONGEST}, {saturated(q, BY)})", NAMED),
        thresholds=worse(options.thresholds.saturated),
        size=(24, 7),
    )


def _pools(q: Queries, options: Options) -> Sized:
    limits = options.thresholds
    columns = (
        Column("Utilisation", utilisation(q, BY), "percentunit", worse(limits.utilisation), 0),
        Column("In use", q.gauge("connections", 'state="in_use"', by=BY), "short", decimals=0),
        Column("Limit", q.gauge("limit", by=BY), "short", decimals=0),
        Column(
            "Waiting", q.rate("waiting_seconds_total", by=BY), "short", worse(limits.waiting), 1
        ),
        Column("Gave up", timed_out(q, BY), "percentunit", worse(limits.timeouts), 1),
        Column(
            "p99 acquire",
            q.quantile(0.99, "acquire_seconds", by=BY),
            "s",
            worse(limits.acquire_seconds),
        ),
        Column("Reused", reused(q, BY), "percentunit", better(limits.reuse), 0),
        Column("Leaked", q.gauge("leaked", by=BY), "short", worse(limits.leaked), 0),
        Column("Findings", q.gauge("finding", by=BY), "short", decimals=0),
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


def _graphs(q: Queries, options: Options) -> tuple[Sized, ...]:
    limits = options.thresholds
    return (
        timeseries(
            "Utilisation",
            "The share of connections that each pool has out: at 100% callers wait. One that only "
            "climbs leaks connections; one that follows the traffic needs a larger limit.",
            "percentunit",
            query(f"topk({LONGEST}, {utilisation(q, BY)})", NAMED),
            limits=worse(limits.utilisation),
            at_least=1,
        ),
        timeseries(
            "Callers waiting",
            "The mean number of callers that wait for each pool, from waiter-seconds, so that no "
            "burst is missed. It should be close to none at all times.",
            "short",
            query(f"topk({LONGEST}, {q.rate('waiting_seconds_total', by=BY)})", NAMED),
            at_least=1,
        ),
        timeseries(
            "Callers that gave up",
            "Attempts in a second that timed out, by pool. Each is an error that somebody has "
            "seen; the log of the service says which lines held the connections then.",
            "reqps",
            query(q.rate("acquires_total", 'outcome="timeout"', by=BY), NAMED),
            at_least=1,
        ),
        timeseries(
            "Time to get a connection (p99)",
            "What the slowest of a hundred callers waits for a connection, its opening included. "
            "If it grows while utilisation is low, opening connections is what takes long.",
            "s",
            query(f"topk({LONGEST}, {q.quantile(0.99, 'acquire_seconds', by=BY)})", NAMED),
            limits=worse(limits.acquire_seconds),
        ),
    )

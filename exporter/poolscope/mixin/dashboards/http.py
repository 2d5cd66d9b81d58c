"""The dashboard of aiohttp's pools: hosts, reuse, DNS, and the time to connect."""

from __future__ import annotations

from poolscope.mixin.dashboards.board import Board, Section, Variable, queries_of
from poolscope.mixin.dashboards.measures import reused, timed_out
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    Column,
    PlacedPanel,
    ascending_thresholds,
    colour,
    descending_thresholds,
    heatmap,
    query,
    stat,
    table,
    threshold_steps,
    timeseries,
)
from poolscope.mixin.queries import Queries, share

QUESTION = """
**Which host makes our HTTP clients wait?** Connections of aiohttp by host, how often they are
reused, and what DNS and connecting cost. Hosts are in the metrics of each service, not in those of
the exporter.
"""


def board(options: Options) -> Board:
    queries = queries_of(options, 'pool=~"$pool"', 'kind="aiohttp"')
    return Board(
        key="http",
        question=QUESTION.strip(),
        variables=(Variable("pool", "instances", "pool", "Client", matchers=('kind="aiohttp"',)),),
        sections=(
            Section("", _numbers(queries, options)),
            Section("Hosts", _hosts(queries, options)),
            Section("Connections", _connections(queries, options)),
            Section("DNS", _dns(queries)),
        ),
        options=options,
    )


def _dns_errors(queries: Queries) -> str:
    return share(
        queries.rate("dns_lookups_total", 'result="error"'),
        queries.rate("dns_lookups_total", 'result!="hit"'),
    )


def _numbers(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    thresholds = options.thresholds
    return (
        stat(
            "Connections in use",
            "How many connections are out with a request, on average. Compare it with the limit "
            "of the connector: 100 by default, for all hosts together.",
            "short",
            query(queries.rate("in_use_seconds_total"), "in use"),
            thresholds=threshold_steps("blue"),
            decimals=1,
        ),
        stat(
            "Requests waiting",
            "How many requests wait for a connection. If there is room in the pool, one host has "
            "reached its own limit: see which one below.",
            "short",
            query(queries.rate("waiting_seconds_total"), "waiting"),
            thresholds=ascending_thresholds(thresholds.waiting),
            decimals=1,
        ),
        stat(
            "Gave up",
            "The share of requests that timed out before they had a connection.",
            "percentunit",
            query(timed_out(queries), "timed out"),
            thresholds=ascending_thresholds(thresholds.timeouts),
            decimals=1,
        ),
        stat(
            "Reused",
            "The share of requests that got an open connection. If it is low, look for a session "
            "for each request, force_close, or a server that closes too soon.",
            "percentunit",
            query(reused(queries), "reused"),
            thresholds=descending_thresholds(thresholds.reuse),
            no_value="no requests",
        ),
        stat(
            "Connections that failed",
            "The share of connections that could not be opened: refused, unreachable, or TLS. The "
            "service's own log has the errors.",
            "percentunit",
            query(
                share(
                    queries.rate("opened_total", 'outcome="error"'), queries.rate("opened_total")
                ),
                "failed",
            ),
            thresholds=ascending_thresholds(thresholds.open_failures),
        ),
        stat(
            "DNS errors",
            "The share of lookups that failed; what came from the cache does not count.",
            "percentunit",
            query(_dns_errors(queries), "failed"),
            thresholds=ascending_thresholds(thresholds.open_failures),
        ),
    )


def _hosts(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    in_use = queries.gauge("host_connections", 'state="in_use"', by="host")
    waiting = queries.gauge("host_waiting", by="host")
    return (
        timeseries(
            "In use by host",
            "Connections that are out with a request, by host; the 20 busiest by name. One that "
            "takes them all is slow, or gets too many requests: give it a limit of its own.",
            "short",
            query(in_use, "{{host}}"),
            size=(9, 9),
            stacked=True,
        ),
        timeseries(
            "Waiting by host",
            "Requests that wait for a connection, by host. Those of one host alone wait for its "
            "own limit (limit_per_host), those of all for the limit of the connector.",
            "short",
            query(waiting, "{{host}}"),
            size=(7, 9),
            stacked=True,
            axis_soft_max=1,
        ),
        table(
            "Hosts, now",
            "What each host has now. Many idle ones and few in use are kept for nothing; none "
            "idle and many being opened is churn.",
            {"host": "Host"},
            (
                Column("In use", in_use, decimals=0),
                Column(
                    "Waiting", waiting, "short", ascending_thresholds(options.thresholds.waiting), 0
                ),
                Column(
                    "Idle", queries.gauge("host_connections", 'state="idle"', by="host"), decimals=0
                ),
                Column(
                    "Opening",
                    queries.gauge("host_connections", 'state="opening"', by="host"),
                    decimals=0,
                ),
            ),
            size=(8, 9),
        ),
    )


def _connections(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    return (
        timeseries(
            "Reused, by client",
            "The share of requests that got an open connection. A fall after a deploy is often a "
            "session that is made for each request.",
            "percentunit",
            query(reused(queries, "pool"), "{{pool}}"),
            size=(8, 10),
            thresholds=descending_thresholds(options.thresholds.reuse),
            axis_soft_max=1,
        ),
        timeseries(
            "Time to connect",
            "DNS, TCP and TLS of a new connection. It is paid by each request that finds no open "
            "one; if it grows, look at the resolver and at the other side.",
            "s",
            query(queries.quantile(0.5, "open_seconds"), "p50"),
            query(queries.quantile(0.99, "open_seconds"), "p99"),
            size=(8, 10),
            overrides=(colour("p50", GREEN), colour("p99", RED)),
        ),
        heatmap(
            "Requests, as a heatmap",
            "For how long connections were out: about what requests take. A second band is often "
            "one slow host.",
            "s",
            queries.buckets("hold_seconds"),
            size=(8, 10),
        ),
    )


def _dns(queries: Queries) -> tuple[PlacedPanel, ...]:
    return (
        timeseries(
            "Lookups by result",
            "Hosts resolved in a second: hit (from the cache of aiohttp), miss (asked), error. "
            "Many misses mean that use_dns_cache is off or ttl_dns_cache is short.",
            "ops",
            query(queries.rate("dns_lookups_total", by="result"), "{{result}}"),
            size=(12, 8),
            stacked=True,
            overrides=(colour("hit", GREEN), colour("miss", BLUE), colour("error", RED)),
            axis_soft_max=1,
        ),
        timeseries(
            "Time to resolve",
            "What a lookup takes that is not in the cache. It blocks the request; if it is "
            "slow, keep results for longer or ask a resolver that is close.",
            "s",
            query(queries.quantile(0.5, "dns_seconds"), "p50"),
            query(queries.quantile(0.95, "dns_seconds"), "p95"),
            query(queries.quantile(0.99, "dns_seconds"), "p99"),
            size=(12, 8),
            overrides=(colour("p50", PURPLE), colour("p95", ORANGE), colour("p99", RED)),
        ),
    )

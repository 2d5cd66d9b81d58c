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
    Sized,
    better,
    colour,
    heatmap,
    query,
    stat,
    steps,
    table,
    timeseries,
    worse,
)
from poolscope.mixin.queries import Queries, share

QUESTION = """
**Which host makes our HTTP clients wait?** Connections of aiohttp by host, how often they are
reused, and what DNS and connecting cost. Hosts are in the metrics of each service, not in those of
the exporter.
"""


def board(options: Options) -> Board:
    q = queries_of(options, 'pool=~"$pool"', 'kind="aiohttp"')
    return Board(
        key="http",
        question=QUESTION.strip(),
        variables=(Variable("pool", "instances", "pool", "Client", matchers=('kind="aiohttp"',)),),
        sections=(
            Section("", _numbers(q, options)),
            Section("Hosts", _hosts(q, options)),
            Section("Connections", _connections(q, options)),
            Section("DNS", _dns(q)),
        ),
        options=options,
    )


def _dns_errors(q: Queries) -> str:
    return share(
        q.rate("dns_lookups_total", 'result="error"'), q.rate("dns_lookups_total", 'result!="hit"')
    )


def _numbers(q: Queries, options: Options) -> tuple[Sized, ...]:
    limits = options.thresholds
    return (
        stat(
            "Connections in use",
            "How many connections are out with a request, on average. Compare it with the limit "
            "of the connector: 100 by default, for all hosts together.",
            "short",
            query(q.rate("in_use_seconds_total"), "in use"),
            thresholds=steps("blue"),
            decimals=1,
        ),
        stat(
            "Requests waiting",
            "How many requests wait for a connection. If there is room in the pool, one host has "
            "reached its own limit: see which one below.",
            "short",
            query(q.rate("waiting_seconds_total"), "waiting"),
            thresholds=worse(limits.waiting),
            decimals=1,
        ),
        stat(
            "Gave up",
            "The share of requests that timed out before they had a connection.",
            "percentunit",
            query(timed_out(q), "timed out"),
            thresholds=worse(limits.timeouts),
            decimals=1,
        ),
        stat(
            "Reused",
            "The share of requests that got an open connection. If it is low, look for a session "
            "for each request, force_close, or a server that closes too soon.",
            "percentunit",
            query(reused(q), "reused"),
            thresholds=better(limits.reuse),
            nothing="no requests",
        ),
        stat(
            "Connections that failed",
            "The share of connections that could not be opened: refused, unreachable, or TLS. The "
            "service's own log has the errors.",
            "percentunit",
            query(
                share(q.rate("opened_total", 'outcome="error"'), q.rate("opened_total")), "failed"
            ),
            thresholds=worse(limits.open_failures),
        ),
        stat(
            "DNS errors",
            "The share of lookups that failed; what came from the cache does not count.",
            "percentunit",
            query(_dns_errors(q), "failed"),
            thresholds=worse(limits.open_failures),
        ),
    )


def _hosts(q: Queries, options: Options) -> tuple[Sized, ...]:
    in_use = q.gauge("host_connections", 'state="in_use"', by="host")
    waiting = q.gauge("host_waiting", by="host")
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
            at_least=1,
        ),
        table(
            "Hosts, now",
            "What each host has now. Many idle ones and few in use are kept for nothing; none "
            "idle and many being opened is churn.",
            {"host": "Host"},
            (
                Column("In use", in_use, decimals=0),
                Column("Waiting", waiting, "short", worse(options.thresholds.waiting), 0),
                Column("Idle", q.gauge("host_connections", 'state="idle"', by="host"), decimals=0),
                Column(
                    "Opening", q.gauge("host_connections", 'state="opening"', by="host"), decimals=0
                ),
            ),
            size=(8, 9),
        ),
    )


def _connections(q: Queries, options: Options) -> tuple[Sized, ...]:
    return (
        timeseries(
            "Reused, by client",
            "The share of requests that got an open connection. A fall after a deploy is often a "
            "session that is made for each request.",
            "percentunit",
            query(reused(q, "pool"), "{{pool}}"),
            size=(8, 10),
            limits=better(options.thresholds.reuse),
            at_least=1,
        ),
        timeseries(
            "Time to connect",
            "DNS, TCP and TLS of a new connection. It is paid by each request that finds no open "
            "one; if it grows, look at the resolver and at the other side.",
            "s",
            query(q.quantile(0.5, "open_seconds"), "p50"),
            query(q.quantile(0.99, "open_seconds"), "p99"),
            size=(8, 10),
            overrides=(colour("p50", GREEN), colour("p99", RED)),
        ),
        heatmap(
            "Requests, as a heatmap",
            "For how long connections were out: about what requests take. A second band is often "
            "one slow host.",
            "s",
            q.buckets("hold_seconds"),
            size=(8, 10),
        ),
    )


def _dns(q: Queries) -> tuple[Sized, ...]:
    return (
        timeseries(
            "Lookups by result",
            "Hosts resolved in a second: hit (from the cache of aiohttp), miss (asked), error. "
            "Many misses mean that use_dns_cache is off or ttl_dns_cache is short.",
            "ops",
            query(q.rate("dns_lookups_total", by="result"), "{{result}}"),
            size=(12, 8),
            stacked=True,
            overrides=(colour("hit", GREEN), colour("miss", BLUE), colour("error", RED)),
            at_least=1,
        ),
        timeseries(
            "Time to resolve",
            "What a lookup takes that is not in the cache. It blocks the request; if it is "
            "slow, keep results for longer or ask a resolver that is close.",
            "s",
            query(q.quantile(0.5, "dns_seconds"), "p50"),
            query(q.quantile(0.95, "dns_seconds"), "p95"),
            query(q.quantile(0.99, "dns_seconds"), "p99"),
            size=(12, 8),
            overrides=(colour("p50", PURPLE), colour("p95", ORANGE), colour("p99", RED)),
        ),
    )

"""The dashboard of aiohttp's connection pools: hosts, reuse, DNS, and the time to connect."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.dashboards.board import (
    Board,
    Section,
    Variable,
    cell,
    queries_of,
    url_of,
)
from poolscope.mixin.dashboards.measures import (
    of_live,
    open_failures_stat,
    percentiles,
    reused,
    timeouts_stat,
    waiting_stat,
)
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    PlacedPanel,
    ascending_thresholds,
    colour,
    descending_thresholds,
    heatmap,
    query,
    shades,
    stat,
    threshold_steps,
    timeseries,
)
from poolscope.mixin.dashboards.tables import Column, table
from poolscope.mixin.queries import Queries, share, share_of_traffic, top

QUESTION: Final = """
**Which host makes our HTTP clients wait, or fails?** The connections of aiohttp by host, how often
they are reused, and how long DNS lookups and connecting take. The first 20 hosts of a client have
their own names, the rest are added up as "other".
"""

TOP_HOSTS: Final = 10
TOP_CLIENTS: Final = 10
FAILING_HOSTS: Final = 7
"""Of each there are two series."""


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
            Section("DNS", _dns(queries), closed=True),
        ),
        options=options,
    )


def _dns_errors(queries: Queries) -> str:
    """Return the share of the DNS lookups that failed, without those that the cache answered."""
    failed = queries.rate("dns_lookups_total", 'result="error"')
    return share_of_traffic(failed, queries.rate("dns_lookups_total", 'result!="hit"'))


def _numbers(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    thresholds, by_pool = options.thresholds, options.by_pool
    return (
        stat(
            "Connections in use",
            "Mean number of connections that serve a request. Compare it with the limit of the "
            "connector: 100 by default, for all hosts together.",
            "short",
            query(of_live(queries.rate("in_use_seconds_total"), queries, by_pool), "in use"),
            thresholds=threshold_steps("blue"),
            decimals=1,
        ),
        waiting_stat(
            queries,
            options,
            "Mean number of requests that wait for a connection. If the pool has free connections, "
            "one host has reached its own limit: see below which one.",
            "Requests waiting",
        ),
        timeouts_stat(
            queries,
            options,
            "Share of the requests that timed out before they got a connection.",
        ),
        stat(
            "Reused",
            "Share of the requests that got a connection that was already open. If it is low, look "
            "for a session for each request, force_close, or a server that closes connections "
            "early.",
            "percentunit",
            query(of_live(reused(queries), queries, by_pool), "reused"),
            thresholds=descending_thresholds(thresholds.reuse),
            not_a_number="no requests",
        ),
        open_failures_stat(
            queries,
            options,
            "Share of the connections that could not be opened: the host refused them, could not "
            "be reached, or TLS failed. The service's own log has the errors.",
        ),
        stat(
            "DNS errors",
            "Share of the DNS lookups that failed, without those that the cache answered.",
            "percentunit",
            query(of_live(_dns_errors(queries), queries, by_pool), "failed"),
            thresholds=ascending_thresholds(thresholds.open_failures),
            not_a_number="no lookups",
        ),
    )


def _hosts(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    by = ", ".join((*options.owners, "pool", "host"))
    in_use, idle, opening = (
        queries.gauge("host_connections", f'state="{state}"', by=by)
        for state in ("in_use", "idle", "opening")
    )
    waiting = queries.gauge("host_waiting", by=by)
    longest = queries.total_mean("host_waiting", by=by)
    failed = queries.rate("host_opened_total", 'outcome="error"', by=by)
    not_opened = share(failed, queries.rate("host_opened_total", by=by))
    legend = options.legend("{{pool}} {{host}}")
    keys = {**options.owner_columns, "pool": "Client", "host": "Host"}
    own = {label: cell(keys[label]) for label in (*options.owners, "pool")}
    details = url_of("pool", options, **own, kind="aiohttp")
    waits = ascending_thresholds(options.thresholds.waiting)
    failures = ascending_thresholds(options.thresholds.open_failures)
    return (
        table(
            "Hosts, now",
            "Current connections of each client to each host. Many idle ones and few in use are "
            "kept for nothing; none idle and many being opened is churn. If only those to one host "
            "fail to open, it is the host.",
            keys,
            (
                Column("Waiting", waiting, "short", waits, 0),
                Column("In use", in_use, decimals=0),
                Column("Idle", idle, decimals=0),
                Column("Opening", opening, decimals=0),
                Column("Failed to open", not_opened, "percentunit", failures),
            ),
            links=(("Client", "Details of this client", details),),
            size=(24, 8),
        ),
        timeseries(
            "In use by host",
            "Connections that serve a request, by host; only the busiest are shown. A host that "
            "takes most of them is slow or gets too many requests: give it its own limit.",
            "short",
            query(_busiest(queries, in_use, by), legend),
            size=(24, 9),
            stacked=True,
            many=True,
        ),
        timeseries(
            "Waiting by host",
            "Requests that wait for a connection, by host. If only one host has waiting requests, "
            "its own limit (limit_per_host) is reached; if all have, that of the connector is.",
            "short",
            query(top(TOP_HOSTS, longest, waiting, by), legend),
            size=(24, 9),
            stacked=True,
            many=True,
            axis_soft_max=5,
            decimals=0,
        ),
        timeseries(
            "Opened, by host and outcome",
            "Connections that were opened per second, and those that could not be, by host; of the "
            "hosts that fail most. A host that fails while others do not is down, or refuses this "
            "client; if all fail, look at the network, the resolver, or the proxy.",
            "ops",
            query(_failing(queries, by), options.legend("{{pool}} {{host}} {{outcome}}")),
            size=(24, 9),
            many=True,
            axis_soft_max=1,
            overrides=(shades("/ ok$/", GREEN), shades("/ error$/", RED)),
        ),
    )


def _failing(queries: Queries, by: str) -> str:
    rank = queries.total("host_opened_total", 'outcome="error"', by=by)
    opened = queries.rate("host_opened_total", by=f"{by}, outcome")
    return top(FAILING_HOSTS, rank, opened, by)


def _busiest(queries: Queries, in_use: str, by: str) -> str:
    rank = queries.total_mean("host_connections", 'state="in_use"', by=by)
    return top(TOP_HOSTS, rank, in_use, by)


def _connections(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    by = options.by_pool
    rank = share(
        queries.total("reused_total", by=by),
        queries.total("acquires_total", 'outcome="ok"', by=by),
    )
    by_client = top(TOP_CLIENTS, f"-1 * {rank}", reused(queries, by), by)
    return (
        timeseries(
            "Reused, by client",
            "Share of the requests that got a connection that was already open, of the clients "
            "that reuse the fewest. If it drops after a deployment, the code often creates a "
            "session for each request.",
            "percentunit",
            query(by_client, options.legend("{{pool}}")),
            size=(24, 9),
            many=True,
            thresholds=descending_thresholds(options.thresholds.reuse),
            axis_soft_max=1,
        ),
        percentiles(
            queries,
            "Time to connect",
            "Time for DNS, TCP and TLS of a new connection. Each request that finds no open "
            "connection waits for it; if it grows, look at the resolver and at the remote host.",
            "open_seconds",
            colours={50: GREEN, 99: RED},
            size=(12, 10),
        ),
        heatmap(
            "Request duration",
            "How long requests hold a connection, which is about as long as they take. A second "
            "band is often one slow host.",
            "s",
            queries.buckets("hold_seconds"),
            size=(12, 10),
        ),
    )


def _dns(queries: Queries) -> tuple[PlacedPanel, ...]:
    return (
        timeseries(
            "Lookups by result",
            "DNS lookups per second: hit (answered by aiohttp's cache), miss (sent to the "
            "resolver), error. Many misses mean that use_dns_cache is off or ttl_dns_cache is "
            "short.",
            "ops",
            query(queries.rate("dns_lookups_total", by="result"), "{{result}}"),
            size=(12, 8),
            stacked=True,
            overrides=(colour("hit", GREEN), colour("miss", BLUE), colour("error", RED)),
            axis_soft_max=1,
        ),
        percentiles(
            queries,
            "Time to resolve",
            "Duration of the lookups that the cache does not answer. The request waits for them; "
            "if they are slow, cache results for longer or use a resolver that is closer.",
            "dns_seconds",
            colours={50: PURPLE, 95: ORANGE, 99: RED},
            size=(12, 8),
        ),
    )

"""The dashboard of database servers: what pools have open, and what the servers see."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.dashboards.board import Board, Section, Variable, queries_of
from poolscope.mixin.dashboards.measures import open_failures_stat, waiting_stat
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import (
    BLUE,
    GREEN,
    GREY,
    LIGHT_BLUE,
    ORANGE,
    RED,
    Column,
    PlacedPanel,
    ascending_thresholds,
    colour,
    dashed_line,
    outline,
    query,
    stat,
    table,
    threshold_steps,
    timeseries,
)
from poolscope.mixin.queries import Queries, share

QUESTION: Final = """
**Does the database have room, and do pools and servers agree?** The connections that pools have
open compared with those that PostgreSQL and PgBouncer see, and how many connections all limits
together allow.
"""

DATABASE_KINDS: Final = 'kind=~"sqlalchemy|asyncpg"'
PGBOUNCER_CLIENT_STATES: Final = 'state=~"active|waiting"'
PGBOUNCER_SERVER_STATES: Final = 'state=~"active|idle|used|login"'
IDLE_IN_TRANSACTION: Final = "server_oldest_idle_in_transaction_seconds"


def board(options: Options) -> Board:
    pools = queries_of(options, DATABASE_KINDS)
    servers = queries_of(options, 'server=~"$server"')
    bouncers = queries_of(options)
    return Board(
        key="databases",
        question=QUESTION.strip(),
        variables=(Variable("server", "server_up", "server", "Server"),),
        sections=(
            Section(
                "",
                (*_server_numbers(pools, servers, options), *_pool_numbers(pools, options)),
            ),
            Section("PostgreSQL", (*_graphs(pools, servers), *_applications(servers, options))),
            Section("PgBouncer", _pgbouncer(bouncers, options)),
        ),
        options=options,
    )


def _of_server(options: Options, *labels: str) -> str:
    """Return the labels of a server, which may serve several services of a cluster."""
    cluster = (options.cluster,) if options.cluster else ()
    return ", ".join((*cluster, *labels, "server"))


def _cluster_column(options: Options) -> dict[str, str]:
    return {options.cluster: options.cluster.title()} if options.cluster else {}


def _accepted(servers: Queries, by: str = "") -> str:
    """Return how many connections the servers accept from ordinary users."""
    return f"({servers.gauge('server_limit', by=by)} - {servers.gauge('server_reserved', by=by)})"


def _used(servers: Queries, by: str = "") -> str:
    return servers.gauge("server_connections", by=by)


def _server_numbers(pools: Queries, servers: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    thresholds, by = options.thresholds, _of_server(options)
    fullest = share(_used(servers, by), _accepted(servers, by))
    promised = share(f"{pools.gauge('limit')} < +Inf", _accepted(servers))
    return (
        stat(
            "Servers that answer",
            "Share of the PostgreSQL servers that answered the exporter. A server that does not "
            "answer is down, has no free connection, or rejects the exporter: its log says which.",
            "percentunit",
            query(f"avg({servers.select('server_up')})", "up"),
            thresholds=threshold_steps(RED, (1, GREEN)),
            decimals=0,
        ),
        stat(
            "Fullest server",
            "Share of the connections that the server accepts from ordinary users that is in use. "
            "At 100% the next connection is refused: make pools smaller, or use a PgBouncer.",
            "percentunit",
            query(f"max({fullest})", "used"),
            thresholds=ascending_thresholds(thresholds.server_used),
            decimals=0,
        ),
        stat(
            "Commitment",
            "The limits of all database pools together, divided by what the servers accept. Above "
            "100% the servers are overcommitted: if all pools grow at once, some connections are "
            "refused.",
            "percentunit",
            query(promised, "committed"),
            thresholds=threshold_steps(GREEN, (1, ORANGE)),
            decimals=0,
        ),
        stat(
            "Idle in transaction",
            "The longest time that a connection has been idle in a transaction. It keeps its locks "
            "and prevents vacuum from removing dead rows: find the application below.",
            "s",
            query(servers.maximum(IDLE_IN_TRANSACTION), "oldest"),
            thresholds=ascending_thresholds(thresholds.idle_in_transaction_seconds),
        ),
    )


def _pool_numbers(pools: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    return (
        waiting_stat(
            pools,
            options,
            "Mean number of callers that wait for a database connection, in all selected services.",
        ),
        open_failures_stat(
            pools,
            options,
            "Share of the connections that could not be opened: the server is full or down, or "
            "the password is wrong.",
        ),
    )


def _graphs(pools: Queries, servers: Queries) -> tuple[PlacedPanel, ...]:
    open_in_pools = pools.gauge("connections", 'state=~"in_use|idle"')
    return (
        timeseries(
            "Pools and servers",
            "Connections that all pools have open, and those that the servers see. If the servers "
            "see more, some clients are not watched; if the pools have more, some connections are "
            "dead or go to a PgBouncer.",
            "short",
            query(open_in_pools, "pools"),
            query(_used(servers), "servers"),
            query(_accepted(servers), "accepted"),
            query(f"{pools.gauge('limit')} < +Inf", "limits of all pools"),
            size=(12, 9),
            overrides=(
                colour("pools", BLUE),
                colour("servers", GREEN),
                dashed_line("accepted", RED),
                dashed_line("limits of all pools", ORANGE),
            ),
        ),
        timeseries(
            "Connections by state",
            "The servers' connections by state. Many idle ones mean that pools are too large; in "
            "those that are idle in transaction, the code has not committed.",
            "short",
            query(servers.gauge("server_connections", by="state"), "{{state}}"),
            size=(12, 9),
            stacked=True,
            overrides=(
                colour("active", BLUE, fillOpacity=70),
                outline("idle", LIGHT_BLUE),
                colour("idle_in_transaction", ORANGE),
                colour("idle_in_transaction_aborted", RED),
                colour("unknown", GREY),
            ),
        ),
    )


def _applications(servers: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    by = _of_server(options, "application")
    return (
        timeseries(
            "Connections by application",
            "The servers' connections by application_name. With POOLSCOPE_APPLICATION_NAME that is "
            "service:pool, so that each pool has a series of its own.",
            "short",
            query(
                f"topk(15, {servers.gauge('server_connections', by='application')})",
                "{{application}}",
            ),
            size=(12, 9),
            stacked=True,
        ),
        table(
            "Applications, now",
            "Connections of each application, and the longest time that one of them has been idle "
            "in a transaction.",
            {**_cluster_column(options), "server": "Server", "application": "Application"},
            (
                Column("Connections", servers.gauge("server_connections", by=by), decimals=0),
                Column(
                    "Idle in trans.",
                    servers.maximum(IDLE_IN_TRANSACTION, by=by),
                    "s",
                    ascending_thresholds(options.thresholds.idle_in_transaction_seconds),
                ),
            ),
            size=(12, 9),
        ),
    )


def _pgbouncer(bouncers: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    clients = bouncers.gauge("pgbouncer_clients", PGBOUNCER_CLIENT_STATES, by="state")
    server_connections = bouncers.gauge("pgbouncer_servers", PGBOUNCER_SERVER_STATES, by="state")
    by = _of_server(options, "database", "user")
    keys = {"server": "PgBouncer", "database": "Database", "user": "User"}
    return (
        timeseries(
            "Clients of the PgBouncer",
            "Clients by state. Those that wait have no server connection: queries take long, or "
            "default_pool_size is too small.",
            "short",
            query(clients, "{{state}}"),
            query(bouncers.gauge("pgbouncer_client_limit"), "limit"),
            size=(8, 8),
            overrides=(colour("active", BLUE), colour("waiting", RED), dashed_line("limit")),
        ),
        timeseries(
            "Connections to servers",
            "Connections from the PgBouncer to its servers, by state. If all are active while "
            "clients wait, its pool is full; if many are idle, its pool is larger than needed.",
            "short",
            query(server_connections, "{{state}}"),
            size=(8, 8),
            stacked=True,
            overrides=(
                colour("active", BLUE, fillOpacity=70),
                outline("idle", LIGHT_BLUE),
                colour("used", GREY),
                colour("login", ORANGE),
            ),
        ),
        table(
            "Pools of the PgBouncer, now",
            "For each database and user: how long the oldest waiting client has waited, and the "
            "number of clients and of server connections.",
            {**_cluster_column(options), **keys},
            (
                Column(
                    "Oldest wait",
                    bouncers.maximum("pgbouncer_oldest_wait_seconds", by=by),
                    "s",
                    ascending_thresholds(options.thresholds.acquire_seconds),
                ),
                Column("Clients", bouncers.gauge("pgbouncer_clients", by=by), decimals=0),
                Column("Servers", bouncers.gauge("pgbouncer_servers", by=by), decimals=0),
            ),
            size=(8, 8),
        ),
    )

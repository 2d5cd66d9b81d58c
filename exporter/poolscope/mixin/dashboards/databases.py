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
    PlacedPanel,
    ascending_thresholds,
    colour,
    dashed_line,
    outline,
    query,
    stat,
    threshold_steps,
    timeseries,
)
from poolscope.mixin.dashboards.pgbouncers import pgbouncers
from poolscope.mixin.dashboards.servers import NO_ANSWER, Servers
from poolscope.mixin.dashboards.tables import Column, table
from poolscope.mixin.queries import Queries, top

QUESTION: Final = """
**Does the database have room, and do pools and servers agree?** The connections that pools have
open compared with those that PostgreSQL and PgBouncer see, and how many connections all limits
together allow. The numbers of servers come from an exporter with --postgres or --pgbouncer.
"""

DATABASE_KINDS: Final = 'kind=~"sqlalchemy|asyncpg"'
IDLE_IN_TRANSACTION: Final = "server_oldest_idle_in_transaction_seconds"
TOP_APPLICATIONS: Final = 10


def board(options: Options) -> Board:
    pools = queries_of(options, DATABASE_KINDS)
    all_servers = Servers(queries_of(options), options)
    servers = Servers(queries_of(options, 'server=~"$server"'), options)
    bouncers = Servers(queries_of(options, 'server=~"$pgbouncer"'), options)
    return Board(
        key="databases",
        question=QUESTION.strip(),
        variables=(
            Variable("server", "server_up", "server", "Server"),
            Variable("pgbouncer", "pgbouncer_up", "server", "PgBouncer"),
        ),
        sections=(
            Section(
                "",
                (
                    *_server_numbers(pools, servers, all_servers),
                    *_pool_numbers(pools, options),
                ),
            ),
            Section(
                "PostgreSQL",
                (_servers(servers), *_graphs(pools, servers, all_servers), *_applications(servers)),
            ),
            Section("PgBouncer", pgbouncers(bouncers)),
        ),
        options=options,
    )


def _server_numbers(
    pools: Queries, servers: Servers, all_servers: Servers
) -> tuple[PlacedPanel, ...]:
    thresholds = servers.options.thresholds
    accepted = all_servers.accepted()
    unlimited = f"max({pools.select('limit')} == +Inf)"
    promised = f"({pools.limits()} or {unlimited}) / ({accepted} > 0)"
    return (
        stat(
            "Servers that answer",
            "Share of the PostgreSQL servers that answered the exporter. A server that does not "
            "answer is down, has no free connection, or rejects the exporter: its log says which.",
            "percentunit",
            query(servers.answering("server_up"), "up"),
            thresholds=threshold_steps(RED, (1, GREEN)),
            decimals=0,
        ),
        stat(
            "Fullest server",
            "Share of the connections that the server accepts from ordinary users that is in use. "
            "At 100% the next connection is refused: make pools smaller, or use a PgBouncer.",
            "percentunit",
            query(f"topk(1, {servers.used()})", "{{server}}"),
            thresholds=ascending_thresholds(thresholds.server_used),
            decimals=0,
            named=True,
        ),
        stat(
            "Commitment",
            "The limits of all database pools together, without those that have no limit, divided "
            "by what all servers accept. Above 100% the servers are overcommitted: if all pools "
            "grow at once, some connections are refused.",
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


def _servers(servers: Servers) -> PlacedPanel:
    thresholds, by = servers.options.thresholds, servers.labels
    connections = servers.sum("server_connections", by=by)
    return table(
        "Servers, now",
        "One row for each PostgreSQL server: first those that do not answer, then the fullest. "
        "What a server accepts is max_connections without what is reserved for superusers.",
        servers.keys(server="Server"),
        (
            Column(
                "Used",
                # One that does not answer comes first.
                servers.or_no_answer(servers.used(), "server_up"),
                "percentunit",
                ascending_thresholds(thresholds.server_used),
                0,
                mappings=[NO_ANSWER],
            ),
            Column("Connections", servers.or_empty(connections, "server_up"), decimals=0),
            Column("Accepted", servers.accepted(by), decimals=0),
            Column(
                "Idle in trans.",
                servers.maximum(IDLE_IN_TRANSACTION, by=by),
                "s",
                ascending_thresholds(thresholds.idle_in_transaction_seconds),
            ),
        ),
        size=(12, 9),
    )


def _graphs(pools: Queries, servers: Servers, all_servers: Servers) -> tuple[PlacedPanel, ...]:
    open_in_pools = pools.gauge("connections", 'state=~"in_use|idle"')
    return (
        timeseries(
            "Pools and servers",
            "Connections that all pools have open, and those that all servers see. If the servers "
            "see more, some clients are not watched; if the pools have more, some connections are "
            "dead or go to a PgBouncer. Pools without a limit are not among the limits.",
            "short",
            query(open_in_pools, "pools"),
            query(all_servers.sum("server_connections"), "servers"),
            query(all_servers.accepted(), "accepted"),
            query(pools.limits(), "limits of all pools"),
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
            query(servers.sum("server_connections", by="state"), "{{state}}"),
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


def _applications(servers: Servers) -> tuple[PlacedPanel, ...]:
    by = servers.by("server", "application")
    by_application = top(
        TOP_APPLICATIONS,
        servers.total_sum("server_connections", by="application"),
        servers.sum("server_connections", by="application"),
        "application",
    )
    return (
        table(
            "Applications, now",
            "Connections of each application, and the longest time that one of them has been idle "
            "in a transaction.",
            servers.keys(server="Server", application="Application"),
            (
                Column("Connections", servers.sum("server_connections", by=by), decimals=0),
                Column(
                    "Idle in trans.",
                    servers.maximum(IDLE_IN_TRANSACTION, by=by),
                    "s",
                    ascending_thresholds(servers.options.thresholds.idle_in_transaction_seconds),
                ),
            ),
            size=(12, 9),
        ),
        timeseries(
            "Connections by application",
            "The servers' connections by application_name. With POOLSCOPE_APPLICATION_NAME that is "
            "service:pool, so that each pool has a series of its own.",
            "short",
            query(by_application, "{{application}}"),
            size=(24, 9),
            stacked=True,
            many=True,
        ),
    )

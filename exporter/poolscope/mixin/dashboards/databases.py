"""The dashboard of database servers: what clients believe beside what the server sees."""

from __future__ import annotations

from poolscope.mixin.dashboards.board import Board, Section, Variable, queries_of
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
    query,
    stat,
    table,
    threshold_steps,
    timeseries,
)
from poolscope.mixin.queries import Queries, share

QUESTION = """
**Does the database have room, and do pools and server agree?** What pools believe that they have
beside what PostgreSQL and PgBouncer see, and how much all limits together may ask for.
"""

PGBOUNCER_CLIENT_STATES = 'state=~"active|waiting"'
PGBOUNCER_SERVER_STATES = 'state=~"active|idle|used|login"'
DATABASE_KINDS = 'kind=~"sqlalchemy|asyncpg"'


def board(options: Options) -> Board:
    pools = queries_of(options, DATABASE_KINDS)
    servers = queries_of(options, 'server=~"$server"')
    bouncers = queries_of(options)
    return Board(
        key="databases",
        question=QUESTION.strip(),
        variables=(Variable("server", "server_up", "server", "Server"),),
        sections=(
            Section("", _numbers(pools, servers, options)),
            Section("PostgreSQL", _postgres(pools, servers, options)),
            Section("PgBouncer", _pgbouncer(bouncers, options)),
        ),
        options=options,
    )


def _accepted(servers: Queries, by: str = "") -> str:
    """Return how many connections ordinary users may have."""
    return f"({servers.gauge('server_limit', by=by)} - {servers.gauge('server_reserved', by=by)})"


def _used(servers: Queries, by: str = "") -> str:
    return servers.gauge("server_connections", by=by)


def _numbers(pools: Queries, servers: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    thresholds = options.thresholds
    full = share(_used(servers, "server"), _accepted(servers, "server"))
    return (
        stat(
            "Servers that answer",
            "PostgreSQL servers that the exporter asks, and that answered. If one is missing it is "
            "down, out of connections, or does not let the exporter in: the log says which.",
            "percentunit",
            query(f"avg({servers.select('server_up')})", "up"),
            thresholds=threshold_steps(RED, (1, GREEN)),
            decimals=0,
            no_value="none",
        ),
        stat(
            "Fullest server",
            "Of the connections that the server accepts from ordinary users, the share that is "
            "there. At 100% the next one gets an error: make pools smaller, or use a PgBouncer.",
            "percentunit",
            query(f"max({full})", "used"),
            thresholds=ascending_thresholds(thresholds.server_used),
            decimals=0,
            no_value="none",
        ),
        stat(
            "Promised",
            "The limits of all pools of databases together, by what the servers accept. Above "
            "100% they may ask for more than there is, when all of them grow at once.",
            "percentunit",
            query(
                share(f"{pools.gauge('limit')} < +Inf", _accepted(servers)),
                "promised",
            ),
            thresholds=threshold_steps(GREEN, (1, ORANGE)),
            decimals=0,
            no_value="none",
        ),
        stat(
            "Idle in transaction",
            "For how long a connection has done nothing inside of a transaction. It holds locks "
            "and keeps vacuum from its work: find the application below.",
            "s",
            query(servers.maximum("server_oldest_idle_in_transaction_seconds"), "oldest"),
            thresholds=ascending_thresholds(thresholds.idle_in_transaction_seconds),
        ),
        stat(
            "Callers waiting",
            "How many callers wait for a connection of a database, on average, in all services "
            "that are chosen.",
            "short",
            query(pools.rate("waiting_seconds_total"), "waiting"),
            thresholds=ascending_thresholds(thresholds.waiting),
            decimals=1,
        ),
        stat(
            "Failed to open",
            "The share of connections that could not be opened: too many clients, a wrong "
            "password, or a server that is away.",
            "percentunit",
            query(
                share(pools.rate("opened_total", 'outcome="error"'), pools.rate("opened_total")),
                "failed",
            ),
            thresholds=ascending_thresholds(thresholds.open_failures),
        ),
    )


def _postgres(pools: Queries, servers: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    believed = pools.gauge("connections", 'state=~"in_use|idle"')
    return (
        timeseries(
            "Pools beside servers",
            "What all pools believe that they have open, and what the servers see. More at the "
            "servers are clients that are not watched; more in the pools are connections that "
            "are dead, or go to a PgBouncer.",
            "short",
            query(believed, "pools"),
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
            "What the servers' connections do. Many idle ones are pools that are too large; idle "
            "in transaction are ones that somebody forgot to commit.",
            "short",
            query(servers.gauge("server_connections", by="state"), "{{state}}"),
            size=(12, 9),
            stacked=True,
            overrides=(
                colour("active", BLUE),
                colour("idle", LIGHT_BLUE),
                colour("idle_in_transaction", ORANGE),
                colour("idle_in_transaction_aborted", RED),
                colour("unknown", GREY),
            ),
        ),
        timeseries(
            "Connections by application",
            "Whose connections they are, by application_name. With POOLSCOPE_APPLICATION_NAME it "
            "is service:pool, so that each pool is found here by its name.",
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
            "Connections by application, and for how long one of them has been idle in a "
            "transaction.",
            {"server": "Server", "application": "Application"},
            (
                Column(
                    "Connections",
                    servers.gauge("server_connections", by="server, application"),
                    decimals=0,
                ),
                Column(
                    "Idle in trans.",
                    servers.maximum(
                        "server_oldest_idle_in_transaction_seconds", by="server, application"
                    ),
                    "s",
                    ascending_thresholds(options.thresholds.idle_in_transaction_seconds),
                ),
            ),
            size=(12, 9),
        ),
    )


def _pgbouncer(bouncers: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    return (
        timeseries(
            "Clients of the PgBouncer",
            "Clients by what they do. Those that wait have no server connection: queries that "
            "take long, or a default_pool_size that is too small.",
            "short",
            query(
                bouncers.gauge("pgbouncer_clients", PGBOUNCER_CLIENT_STATES, by="state"),
                "{{state}}",
            ),
            query(bouncers.gauge("pgbouncer_client_limit"), "limit"),
            size=(8, 8),
            overrides=(colour("active", BLUE), colour("waiting", RED), dashed_line("limit")),
        ),
        timeseries(
            "Connections to servers",
            "What the PgBouncer has open to its servers, by state. All active while clients wait "
            "means that the pool is full; many idle that it is larger than it need be.",
            "short",
            query(
                bouncers.gauge("pgbouncer_servers", PGBOUNCER_SERVER_STATES, by="state"),
                "{{state}}",
            ),
            size=(8, 8),
            stacked=True,
            overrides=(
                colour("active", BLUE),
                colour("idle", LIGHT_BLUE),
                colour("used", GREY),
                colour("login", ORANGE),
            ),
        ),
        table(
            "Pools of the PgBouncer, now",
            "By database and user: who waits for longest, and how many clients and connections "
            "there are.",
            {"database": "Database", "user": "User"},
            (
                Column(
                    "Oldest wait",
                    bouncers.maximum("pgbouncer_oldest_wait_seconds", by="database, user"),
                    "s",
                    ascending_thresholds(options.thresholds.acquire_seconds),
                ),
                Column(
                    "Clients", bouncers.gauge("pgbouncer_clients", by="database, user"), decimals=0
                ),
                Column(
                    "Servers", bouncers.gauge("pgbouncer_servers", by="database, user"), decimals=0
                ),
            ),
            size=(8, 8),
        ),
    )

"""The panels about PgBouncers."""

from __future__ import annotations

from typing import Final

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
from poolscope.mixin.dashboards.servers import NO_ANSWER, Servers
from poolscope.mixin.dashboards.tables import Column, table

CLIENT_STATES: Final = 'state=~"active|waiting"'
SERVER_STATES: Final = 'state=~"active|idle|used|login"'
OLDEST_WAIT: Final = "pgbouncer_oldest_wait_seconds"


def pgbouncers(bouncers: Servers) -> tuple[PlacedPanel, ...]:
    return (*_numbers(bouncers), *_graphs(bouncers), _pools(bouncers))


def _numbers(bouncers: Servers) -> tuple[PlacedPanel, ...]:
    thresholds = bouncers.options.thresholds
    return (
        stat(
            "PgBouncers that answer",
            "Share of the PgBouncers that answered the exporter. One that does not answer is down, "
            "or rejects the exporter: its log says which.",
            "percentunit",
            query(bouncers.answering("pgbouncer_up"), "up"),
            thresholds=threshold_steps(RED, (1, GREEN)),
            decimals=0,
            size=(8, 4),
        ),
        stat(
            "Fullest PgBouncer",
            "Share of the clients that the PgBouncer accepts that it has. At 100% it refuses new "
            "ones: raise max_client_conn, or make the pools of the services smaller.",
            "percentunit",
            query(f"topk(1, {bouncers.clients()})", "{{server}}"),
            thresholds=ascending_thresholds(thresholds.server_used),
            decimals=0,
            size=(8, 4),
            named=True,
        ),
        stat(
            "Oldest wait of a client",
            "The longest time that a client has been waiting for a connection to a server. The "
            "table below names its database and user.",
            "s",
            query(bouncers.maximum(OLDEST_WAIT), "oldest"),
            thresholds=ascending_thresholds(thresholds.acquire_seconds),
            size=(8, 4),
        ),
    )


def _graphs(bouncers: Servers) -> tuple[PlacedPanel, ...]:
    clients = bouncers.sum("pgbouncer_clients", CLIENT_STATES, by="state")
    return (
        timeseries(
            "Clients of the PgBouncer",
            "Clients by state. Those that wait have no server connection: queries take long, or "
            "default_pool_size is too small.",
            "short",
            query(clients, "{{state}}"),
            query(bouncers.sum("pgbouncer_client_limit"), "limit"),
            size=(12, 8),
            overrides=(colour("active", BLUE), colour("waiting", RED), dashed_line("limit")),
        ),
        timeseries(
            "Connections to servers",
            "Connections from the PgBouncer to its servers, by state. If all are active while "
            "clients wait, its pool is full; if many are idle, its pool is larger than needed.",
            "short",
            query(bouncers.sum("pgbouncer_servers", SERVER_STATES, by="state"), "{{state}}"),
            size=(12, 8),
            stacked=True,
            axis_soft_max=5,
            overrides=(
                colour("active", BLUE, fillOpacity=70),
                outline("idle", LIGHT_BLUE),
                colour("used", GREY),
                colour("login", ORANGE),
            ),
        ),
    )


def _pools(bouncers: Servers) -> PlacedPanel:
    by = bouncers.by("server", "database", "user")
    longest = bouncers.maximum(OLDEST_WAIT, by=by)
    clients = bouncers.sum("pgbouncer_clients", by=by)
    return table(
        "Pools of the PgBouncer, now",
        "For each database and user: how long the oldest waiting client has waited, and the "
        "number of clients and of server connections. First come PgBouncers that do not answer.",
        bouncers.keys(server="PgBouncer", database="Database", user="User"),
        (
            Column(
                "Oldest wait",
                bouncers.or_no_answer(longest, "pgbouncer_up"),
                "s",
                ascending_thresholds(bouncers.options.thresholds.acquire_seconds),
                mappings=[NO_ANSWER],
            ),
            Column("Clients", bouncers.or_empty(clients, "pgbouncer_up"), decimals=0),
            Column("Servers", bouncers.sum("pgbouncer_servers", by=by), decimals=0),
        ),
        size=(24, 7),
    )

"""What database servers and PgBouncers say of themselves, which the exporter asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerConnections:
    """
    Connections of a PostgreSQL server that are alike; `count` of them.

    application: as in `application_name`, or "".
    state: as in `pg_stat_activity`, with underscores: `active`, `idle`, `idle_in_transaction`, ...
    oldest_seconds: for how long the longest of them has been in that state.
    """

    database: str
    user: str
    application: str
    state: str
    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class ServerReading:
    """
    A PostgreSQL server; of one that did not answer in time, nothing but its name.

    server: `host:port`, without what the DSN has besides.
    limit: the most connections that it accepts, `max_connections`.
    reserved: of those, how many only superusers and holders of a role get.
    """

    server: str
    up: bool = False
    limit: int = 0
    reserved: int = 0
    connections: tuple[ServerConnections, ...] = ()


@dataclass(frozen=True, slots=True)
class BouncerPool:
    """
    A pool of a PgBouncer, a row of SHOW POOLS.

    clients, servers: how many connections of either side are in each state.
    oldest_wait_seconds: for how long the client that waits longest has waited; 0 if none does.
    """

    database: str
    user: str
    clients: dict[str, int]
    servers: dict[str, int]
    oldest_wait_seconds: float


@dataclass(frozen=True, slots=True)
class BouncerReading:
    """
    A PgBouncer; of one that did not answer in time, nothing but its name.

    server: `host:port`.
    client_limit, pool_size: `max_client_conn` and `default_pool_size` of SHOW CONFIG.
    clients, servers: connections in use on either side, of SHOW LISTS.
    """

    server: str
    up: bool = False
    client_limit: int = 0
    pool_size: int = 0
    clients: int = 0
    servers: int = 0
    pools: tuple[BouncerPool, ...] = ()

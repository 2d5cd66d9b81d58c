"""Database servers and PgBouncers, as one or more exporters report them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Sample = tuple[str, dict[str, str], float]
"""A gauge: its name, its labels, and its value."""


@dataclass(frozen=True)
class Server:
    """
    A PostgreSQL server.

    connections: the number of connections by application and state.
    idle_in_transaction: seconds by application.
    askers: how many exporters ask it.
    """

    name: str
    cluster: str = "eu"
    up: bool = True
    limit: int = 100
    reserved: int = 3
    connections: Mapping[tuple[str, str], int] = field(default_factory=dict)
    idle_in_transaction: Mapping[str, float] = field(default_factory=dict)
    askers: int = 1

    def gauges(self) -> Iterator[Sample]:
        own = {"server": self.name}
        yield "connpool_server_up", own, self.up
        if not self.up:
            return
        yield "connpool_server_limit", own, self.limit
        yield "connpool_server_reserved", own, self.reserved
        for (application, state), number in self.connections.items():
            more = {"database": "shop", "user": "app", "application": application, "state": state}
            yield "connpool_server_connections", own | more, number
        for application, seconds in self.idle_in_transaction.items():
            more = {"application": application}
            yield "connpool_server_oldest_idle_in_transaction_seconds", own | more, seconds


@dataclass(frozen=True)
class Bouncer:
    """
    A PgBouncer with one pool.

    clients, servers: how many, by state.
    askers: how many exporters ask it.
    """

    name: str
    cluster: str = "eu"
    up: bool = True
    limit: int = 100
    clients: Mapping[str, int] = field(default_factory=dict)
    servers: Mapping[str, int] = field(default_factory=dict)
    oldest_wait: float = 0
    askers: int = 1

    def gauges(self) -> Iterator[Sample]:
        own = {"server": self.name}
        yield "connpool_pgbouncer_up", own, self.up
        if not self.up:
            return
        pool = {**own, "database": "shop", "user": "app"}
        yield "connpool_pgbouncer_client_limit", own, self.limit
        yield "connpool_pgbouncer_pool_size", own, 20
        yield "connpool_pgbouncer_used_clients", own, sum(self.clients.values())
        yield "connpool_pgbouncer_used_servers", own, sum(self.servers.values())
        yield "connpool_pgbouncer_oldest_wait_seconds", pool, self.oldest_wait
        for name, states in (("clients", self.clients), ("servers", self.servers)):
            for state, number in states.items():
                yield f"connpool_pgbouncer_{name}", {**pool, "state": state}, number


SERVERS: tuple[Server | Bouncer, ...] = (
    Server(
        "pg-1:5432",
        connections={("shop:db", "active"): 40, ("billing:db", "idle"): 20, ("psql", "idle"): 1},
        idle_in_transaction={"billing:db": 30},
        askers=2,
    ),
    Server("pg-2:5432", limit=203, connections={("shop:db", "active"): 20}),
    Bouncer(
        "bouncer-1:6432",
        clients={"active": 60, "waiting": 30},
        servers={"active": 18, "idle": 2},
        oldest_wait=4,
        askers=2,
    ),
    Bouncer("bouncer-2:6432", limit=1000, clients={"active": 10}, servers={"idle": 5}),
)

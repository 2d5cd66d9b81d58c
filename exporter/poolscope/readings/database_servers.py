"""What the exporter reads from database servers and PgBouncers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from poolscope.label_values import label_value
from poolscope.readings.application_names import without_pid

NAMELESS: Final = "(no name)"


class _Named:
    """A reading whose strings, and those that its dictionaries are keyed by, are label values."""

    __slots__: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in self.__slots__:
            value = getattr(self, field)
            if isinstance(value, str):
                object.__setattr__(self, field, label_value(value))
            elif isinstance(value, dict):
                shown = {label_value(key): count for key, count in value.items()}
                object.__setattr__(self, field, shown)


@dataclass(frozen=True, slots=True)
class ServerConnections(_Named):
    """
    A group of `count` connections to a PostgreSQL server that have the same labels.

    application: the value of `application_name`, or "".
    state: as in `pg_stat_activity`, with underscores: `active`, `idle`, `idle_in_transaction`, ...
    oldest_seconds: how long the oldest of them has been in that state.
    """

    database: str
    user: str
    application: str
    state: str
    count: int
    oldest_seconds: float

    @property
    def service(self) -> str:
        """Its application without the process id, or words for one without a name."""
        return without_pid(self.application) or NAMELESS


@dataclass(frozen=True, slots=True)
class ServerReading(_Named):
    """
    A PostgreSQL server; only `server` is set if it did not answer in time.

    server: `host:port`, without the rest of the DSN.
    limit: the maximum number of connections that it accepts, `max_connections`.
    reserved: how many of those are for superusers and members of `pg_use_reserved_connections`.
    applications: those that have a label of their own, others share one; None if all have.
    """

    server: str
    up: bool = False
    limit: int = 0
    reserved: int = 0
    connections: tuple[ServerConnections, ...] = ()
    applications: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class BouncerPool(_Named):
    """
    A pool of a PgBouncer: a row of SHOW POOLS.

    clients, servers: the number of connections on either side, by state.
    oldest_wait_seconds: the age of the oldest waiting client; 0 if none waits.
    """

    database: str
    user: str
    clients: dict[str, int]
    servers: dict[str, int]
    oldest_wait_seconds: float


@dataclass(frozen=True, slots=True)
class BouncerReading(_Named):
    """
    A PgBouncer; only `server` is set if it did not answer in time.

    server: `host:port`.
    client_limit, pool_size: `max_client_conn` and `default_pool_size` of SHOW CONFIG.
    clients, servers: `used_clients` and `used_servers` of SHOW LISTS.
    """

    server: str
    up: bool = False
    client_limit: int = 0
    pool_size: int = 0
    clients: int = 0
    servers: int = 0
    pools: tuple[BouncerPool, ...] = ()

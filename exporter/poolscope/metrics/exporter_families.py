"""The catalogue of metric families that only the standalone exporter serves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from poolscope.fleet.fleet import FleetView
from poolscope.metrics.family import POOL_LABELS, Family, Values, gauge
from poolscope.metrics.pool_families import FAMILIES
from poolscope.readings.database_servers import (
    BouncerReading,
    ServerConnections,
    ServerReading,
)
from poolscope.readings.reading import Reading, sum_readings

IDLE_IN_TRANSACTION: Final = ("idle_in_transaction", "idle_in_transaction_aborted")

OTHER_APPLICATIONS: Final = "other"


@dataclass(frozen=True, slots=True)
class Scrape:
    """
    Everything that one scrape of the exporter shows.

    seconds: how long the scan of the fleet took.
    version: the version of the exporter.
    per_process: whether the families of single processes are served, too.
    """

    view: FleetView
    seconds: float
    version: str
    servers: tuple[ServerReading, ...] = ()
    bouncers: tuple[BouncerReading, ...] = ()
    per_process: bool = False


def _server(field: str) -> Callable[[Scrape], Values]:
    """Return a getter of one field of each PostgreSQL server that answered."""
    return lambda scrape: (
        ((server.server,), float(getattr(server, field))) for server in scrape.servers if server.up
    )


def _bouncer(field: str) -> Callable[[Scrape], Values]:
    """Return a getter of one field of each PgBouncer that answered."""
    return lambda scrape: (
        ((bouncer.server,), float(getattr(bouncer, field)))
        for bouncer in scrape.bouncers
        if bouncer.up
    )


def _application(server: ServerReading, group: ServerConnections) -> str:
    """Return the label of the application of a group of connections."""
    own = server.applications
    return group.service if own is None or group.service in own else OTHER_APPLICATIONS


def _connections(scrape: Scrape) -> Iterator[tuple[tuple[str, ...], float]]:
    for server in scrape.servers:
        sums = Counter[tuple[str, ...]]()
        for group in server.connections:
            application = _application(server, group)
            sums[server.server, group.database, group.user, application, group.state] += group.count
        yield from sorted(sums.items())


def _oldest_transactions(scrape: Scrape) -> Iterator[tuple[tuple[str, ...], float]]:
    for server in scrape.servers:
        oldest = dict[tuple[str, ...], float]()
        for group in server.connections:
            key = server.server, _application(server, group)
            age = group.oldest_seconds if group.state in IDLE_IN_TRANSACTION else 0.0
            oldest[key] = max(age, oldest.get(key, 0.0))
        yield from sorted(oldest.items())


def _sides(field: str) -> Callable[[Scrape], Values]:
    """Return a getter of the clients or servers of each pool of a PgBouncer, by state."""
    return lambda scrape: (
        ((bouncer.server, pool.database, pool.user, state), float(count))
        for bouncer in scrape.bouncers
        for pool in bouncer.pools
        for state, count in getattr(pool, field).items()
    )


def _processes(*fields: str) -> Callable[[Scrape], Values]:
    """Return a getter of gauges of each process; with several, the field's name is a label."""

    def samples(scrape: Scrape) -> Iterator[tuple[tuple[str, ...], float]]:
        pools: defaultdict[tuple[str, str, str], list[Reading]] = defaultdict(list)
        for process in scrape.view.processes if scrape.per_process else ():
            # Two containers may have processes with the same id, which then share a series.
            for pool in process.pools:
                pools[pool.pool, pool.kind, str(process.pid)].append(pool.reading)
        for key, readings in pools.items():
            reading = sum_readings(readings)
            for field in fields:
                label = (field,) if len(fields) > 1 else ()
                yield (*key, *label), getattr(reading, field)

    return samples


PROCESS_LABELS: Final = (*POOL_LABELS, "pid")

EXPORTER_FAMILIES: Final[tuple[Family[Scrape], ...]] = (
    gauge(
        "connpool_utilization_max",
        "Utilization of the pool in the process where it is highest, 0 to 1: connections in use "
        "or being opened, divided by the limit.",
        lambda scrape: scrape.view.fullest.items(),
        *POOL_LABELS,
    ),
    gauge(
        "connpool_process_connections",
        "Connections of one process by state, as in connpool_connections; only with --per-process.",
        _processes("in_use", "idle", "opening"),
        *PROCESS_LABELS,
        "state",
    ),
    gauge(
        "connpool_process_waiting",
        "Callers of one process that are waiting for a free connection; only with --per-process.",
        _processes("waiting"),
        *PROCESS_LABELS,
    ),
    gauge(
        "connpool_process_limit",
        "Maximum number of connections that can be in use at once in one process; only with "
        "--per-process.",
        _processes("limit"),
        *PROCESS_LABELS,
    ),
    gauge(
        "connpool_process_oldest_hold_seconds",
        "Age of the oldest hold of one process, in seconds; only with --per-process.",
        _processes("oldest_hold_seconds"),
        *PROCESS_LABELS,
    ),
    gauge(
        "connpool_process_leaked",
        "Connections of one process that look leaked, as in connpool_leaked; only with "
        "--per-process.",
        _processes("overdue", "abandoned"),
        *PROCESS_LABELS,
        "reason",
    ),
    gauge(
        "connpool_exporter_processes",
        "Number of processes by state: live, or gone (the process has ended; its counters stay in "
        "the sums).",
        lambda scrape: (
            (("live",), float(len(scrape.view.processes))),
            (("gone",), float(scrape.view.gone)),
        ),
        "state",
    ),
    gauge(
        "connpool_exporter_bad_segments",
        "Files in POOLSCOPE_DIR that could not be read as files of a pool and were skipped.",
        lambda scrape: (((), float(scrape.view.bad)),),
    ),
    gauge(
        "connpool_exporter_scrape_seconds",
        "Time to read the files of all processes for this scrape, in seconds.",
        lambda scrape: (((), scrape.seconds),),
    ),
    gauge(
        "connpool_exporter_build_info",
        "Version of the exporter, as a label; always 1.",
        lambda scrape: (((scrape.version,), 1.0),),
        "version",
    ),
    gauge(
        "connpool_server_up",
        "Whether the PostgreSQL server answered: 1 or 0; its other metrics exist only if it did.",
        lambda scrape: (((server.server,), float(server.up)) for server in scrape.servers),
        "server",
    ),
    gauge(
        "connpool_server_limit",
        "Maximum number of connections that the PostgreSQL server accepts: max_connections.",
        _server("limit"),
        "server",
    ),
    gauge(
        "connpool_server_reserved",
        "Connections of the limit that are reserved for superusers and for members of "
        "pg_use_reserved_connections.",
        _server("reserved"),
        "server",
    ),
    gauge(
        "connpool_server_connections",
        "Client connections that the PostgreSQL server reports. At most 100 applications have a "
        "label of their own, without the process id at the end of their name, until they are not "
        "seen for an hour; the rest share the label other.",
        _connections,
        *("server", "database", "user", "application", "state"),
    ),
    gauge(
        "connpool_server_oldest_idle_in_transaction_seconds",
        "How long the application's longest idle transaction has been idle, in seconds; 0 when no "
        "connection is idle in a transaction.",
        _oldest_transactions,
        *("server", "application"),
    ),
    gauge(
        "connpool_pgbouncer_up",
        "Whether the PgBouncer answered: 1 or 0; its other metrics exist only if it did.",
        lambda scrape: (((bouncer.server,), float(bouncer.up)) for bouncer in scrape.bouncers),
        "server",
    ),
    gauge(
        "connpool_pgbouncer_client_limit",
        "Maximum number of clients that the PgBouncer accepts: max_client_conn.",
        _bouncer("client_limit"),
        "server",
    ),
    gauge(
        "connpool_pgbouncer_pool_size",
        "Maximum number of server connections per database and user, unless a size is set for "
        "them: default_pool_size.",
        _bouncer("pool_size"),
        "server",
    ),
    gauge(
        "connpool_pgbouncer_used_clients",
        "Number of clients that are connected to the PgBouncer.",
        _bouncer("clients"),
        "server",
    ),
    gauge(
        "connpool_pgbouncer_used_servers",
        "Number of connections of the PgBouncer to its servers that are in use.",
        _bouncer("servers"),
        "server",
    ),
    gauge(
        "connpool_pgbouncer_clients",
        "Clients of a pool of the PgBouncer, by state: active (linked to a server connection, or "
        "idle), waiting (for a server connection), and states of cancel requests.",
        _sides("clients"),
        *("server", "database", "user", "state"),
    ),
    gauge(
        "connpool_pgbouncer_servers",
        "Server connections of a pool of the PgBouncer, by state: active, idle, used (to be "
        "checked before the next use), tested, login, and states of cancel requests.",
        _sides("servers"),
        *("server", "database", "user", "state"),
    ),
    gauge(
        "connpool_pgbouncer_oldest_wait_seconds",
        "Age of the oldest waiting client of the pool, in seconds; 0 when none waits.",
        lambda scrape: (
            ((bouncer.server, pool.database, pool.user), pool.oldest_wait_seconds)
            for bouncer in scrape.bouncers
            for pool in bouncer.pools
        ),
        *("server", "database", "user"),
    ),
)
"""The families about all processes of a host, and about the servers in the configuration."""

CATALOGUE: Final[tuple[Family[Any], ...]] = (*FAMILIES, *EXPORTER_FAMILIES)
"""All families: those of pools, and those of the exporter alone."""

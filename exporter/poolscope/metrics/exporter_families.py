"""The catalogue's other part: the families that only the standalone exporter has."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from poolscope.fleet.fleet import FleetView
from poolscope.metrics.family import POOL_LABELS, Family, Values, gauge
from poolscope.metrics.pool_families import FAMILIES
from poolscope.readings.database_servers import BouncerReading, ServerReading
from poolscope.readings.reading import Reading, total

IDLE_IN_TRANSACTION: Final = ("idle_in_transaction", "idle_in_transaction_aborted")

SHOWN_APPLICATIONS: Final = 100
"""Of a server, those with the most connections; the rest as other."""
OTHER_APPLICATIONS: Final = "other"
NAMELESS: Final = "(no name)"


@dataclass(frozen=True, slots=True)
class Scrape:
    """
    All that one scrape shows.

    seconds: what it took to look at the fleet.
    version: that of the exporter.
    per_process: whether to show each process by itself, too.
    """

    view: FleetView
    seconds: float
    version: str
    servers: tuple[ServerReading, ...] = ()
    bouncers: tuple[BouncerReading, ...] = ()
    per_process: bool = False


def _server(field: str) -> Callable[[Scrape], Values]:
    """Return a getter of one field of each PostgreSQL server that answers."""
    return lambda scrape: (
        ((server.server,), float(getattr(server, field))) for server in scrape.servers if server.up
    )


def _bouncer(field: str) -> Callable[[Scrape], Values]:
    return lambda scrape: (
        ((bouncer.server,), float(getattr(bouncer, field)))
        for bouncer in scrape.bouncers
        if bouncer.up
    )


def _service(application: str) -> str:
    """Return `service:pool` of `service:pool:pid`, so that a restart makes no new series."""
    name, _, pid = application.rpartition(":")
    if name and pid.isascii() and pid.isdigit():
        return name
    return application or NAMELESS


def _shown(server: ServerReading) -> set[str]:
    busy = Counter[str]()
    for found in server.connections:
        busy[_service(found.application)] += found.count
    return {application for application, _ in busy.most_common(SHOWN_APPLICATIONS)}


def _connections(scrape: Scrape) -> Iterator[tuple[tuple[str, ...], float]]:
    for server in scrape.servers:
        shown, sums = _shown(server), Counter[tuple[str, ...]]()
        for found in server.connections:
            application = _service(found.application)
            if application not in shown:
                application = OTHER_APPLICATIONS
            key = server.server, found.database, found.user, application, found.state
            sums[key] += found.count
        yield from sorted(sums.items())


def _oldest_transactions(scrape: Scrape) -> Iterator[tuple[tuple[str, ...], float]]:
    for server in scrape.servers:
        shown, oldest = _shown(server), dict[tuple[str, ...], float]()
        for found in server.connections:
            application = _service(found.application)
            key = server.server, application if application in shown else OTHER_APPLICATIONS
            age = found.oldest_seconds if found.state in IDLE_IN_TRANSACTION else 0.0
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
    """Return a getter of these gauges of each process; of several, their names are a label."""

    def samples(scrape: Scrape) -> Iterator[tuple[tuple[str, ...], float]]:
        pools: defaultdict[tuple[str, str, str], list[Reading]] = defaultdict(list)
        for process in scrape.view.processes if scrape.per_process else ():
            # Of two containers the same id may be in both: they are one series.
            for pool in process.pools:
                pools[pool.pool, pool.kind, str(process.pid)].append(pool.reading)
        for key, readings in pools.items():
            reading = total(readings)
            for field in fields:
                further = (field,) if len(fields) > 1 else ()
                yield (*key, *further), getattr(reading, field)

    return samples


PROCESS_LABELS: Final = (*POOL_LABELS, "pid")

EXPORTER_FAMILIES: Final[tuple[Family[Scrape], ...]] = (
    gauge(
        "connpool_utilization_max",
        "Of the fullest single process behind a name: which share of the connections that its "
        "pools allow is in use or being opened, 0 to 1.",
        lambda scrape: scrape.view.fullest.items(),
        *POOL_LABELS,
    ),
    gauge(
        "connpool_process_connections",
        "With --per-process: open connections of one process, as in connpool_connections.",
        _processes("in_use", "idle", "opening"),
        *PROCESS_LABELS,
        "state",
    ),
    gauge(
        "connpool_process_waiting",
        "With --per-process: callers of one process that are blocked because no slot is free.",
        _processes("waiting"),
        *PROCESS_LABELS,
    ),
    gauge(
        "connpool_process_limit",
        "With --per-process: the most connections that can be out at once in one process.",
        _processes("limit"),
        *PROCESS_LABELS,
    ),
    gauge(
        "connpool_process_oldest_hold_seconds",
        "With --per-process: for how long the connection that has been out longest is out.",
        _processes("oldest_hold_seconds"),
        *PROCESS_LABELS,
    ),
    gauge(
        "connpool_process_leaked",
        "With --per-process: connections of one process that are overdue, or abandoned.",
        _processes("overdue", "abandoned"),
        *PROCESS_LABELS,
        "reason",
    ),
    gauge(
        "connpool_exporter_processes",
        "Processes in the folder: live, and gone, whose counters are kept.",
        lambda scrape: (
            (("live",), float(len(scrape.view.processes))),
            (("gone",), float(scrape.view.gone)),
        ),
        "state",
    ),
    gauge(
        "connpool_exporter_bad_segments",
        "Files in the folder that are not what they should be, and were left out.",
        lambda scrape: (((), float(scrape.view.bad)),),
    ),
    gauge(
        "connpool_exporter_scrape_seconds",
        "What it took to read all processes, for this scrape.",
        lambda scrape: (((), scrape.seconds),),
    ),
    gauge(
        "connpool_exporter_build_info",
        "The version of the exporter; always 1.",
        lambda scrape: (((scrape.version,), 1.0),),
        "version",
    ),
    gauge(
        "connpool_server_up",
        "Whether the PostgreSQL server has answered, 1 or 0; what it said is there only then.",
        lambda scrape: (((server.server,), float(server.up)) for server in scrape.servers),
        "server",
    ),
    gauge(
        "connpool_server_limit",
        "The most connections that the PostgreSQL server accepts: max_connections.",
        _server("limit"),
        "server",
    ),
    gauge(
        "connpool_server_reserved",
        "Of the limit, how many connections only superusers and holders of a role get.",
        _server("reserved"),
        "server",
    ),
    gauge(
        "connpool_server_connections",
        "Connections of clients as the PostgreSQL server sees them; the 100 busiest applications, "
        "without the process id that their name may end in, and the rest as other.",
        _connections,
        *("server", "database", "user", "application", "state"),
    ),
    gauge(
        "connpool_server_oldest_idle_in_transaction_seconds",
        "For how long the application's connection that has been idle in a transaction longest "
        "has done nothing; 0 when none is.",
        _oldest_transactions,
        *("server", "application"),
    ),
    gauge(
        "connpool_pgbouncer_up",
        "Whether the PgBouncer has answered, 1 or 0; what it said is there only then.",
        lambda scrape: (((bouncer.server,), float(bouncer.up)) for bouncer in scrape.bouncers),
        "server",
    ),
    gauge(
        "connpool_pgbouncer_client_limit",
        "The most clients that the PgBouncer accepts: max_client_conn.",
        _bouncer("client_limit"),
        "server",
    ),
    gauge(
        "connpool_pgbouncer_pool_size",
        "Server connections for each database and user, unless they have a size of their own: "
        "default_pool_size.",
        _bouncer("pool_size"),
        "server",
    ),
    gauge(
        "connpool_pgbouncer_used_clients",
        "Clients that are connected to the PgBouncer.",
        _bouncer("clients"),
        "server",
    ),
    gauge(
        "connpool_pgbouncer_used_servers",
        "Connections of the PgBouncer to its servers.",
        _bouncer("servers"),
        "server",
    ),
    gauge(
        "connpool_pgbouncer_clients",
        "Clients of a pool of the PgBouncer, by state: active (linked to a server connection, or "
        "idle), waiting, and those that cancel.",
        _sides("clients"),
        *("server", "database", "user", "state"),
    ),
    gauge(
        "connpool_pgbouncer_servers",
        "Server connections of a pool of the PgBouncer, by state: active, idle, used (to be "
        "checked), tested, login, and those that cancel.",
        _sides("servers"),
        *("server", "database", "user", "state"),
    ),
    gauge(
        "connpool_pgbouncer_oldest_wait_seconds",
        "For how long the client of the pool that waits longest has waited; 0 when none does.",
        lambda scrape: (
            ((bouncer.server, pool.database, pool.user), pool.oldest_wait_seconds)
            for bouncer in scrape.bouncers
            for pool in bouncer.pools
        ),
        *("server", "database", "user"),
    ),
)
"""The standalone exporter: all processes of a host, and the servers that it is pointed at."""

CATALOGUE: Final[tuple[Family[Any], ...]] = (*FAMILIES, *EXPORTER_FAMILIES)
"""All families of both kinds."""

"""Alerts of servers, as the exporter sees them; several services may use one."""

from __future__ import annotations

from poolscope.mixin.alerts.expressions import Expressions, above, ratio
from poolscope.mixin.alerts.model import SERVER, Alert

EACH = ("database", "user", "application", "state")


def alerts(x: Expressions) -> tuple[Alert, ...]:
    return _overcommitted(x), _nearly_full(x), _bouncer_full(x), _idle(x), _unreachable(x)


def _accepted(x: Expressions) -> str:
    """Return how many connections a server accepts of ordinary users."""
    limit = x.largest("server_limit", by=x.servers)
    return f"({limit}\n  - {x.largest('server_reserved', by=x.servers)})"


def _overcommitted(x: Expressions) -> Alert:
    """
    The limits of the pools that a server sees, over all hosts, are more than it accepts.

    Which pools those are say the names of connections, service:pool; other names are those of no
    pool. Pools without a limit are left out: of them nobody knows.
    """
    pool = (*x.cluster, "pool")
    seen = x.select("server_connections")
    named = f'label_replace({seen}, "pool", "$1", "application", "[^:]+:(.+)")'
    of_databases = x.select("limit", 'kind!="aiohttp"')
    limits = x.sum(f"{of_databases} < Inf", pool)
    each = f"0 * {x.max(named, (*x.servers, 'pool'))}"
    promised = x.sum(f"\n  {each}\n  + on ({', '.join(pool)}) group_left () {limits}\n", x.servers)
    return Alert(
        name="ConnPoolServerOvercommitted",
        severity="warning",
        expr=f"{promised}\n> {_accepted(x)}",
        lasts=x.thresholds.ticket_after,
        summary=f"Pools may ask server {SERVER} for more than it accepts",
        description='Together, pools may open {{ printf "%.0f" $value }} connections to server '
        f"{SERVER}, which accepts fewer.",
        board="databases",
        chosen=x.servers,
    )


def _nearly_full(x: Expressions) -> Alert:
    used = x.sum(x.largest("server_connections", by=(*x.servers, *EACH)), x.servers)
    return Alert(
        name="ConnPoolServerNearlyFull",
        severity="warning",
        expr=above(ratio(used, _accepted(x)), x.thresholds.server_used[0]),
        lasts=x.thresholds.ticket_after,
        summary=f"Server {SERVER} is nearly full",
        description=f"{{{{ $value | humanizePercentage }}}} of the connections that server "
        f"{SERVER} accepts are used; it refuses what is more.",
        board="databases",
        chosen=x.servers,
    )


def _bouncer_full(x: Expressions) -> Alert:
    used = x.largest("pgbouncer_used_clients", by=x.servers)
    limit = x.largest("pgbouncer_client_limit", by=x.servers)
    return Alert(
        name="ConnPoolPgbouncerNearlyFull",
        severity="warning",
        expr=above(ratio(used, limit), x.thresholds.server_used[0]),
        lasts=x.thresholds.ticket_after,
        summary=f"PgBouncer {SERVER} is nearly full",
        description=f"{{{{ $value | humanizePercentage }}}} of the clients that PgBouncer {SERVER} "
        "accepts are connected; it refuses what is more.",
        board="databases",
        chosen=x.servers,
    )


def _idle(x: Expressions) -> Alert:
    by = (*x.servers, "application")
    oldest = x.largest("server_oldest_idle_in_transaction_seconds", by=by)
    return Alert(
        name="ConnPoolIdleInTransaction",
        severity="warning",
        expr=above(oldest, x.thresholds.idle_in_transaction_seconds[0]),
        lasts=x.thresholds.ticket_after,
        summary=f"{{{{ $labels.application }}}} leaves transactions open on server {SERVER}",
        description="A connection of {{ $labels.application }} has done nothing for "
        f"{{{{ $value | humanizeDuration }}}} inside of a transaction on server {SERVER}: its "
        "locks stay, and dead rows cannot be removed.",
        board="databases",
        chosen=x.servers,
    )


def _unreachable(x: Expressions) -> Alert:
    """What a server says is there only while it answers: then the alerts above are silent."""
    ups = (x.largest(family, by=x.servers) for family in ("server_up", "pgbouncer_up"))
    return Alert(
        name="ConnPoolServerUnreachable",
        severity="warning",
        expr="\nor\n".join(f"{up} == 0" for up in ups),
        lasts=x.thresholds.exporter_after,
        summary=f"Server {SERVER} does not answer the exporter",
        description=f"No exporter gets an answer of server {SERVER}: it is down, full, or refuses "
        "the exporter's role; the log of the exporter says which.",
        board="databases",
        chosen=x.servers,
    )

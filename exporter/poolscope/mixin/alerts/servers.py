"""Alerts of servers, as the exporter sees them; several services may use one."""

from __future__ import annotations

from poolscope.mixin.alerts.expressions import Expressions, above, ratio
from poolscope.mixin.alerts.model import SERVER, Alert

EACH = ("database", "user", "application", "state")


def alerts(promql: Expressions) -> tuple[Alert, ...]:
    return (
        _overcommitted(promql),
        _nearly_full(promql),
        _bouncer_full(promql),
        _idle(promql),
        _unreachable(promql),
    )


def _accepted(promql: Expressions) -> str:
    """Return how many connections a server accepts of ordinary users."""
    limit = promql.maximum("server_limit", by=promql.server_labels)
    return f"({limit}\n  - {promql.maximum('server_reserved', by=promql.server_labels)})"


def _overcommitted(promql: Expressions) -> Alert:
    """
    The limits of the pools that a server sees, over all hosts, are more than it accepts.

    Which pools those are say the names of connections, service:pool; other names are those of no
    pool. Pools without a limit are left out: of them nobody knows.
    """
    pool = (*promql.cluster_labels, "pool")
    seen = promql.select("server_connections")
    named = f'label_replace({seen}, "pool", "$1", "application", "[^:]+:(.+)")'
    of_databases = promql.select("limit", 'kind!="aiohttp"')
    limits = promql.sum(f"{of_databases} < Inf", pool)
    each = f"0 * {promql.max(named, (*promql.server_labels, 'pool'))}"
    promised = promql.sum(
        f"\n  {each}\n  + on ({', '.join(pool)}) group_left () {limits}\n", promql.server_labels
    )
    return Alert(
        name="ConnPoolServerOvercommitted",
        severity="warning",
        expr=f"{promised}\n> {_accepted(promql)}",
        for_duration=promql.thresholds.ticket_after,
        summary=f"Pools may ask server {SERVER} for more than it accepts",
        description='Together, pools may open {{ printf "%.0f" $value }} connections to server '
        f"{SERVER}, which accepts fewer.",
        dashboard="databases",
        dashboard_variables=promql.server_labels,
    )


def _nearly_full(promql: Expressions) -> Alert:
    used = promql.sum(
        promql.maximum("server_connections", by=(*promql.server_labels, *EACH)),
        promql.server_labels,
    )
    return Alert(
        name="ConnPoolServerNearlyFull",
        severity="warning",
        expr=above(ratio(used, _accepted(promql)), promql.thresholds.server_used[0]),
        for_duration=promql.thresholds.ticket_after,
        summary=f"Server {SERVER} is nearly full",
        description=f"{{{{ $value | humanizePercentage }}}} of the connections that server "
        f"{SERVER} accepts are used; it refuses what is more.",
        dashboard="databases",
        dashboard_variables=promql.server_labels,
    )


def _bouncer_full(promql: Expressions) -> Alert:
    used = promql.maximum("pgbouncer_used_clients", by=promql.server_labels)
    limit = promql.maximum("pgbouncer_client_limit", by=promql.server_labels)
    return Alert(
        name="ConnPoolPgbouncerNearlyFull",
        severity="warning",
        expr=above(ratio(used, limit), promql.thresholds.server_used[0]),
        for_duration=promql.thresholds.ticket_after,
        summary=f"PgBouncer {SERVER} is nearly full",
        description=f"{{{{ $value | humanizePercentage }}}} of the clients that PgBouncer {SERVER} "
        "accepts are connected; it refuses what is more.",
        dashboard="databases",
        dashboard_variables=promql.server_labels,
    )


def _idle(promql: Expressions) -> Alert:
    by = (*promql.server_labels, "application")
    oldest = promql.maximum("server_oldest_idle_in_transaction_seconds", by=by)
    return Alert(
        name="ConnPoolIdleInTransaction",
        severity="warning",
        expr=above(oldest, promql.thresholds.idle_in_transaction_seconds[0]),
        for_duration=promql.thresholds.ticket_after,
        summary=f"{{{{ $labels.application }}}} leaves transactions open on server {SERVER}",
        description="A connection of {{ $labels.application }} has done nothing for "
        f"{{{{ $value | humanizeDuration }}}} inside of a transaction on server {SERVER}: its "
        "locks stay, and dead rows cannot be removed.",
        dashboard="databases",
        dashboard_variables=promql.server_labels,
    )


def _unreachable(promql: Expressions) -> Alert:
    """What a server says is there only while it answers: then the alerts above are silent."""
    ups = (
        promql.maximum(family, by=promql.server_labels) for family in ("server_up", "pgbouncer_up")
    )
    return Alert(
        name="ConnPoolServerUnreachable",
        severity="warning",
        expr="\nor\n".join(f"{up} == 0" for up in ups),
        for_duration=promql.thresholds.exporter_after,
        summary=f"Server {SERVER} does not answer the exporter",
        description=f"No exporter gets an answer of server {SERVER}: it is down, full, or refuses "
        "the exporter's role; the log of the exporter says which.",
        dashboard="databases",
        dashboard_variables=promql.server_labels,
    )

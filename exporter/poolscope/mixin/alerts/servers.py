"""Alerts about database servers, as the exporter sees them; several services may share a server."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.expressions import Expressions, above, any_of, ratio, within
from poolscope.mixin.alerts.model import SERVER, Alert

CONNECTION_LABELS: Final = ("database", "user", "application", "state")


def alerts(promql: Expressions) -> tuple[Alert, ...]:
    return (
        _overcommitted(promql),
        _nearly_full(promql),
        _pgbouncer_nearly_full(promql),
        _idle_in_transaction(promql),
        _unreachable(promql),
    )


def _accepted(promql: Expressions) -> str:
    """Return how many connections a server accepts from ordinary users."""
    limit = promql.maximum("server_limit", by=promql.server_labels)
    return f"({limit}\n  - {promql.maximum('server_reserved', by=promql.server_labels)})"


def _promised(promql: Expressions, service: str) -> str:
    """
    Return the limits of the pools that a server sees.

    service: the label of the service; "" for pools that have none.
    """
    own = (service,) if service else ()
    pool = (*promql.cluster_labels, *own, "pool")
    seen = f"last_over_time({promql.select('server_connections')}[{promql.window}])"
    named = f'label_replace({seen}, "pool", "$1", "application", "[^:]+:(.+)")'
    chosen = ['kind!="aiohttp"']
    if service:
        named = f'label_replace({named}, "{service}", "$1", "application", "([^:]+):.+")'
    elif promql.options.service:
        chosen.append(f'{promql.options.service}=""')
    limits = promql.sum(f"{promql.select('limit', *chosen)} < Inf", pool)
    # Processes of a release that replace each other are there together only while they really are.
    limits = f"max_over_time({limits}[{promql.window}:{promql.thresholds.short_window}])"
    pools = f"0 * {promql.max(named, (*promql.server_labels, *own, 'pool'))}"
    return f"{pools}\n+ on ({', '.join(pool)}) group_left () {limits}"


def _overcommitted(promql: Expressions) -> Alert:
    """
    Return the alert that the limits of a server's pools, on all hosts, exceed what it accepts.

    A server's pools are known by the names of its connections, `service:pool`; connections with
    other names belong to no pool. Pools without a limit are left out. Pools that have no label of
    their service are known by their own names.
    """
    service = promql.options.service
    pools = _promised(promql, "")
    if service:
        pools = any_of(_promised(promql, service), pools)
    promised = within(pools, f"sum by ({', '.join(promql.server_labels)}) ")
    return Alert(
        name="ConnPoolServerOvercommitted",
        severity="warning",
        expr=f"{promised}\n> {_accepted(promql)}",
        for_duration=promql.thresholds.ticket_after,
        summary=f"Pools may open more connections than server {SERVER} accepts",
        description='Together, pools may open {{ printf "%.0f" $value }} connections to server '
        f"{SERVER}, which accepts fewer.",
        dashboard="databases",
        dashboard_variables=promql.server_labels,
    )


def _nearly_full(promql: Expressions) -> Alert:
    # Several exporters may report the same connections: they count once.
    each = promql.maximum("server_connections", by=(*promql.server_labels, *CONNECTION_LABELS))
    used = promql.sum(each, promql.server_labels)
    return Alert(
        name="ConnPoolServerNearlyFull",
        severity="warning",
        expr=above(ratio(used, _accepted(promql)), promql.thresholds.server_used[0]),
        for_duration=promql.thresholds.ticket_after,
        summary=f"Server {SERVER} is nearly full",
        description="{{ $value | humanizePercentage }} of the connections that server "
        f"{SERVER} accepts are in use; at 100% it refuses new ones.",
        dashboard="databases",
        dashboard_variables=promql.server_labels,
    )


def _pgbouncer_nearly_full(promql: Expressions) -> Alert:
    used = promql.maximum("pgbouncer_used_clients", by=promql.server_labels)
    limit = promql.maximum("pgbouncer_client_limit", by=promql.server_labels)
    return Alert(
        name="ConnPoolPgbouncerNearlyFull",
        severity="warning",
        expr=above(ratio(used, limit), promql.thresholds.server_used[0]),
        for_duration=promql.thresholds.ticket_after,
        summary=f"PgBouncer {SERVER} is nearly full",
        description=f"PgBouncer {SERVER} has {{{{ $value | humanizePercentage }}}} of the clients "
        "that it accepts; at 100% it refuses new ones.",
        dashboard="databases",
        dashboard_variables=promql.server_labels,
        variables_of={"server": ("pgbouncer",)},
    )


def _idle_in_transaction(promql: Expressions) -> Alert:
    by = (*promql.server_labels, "application")
    oldest = promql.maximum("server_oldest_idle_in_transaction_seconds", by=by)
    return Alert(
        name="ConnPoolIdleInTransaction",
        severity="warning",
        expr=above(oldest, promql.thresholds.idle_in_transaction_seconds[0]),
        for_duration=promql.thresholds.ticket_after,
        summary=f"{{{{ $labels.application }}}} leaves transactions open on server {SERVER}",
        description="A connection of {{ $labels.application }} has been idle in a transaction on "
        f"server {SERVER} for {{{{ $value | humanizeDuration }}}}: it keeps its locks, and dead "
        "rows cannot be removed.",
        dashboard="databases",
        dashboard_variables=promql.server_labels,
    )


def _unreachable(promql: Expressions) -> Alert:
    """Return the alert that a server does not answer, and so no other alert about it can fire."""
    ups = (
        promql.maximum(family, by=promql.server_labels) for family in ("server_up", "pgbouncer_up")
    )
    return Alert(
        name="ConnPoolServerUnreachable",
        severity="warning",
        expr="\nor\n".join(f"{up} == 0" for up in ups),
        for_duration=promql.thresholds.exporter_after,
        summary=f"Server {SERVER} does not answer the exporter",
        description=f"No exporter gets an answer from server {SERVER}: it is down or full, or it "
        "rejects the exporter's role; the log of the exporter says which.",
        dashboard="databases",
        dashboard_variables=promql.server_labels,
        variables_of={"server": ("server", "pgbouncer")},
    )

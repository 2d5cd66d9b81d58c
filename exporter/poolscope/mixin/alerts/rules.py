"""All rules, in groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from poolscope.mixin.alerts import (
    attempts,
    connections,
    exhaustion,
    exporter,
    leaks,
    recording,
    servers,
)
from poolscope.mixin.alerts.expressions import Expressions
from poolscope.mixin.alerts.model import Alert, Group
from poolscope.mixin.alerts.options import Options

ALERT_GROUPS: Final = {
    "poolscope-exhaustion": exhaustion.alerts,
    "poolscope-attempts": attempts.alerts,
    "poolscope-leaks": leaks.alerts,
    "poolscope-connections": connections.alerts,
    "poolscope-servers": servers.alerts,
    "poolscope-exporter": exporter.alerts,
}
"""The functions that make the alerts of each group, which Prometheus evaluates by itself."""


def recording_group(options: Options) -> Group:
    return recording.group(Expressions(options))


def alert_groups(options: Options) -> tuple[Group, ...]:
    promql = Expressions(options)
    return tuple(Group(name, _kept(make(promql), promql)) for name, make in ALERT_GROUPS.items())


def alerts(options: Options) -> tuple[Alert, ...]:
    promql = Expressions(options)
    made = (_kept(make(promql), promql) for make in ALERT_GROUPS.values())
    return tuple(alert for group in made for alert in group)


def _kept(made: Sequence[Alert], promql: Expressions) -> tuple[Alert, ...]:
    """Return the alerts, of which pages do not end, and page again, where scrapes fail for long."""
    kept = promql.thresholds.resolved_after
    return tuple(
        replace(alert, keep_firing_for=kept) if alert.severity == "critical" else alert
        for alert in made
    )

"""Alerts of the instrumentation itself, without which all others are silent."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.expressions import Expressions, above
from poolscope.mixin.alerts.model import Alert

EXPORTER_DOWN: Final = "ConnPoolExporterDown"
WATCHDOG: Final = "ConnPoolWatchdog"
COVERAGE: Final = "coverage"
NONE_LEFT: Final = "none"
SOME_LEFT: Final = "some"


def alerts(promql: Expressions) -> tuple[Alert, ...]:
    return (
        _down(promql, NONE_LEFT),
        _down(promql, SOME_LEFT),
        _absent(promql),
        _bad(promql),
        _errors(promql),
        _watchdog(),
    )


def _of_service(promql: Expressions) -> str:
    """Return the words that name the service, if it has a label."""
    service = promql.options.service
    return f"{{{{ with $labels.{service} }}}} of {{{{ . }}}}{{{{ end }}}}" if service else ""


def _target_name(promql: Expressions) -> str:
    instance = promql.options.instance
    return f"{{{{ $labels.{instance} }}}}" if instance else "{{ $labels.job }}"


def _down(promql: Expressions, left: str) -> Alert:
    """
    Prometheus cannot scrape what was an exporter a while ago.

    left: whether another exporter of the service answers; if none does, all other alerts of the
    service say nothing, and `coverage` lets Alertmanager hold them back.
    """
    scope = ", ".join(promql.scope)
    build = promql.select("exporter_build_info")
    known = promql.max(
        f"last_over_time({build}[{promql.thresholds.absence_window}])", promql.target
    )
    up = promql.max(promql.up(), promql.target)
    others = f"({up} == 1 and {known})"
    operator = "and" if left == SOME_LEFT else "unless"
    return Alert(
        name=EXPORTER_DOWN,
        severity="warning",
        expr=f"{up} == 0\nand\n{known}\n{operator} on ({scope})\n{others}",
        for_duration=promql.thresholds.exporter_after,
        labels={COVERAGE: left},
        summary=f"The exporter at {_target_name(promql)} does not answer",
        description=f"Prometheus cannot scrape the exporter{_of_service(promql)} at {_target_name(promql)}; "
        + (
            "its pools are missing in what other alerts see."
            if left == SOME_LEFT
            else "no other answers, so that alerts of pools are silent."
        ),
        dashboard_variables=promql.scope,
    )


def _absent(promql: Expressions) -> Alert:
    scope = ", ".join(promql.scope)
    family = promql.select("instances_created_total")
    then = f"count by ({scope}) (last_over_time({family}[{promql.thresholds.absence_window}]))"
    return Alert(
        name="ConnPoolMetricsAbsent",
        severity="warning",
        expr=f"{then}\nunless on ({scope})\ncount by ({scope}) ({family})",
        for_duration=promql.thresholds.absent_after,
        summary=f"There are no metrics of pools{_of_service(promql)} any more",
        description=f'{{{{ printf "%.0f" $value }}}} pools{_of_service(promql)} were seen within '
        f"{promql.thresholds.absence_window}, and none is now: nothing is scraped, or no pool is watched.",
        dashboard_variables=promql.scope,
    )


def _bad(promql: Expressions) -> Alert:
    return Alert(
        name="ConnPoolBadSegments",
        severity="warning",
        expr=above(promql.maximum("exporter_bad_segments", by=promql.target), 0),
        for_duration=promql.thresholds.ticket_after,
        summary=f"The exporter at {_target_name(promql)} cannot read all processes",
        description='{{ printf "%.0f" $value }} files in the folder of the exporter'
        f"{_of_service(promql)} at {_target_name(promql)} are damaged, foreign, or of another version; their pools are "
        "missing.",
        dashboard_variables=promql.scope,
    )


def _errors(promql: Expressions) -> Alert:
    counted = promql.thresholds.rare_event_window
    return Alert(
        name="ConnPoolInternalErrors",
        severity="warning",
        expr=above(promql.increase("internal_errors_total", by=promql.target), 0),
        summary=f"The instrumentation at {_target_name(promql)} fails",
        description=f'Within {counted}, {{{{ printf "%.0f" $value }}}} errors happened inside the '
        f"instrumentation{_of_service(promql)} at {_target_name(promql)}. The application is not affected, but its "
        "numbers may be wrong; the log of the application has the first of them.",
        dashboard_variables=promql.scope,
    )


def _watchdog() -> Alert:
    """Always there, so that whoever waits for it notices when alerts do not arrive."""
    return Alert(
        name=WATCHDOG,
        severity="info",
        expr="vector(1)",
        summary="Alerts are delivered",
        description="This alert always fires. If it does not arrive, neither do the others.",
    )

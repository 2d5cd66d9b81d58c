"""Alerts of the instrumentation itself, without which all others are silent."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.expressions import Expressions, above
from poolscope.mixin.alerts.model import Alert

DOWN: Final = "ConnPoolExporterDown"
WATCHDOG: Final = "ConnPoolWatchdog"
COVERAGE: Final = "coverage"
NONE_LEFT: Final = "none"
SOME_LEFT: Final = "some"


def alerts(x: Expressions) -> tuple[Alert, ...]:
    return _down(x, NONE_LEFT), _down(x, SOME_LEFT), _absent(x), _bad(x), _errors(x), _watchdog()


def _whose(x: Expressions) -> str:
    """Return the words that name the service, if it has a label."""
    service = x.options.service
    return f"{{{{ with $labels.{service} }}}} of {{{{ . }}}}{{{{ end }}}}" if service else ""


def _where(x: Expressions) -> str:
    instance = x.options.instance
    return f"{{{{ $labels.{instance} }}}}" if instance else "{{ $labels.job }}"


def _down(x: Expressions, left: str) -> Alert:
    """
    Prometheus cannot scrape what was an exporter a while ago.

    left: whether another exporter of the service answers; if none does, all other alerts of the
    service say nothing, and `coverage` lets Alertmanager hold them back.
    """
    scope = ", ".join(x.scope)
    build = x.select("exporter_build_info")
    known = x.max(f"last_over_time({build}[{x.thresholds.remembered}])", x.target)
    up = x.max(x.up(), x.target)
    others = f"({up} == 1 and {known})"
    operator = "and" if left == SOME_LEFT else "unless"
    return Alert(
        name=DOWN,
        severity="warning",
        expr=f"{up} == 0\nand\n{known}\n{operator} on ({scope})\n{others}",
        lasts=x.thresholds.exporter_after,
        labels={COVERAGE: left},
        summary=f"The exporter at {_where(x)} does not answer",
        description=f"Prometheus cannot scrape the exporter{_whose(x)} at {_where(x)}; "
        + (
            "its pools are missing in what other alerts see."
            if left == SOME_LEFT
            else "no other answers, so that alerts of pools are silent."
        ),
        chosen=x.scope,
    )


def _absent(x: Expressions) -> Alert:
    scope = ", ".join(x.scope)
    family = x.select("instances_created_total")
    then = f"count by ({scope}) (last_over_time({family}[{x.thresholds.remembered}]))"
    return Alert(
        name="ConnPoolMetricsAbsent",
        severity="warning",
        expr=f"{then}\nunless on ({scope})\ncount by ({scope}) ({family})",
        lasts=x.thresholds.absent_after,
        summary=f"There are no metrics of pools{_whose(x)} any more",
        description=f'{{{{ printf "%.0f" $value }}}} pools{_whose(x)} were seen within '
        f"{x.thresholds.remembered}, and none is now: nothing is scraped, or no pool is watched.",
        chosen=x.scope,
    )


def _bad(x: Expressions) -> Alert:
    return Alert(
        name="ConnPoolBadSegments",
        severity="warning",
        expr=above(x.largest("exporter_bad_segments", by=x.target), 0),
        lasts=x.thresholds.ticket_after,
        summary=f"The exporter at {_where(x)} cannot read all processes",
        description='{{ printf "%.0f" $value }} files in the folder of the exporter'
        f"{_whose(x)} at {_where(x)} are damaged, foreign, or of another version; their pools are "
        "missing.",
        chosen=x.scope,
    )


def _errors(x: Expressions) -> Alert:
    counted = x.thresholds.counted
    return Alert(
        name="ConnPoolInternalErrors",
        severity="warning",
        expr=above(x.increase("internal_errors_total", by=x.target), 0),
        summary=f"The instrumentation at {_where(x)} fails",
        description=f'Within {counted}, {{{{ printf "%.0f" $value }}}} errors happened inside the '
        f"instrumentation{_whose(x)} at {_where(x)}. The application is not affected, but its "
        "numbers may be wrong; the log of the application has the first of them.",
        chosen=x.scope,
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

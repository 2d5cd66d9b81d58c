"""Alerts about the instrumentation itself, without which no other alert can fire."""

from __future__ import annotations

from typing import Final

from poolscope.metrics.family import POOL_LABELS
from poolscope.mixin.alerts.expressions import Expressions, above, all_of, any_of, number
from poolscope.mixin.alerts.model import Alert, whose
from poolscope.mixin.alerts.texts import chosen, counted

EXPORTER_DOWN: Final = "ConnPoolExporterDown"
WATCHDOG: Final = "ConnPoolWatchdog"

COVERAGE: Final = "coverage"
"""A label of EXPORTER_DOWN: whether another exporter of the service answers."""
NONE_LEFT: Final = "none"
SOME_LEFT: Final = "some"


def alerts(promql: Expressions) -> tuple[Alert, ...]:
    return (
        _down(promql, NONE_LEFT),
        _down(promql, SOME_LEFT),
        _absent(promql),
        _no_processes(promql),
        _bad_segments(promql),
        _labels_renamed(promql),
        _internal_errors(promql),
        _watchdog(),
    )


def _target_name(promql: Expressions) -> str:
    """Return the words that name the scraped target."""
    instance = promql.options.instance
    return f"{{{{ $labels.{instance} }}}}" if instance else "{{ $labels.job }}"


def _down(promql: Expressions, left: str) -> Alert:
    """
    Return the alert that Prometheus cannot scrape a target that was an exporter a while ago.

    left: whether another exporter of the service answers. If none does, no other alert of the
        service can be trusted, and Alertmanager inhibits them by `coverage`.
    """
    target, scope = _target_name(promql), ", ".join(promql.scope)
    window = promql.thresholds.absence_window
    build = promql.select("exporter_build_info")
    known = promql.max(f"last_over_time({build}[{window}])", promql.target)
    up = promql.max(promql.up(), promql.target)
    others = f"({up} == 1 and {known})"
    operator = "and" if left == SOME_LEFT else "unless"
    consequence = (
        "other alerts do not see its pools."
        if left == SOME_LEFT
        else "no other exporter answers, so that alerts about pools cannot fire."
    )
    return Alert(
        name=EXPORTER_DOWN,
        severity="warning",
        expr=f"{up} == 0\nand\n{known}\n{operator} on ({scope})\n{others}",
        for_duration=promql.thresholds.exporter_after,
        labels={COVERAGE: left},
        summary=f"The exporter at {target} does not answer",
        description=f"Prometheus cannot scrape the exporter{whose(promql.options)} at {target}; "
        f"{consequence}",
        dashboard_variables=promql.scope,
    )


def _absent(promql: Expressions) -> Alert:
    """
    Return the alert that a service has no metrics any more.

    A service that comes and goes, such as a nightly job, has none for most of the day.
    """
    scope = ", ".join(promql.scope)
    window = promql.thresholds.absence_window
    family = promql.select("instances_created_total")
    before = f"count by ({scope}) (last_over_time({family}[{window}]))"
    return Alert(
        name="ConnPoolMetricsAbsent",
        severity="warning",
        expr=f"{before}\nunless on ({scope})\ncount by ({scope}) ({family})\n"
        f"and on ({scope})\n"
        + above(f"avg_over_time({promql.present}[1d])", promql.thresholds.alive),
        for_duration=promql.thresholds.absent_after,
        summary=f"The metrics of all pools{whose(promql.options)} are absent",
        description=f"{counted('pool')}{whose(promql.options)} had metrics within "
        f"the last {window}, and none has now: nothing is scraped, or no pool is watched.",
        dashboard_variables=promql.scope,
    )


def _no_processes(promql: Expressions) -> Alert:
    """
    Return the alert that an exporter answers, and sees no process of the service any more.

    A service that comes and goes, such as a nightly job, has no process for most of the day.
    """
    alive, day = promql.alive, f"{promql.alive}[1d]"
    usual = f"{number(promql.thresholds.alive)} * count_over_time({day})"
    return Alert(
        name="ConnPoolNoProcesses",
        severity="warning",
        expr=all_of(f"{alive} == 0", f"sum_over_time({day}) > {usual}"),
        for_duration=promql.thresholds.absent_after,
        summary=f"No process{whose(promql.options)} is left",
        description=f"The exporter{whose(promql.options)} answers, and sees no live process: the "
        "service is down, or writes its files elsewhere.",
        dashboard_variables=promql.scope,
    )


def _bad_segments(promql: Expressions) -> Alert:
    target = _target_name(promql)
    return Alert(
        name="ConnPoolBadSegments",
        severity="warning",
        expr=above(promql.maximum("exporter_bad_segments", by=promql.target), 0),
        for_duration=promql.thresholds.ticket_after,
        summary=f"The exporter at {target} cannot read the files of all processes",
        description=f"{counted('file')} in the folder of the exporter"
        f"{whose(promql.options)} at {target} {chosen('is', 'are')} damaged, foreign, or of "
        "another version; the metrics of the pools in them are missing.",
        dashboard_variables=promql.scope,
    )


def _labels_renamed(promql: Expressions) -> Alert:
    """Return the alert that labels of a target have taken the place of those of its pools."""
    window, target = promql.thresholds.window, ", ".join(promql.target)

    def renamed(label: str) -> str:
        series = promql.select("instances_created_total", f'exported_{label}!=""')
        return f"count by ({target}) (last_over_time({series}[{window}]))"

    return Alert(
        name="ConnPoolLabelsRenamed",
        severity="warning",
        expr=any_of(*(renamed(label) for label in POOL_LABELS)),
        for_duration=promql.thresholds.ticket_after,
        summary=f"The pools at {_target_name(promql)} are taken for one",
        description=f"The target {_target_name(promql)} of job {{{{ $labels.job }}}}"
        f"{whose(promql.options)} has a label pool or kind of its own, which replaces that of "
        f"{counted('pool')}: rules and dashboards add them up. Set honor_labels in the job.",
        dashboard_variables=promql.scope,
    )


def _internal_errors(promql: Expressions) -> Alert:
    target = _target_name(promql)
    return Alert(
        name="ConnPoolInternalErrors",
        severity="warning",
        expr=above(promql.increase("internal_errors_total", by=promql.target), 0),
        summary=f"The instrumentation at {target} fails",
        description=f"{counted('error')} happened inside the instrumentation"
        f"{whose(promql.options)} at {target} within {promql.thresholds.rare_event_window}. The "
        "application is not affected, but its metrics may be wrong; its log has the first error.",
        dashboard_variables=promql.scope,
    )


def _watchdog() -> Alert:
    """Return an alert that always fires: if it does not arrive, no alert is delivered."""
    return Alert(
        name=WATCHDOG,
        severity="info",
        expr="vector(1)",
        summary="Alerts are delivered",
        description="This alert always fires. If it does not arrive, no other alert does.",
    )

"""The panels that compare the processes of one pool."""

from __future__ import annotations

from poolscope.mixin.dashboards.measures import utilization
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import (
    BLUE,
    ORANGE,
    PlacedPanel,
    ascending_thresholds,
    colour,
    query,
    timeseries,
)
from poolscope.mixin.dashboards.tables import Column, table
from poolscope.mixin.queries import Queries, share


def processes(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    """Return the panels; a target that is no exporter is one process."""
    return (_fullest(queries, options), _table(queries, options))


def _fullest(queries: Queries, options: Options) -> PlacedPanel:
    by = options.instance
    in_use = queries.gauge("connections", 'state="in_use"', by=by)
    of_targets = share(in_use, f"{queries.gauge('limit', by=by)} < +Inf")
    fullest = queries.maximum("utilization_max", by=by)
    return timeseries(
        "Fullest process and all processes",
        "Utilization of the fullest process, and of all processes together. If they are far "
        "apart, the load is uneven: one process can be full while the sum looks fine.",
        "percentunit",
        query(f"max({fullest} or {of_targets})", "fullest process"),
        query(utilization(queries), "all processes"),
        size=(10, 9),
        thresholds=ascending_thresholds(options.thresholds.utilization),
        overrides=(colour("fullest process", ORANGE), colour("all processes", BLUE)),
        axis_soft_max=1,
    )


def _table(queries: Queries, options: Options) -> PlacedPanel:
    target = options.instance
    by = ", ".join(label for label in (target, "pid") if label)

    def each(own: str, whole: str) -> str:
        """Return a number of each process, or of the target if it does not tell them apart."""
        return f"{own} or {whole} unless on ({target}) {own}"

    def summed(family: str, *matchers: str) -> str:
        return each(
            queries.gauge(f"process_{family}", *matchers, by=by),
            queries.gauge(family, *matchers, by=target),
        )

    in_use, limit = summed("connections", 'state="in_use"'), summed("limit")
    oldest = each(
        queries.maximum("process_oldest_hold_seconds", by=by),
        queries.maximum("oldest_hold_seconds", by=target),
    )
    thresholds = options.thresholds
    return table(
        "Processes, now",
        "Current connections of each process, the fullest first. An exporter tells processes apart "
        "with --per-process; without it, a row is all processes that it sees. The page /pools "
        "always shows them.",
        {**({target: target.title()} if target else {}), "pid": "Process"},
        (
            Column(
                "Utilization",
                f"({in_use}) / ({limit})",
                "percentunit",
                ascending_thresholds(thresholds.utilization),
                0,
            ),
            Column("In use", in_use, decimals=0),
            Column("Limit", limit, decimals=0),
            Column(
                "Waiting", summed("waiting"), "short", ascending_thresholds(thresholds.waiting), 0
            ),
            Column("Oldest hold", oldest, "s"),
        ),
        size=(14, 9),
    )

"""The panels that say who holds the connections of a pool, and which mistakes are known."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.dashboards.board import cell
from poolscope.mixin.dashboards.operations import out_by_operation, used_by_operation
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import (
    PlacedPanel,
    ascending_thresholds,
    query,
    timeseries,
)
from poolscope.mixin.dashboards.tables import Column, table
from poolscope.mixin.queries import Queries, top

TOP_SITES: Final = 10
HALF: Final = (12, 8)
WHOLE: Final = (24, 8)
LONG_HOLD_SECONDS: Final = (30, 60)
"""Half of the default of `leak_after`, and all of it."""


def holders(queries: Queries, options: Options) -> tuple[PlacedPanel, ...]:
    """Return who holds the connections, since when, and what is known to be wrong."""
    thresholds = options.thresholds
    held = queries.gauge("site_connections", by="site")
    leaked = f"{queries.gauge('site_leaked', by='site')} and {held} > 0"
    by_site = top(
        TOP_SITES,
        queries.total("site_in_use_seconds_total", by="site"),
        queries.rate("site_in_use_seconds_total", by="site"),
        "site",
    )
    seen = queries.select("finding")
    live_page = [("Function", "Lines, tasks and processes", options.live_page)]
    pages = f"{options.docs.rstrip('/')}/findings/{cell('Rule')}.md"
    return (
        table(
            "Who holds them, now",
            "Functions that hold connections now, and for how long at most: none of a function's "
            "holds is older than the time since it last held nothing, nor than the oldest hold of "
            "the pool. The live page of the exporter, /pools, shows lines, tasks and processes.",
            {"site": "Function"},
            (
                Column("Holds", f"{held} > 0", decimals=0),
                # It has no colour: what is so at most is no blame.
                Column("Since (at most)", _age(queries, held), "s", decimals=0),
                Column("Leaked", leaked, thresholds=ascending_thresholds(thresholds.leaked)),
            ),
            links=live_page if options.live_page else (),
            size=(14, 8),
        ),
        table(
            "Findings",
            "Known mistakes in how this pool is set up or used, and for how long at least they "
            "have been seen. Each has a page of its name in docs/findings: what is wrong, what it "
            "causes, and what to write instead.",
            {"rule": "Rule", "severity": "Severity"},
            (
                Column("Pools", queries.gauge("finding", by="rule, severity"), decimals=0),
                Column(
                    "Seen for",
                    "max by (rule, severity) (time() - min_over_time("
                    f"timestamp({seen})[$__range:$__interval]) and {seen})",
                    "s",
                    decimals=0,
                ),
            ),
            links=(("Rule", "What to write instead", pages),) if options.docs else (),
            size=(10, 8),
        ),
        timeseries(
            "Connections by the function that holds them",
            "Mean number of connections that each function holds, computed from "
            "connection-seconds. Shorter holds help most in the function with the widest band.",
            "short",
            query(by_site, "{{site}}"),
            size=HALF,
            stacked=True,
            many=True,
        ),
        used_by_operation(queries, options, size=HALF),
        out_by_operation(queries, options, size=WHOLE),
    )


def _age(queries: Queries, held: str) -> str:
    """
    Return for how many seconds each function has held a connection, at most.

    A function that has never held nothing within the time range has no such moment in it, and then
    the oldest hold of the pool is what is known.
    """
    nothing = f"max_over_time(timestamp({held} == 0)[$__range:$__interval])"
    oldest = f"scalar({queries.maximum('oldest_hold_seconds')})"
    since = f"clamp_max(time() - {nothing}, {oldest}) or 0 * {held} + {oldest}"
    return f"({since}) and {held} > 0"

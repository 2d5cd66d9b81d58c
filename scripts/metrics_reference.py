"""Print the reference page of the metrics, from the catalogue; `make generate` writes it."""

from __future__ import annotations

from typing import Any

from poolscope.callsites.frames import SHOWN_SITES
from poolscope.callsites.operations import SHOWN_OPERATIONS
from poolscope.metrics.exporter_families import EXPORTER_FAMILIES
from poolscope.metrics.family import POOL_LABELS, Family
from poolscope.metrics.pool_families import FAMILIES
from poolscope.metrics.samples import samples_of
from poolscope.readings.by_label import LabelReading
from poolscope.readings.findings import Finding
from poolscope.readings.hosts import SHOWN_HOSTS, HostReading
from poolscope.readings.labels import MAX_ENDED_NAMES
from poolscope.readings.reading import Reading
from poolscope.readings.report import Info, Report

HEAD = """\
# Metrics

<!-- Written by `make generate` from the catalogue in metrics/. -->

Every family has the labels `pool` (the name given to `watch`) and `kind` (`sqlalchemy`, `asyncpg`
or `aiohttp`), unless the table says otherwise. Durations are in seconds. The numbers of pools that
share a name and a kind are added up. When a pool no longer exists, its gauges disappear, and its
counters stay in the sums.

| family | type | more labels | meaning |
|---|---|---|---|
"""

BUCKETS = """
## Buckets

Upper bounds in seconds, two or three a decade; each histogram also has the bound `+Inf`. A
histogram has no series until something has happened: a rule that needs one even then must say what
it is without, as in `... or 0 * connpool_instances`.

| family | bounds |
|---|---|
"""


EXPORTER = """
## Families of the exporter alone

`poolscope exporter` serves these, too; see [Many processes](exporter.md).

| family | type | labels | meaning |
|---|---|---|---|
"""


SERIES = """
## Series

What a limit such as `sample_limit` of Prometheus has to allow. Pools that share a name and a kind
are one pool here. In OpenMetrics, each counter and each histogram also has a sample `_created`,
which says since when it counts; Prometheus counts it as a series unless it reads start times.

| for each | series |
|---|---|
"""

NAMES = """
## Names

A label value is one line of valid UTF-8, of at most 120 characters and 200 bytes. Any string is a
name: control characters and what is not UTF-8 are escaped (`\\n`, `\\udce9`), of what is too long
both ends are kept, and a short hash (`~1f0c2a9b`) tells two such names apart.

A name whose pools have all ended keeps its counters. There are at most {ended:,} such names of
each process, and as many in the totals of the exporter; then the counters of the one that ended
first are added to the name `other`. Names with a live pool are not limited.
"""


def used(kind: str, **more: Any) -> Report:
    """Return the report of a pool that was used, with one event in each of its histograms."""
    reading = Reading(instances=1.0)
    histograms: Any = {
        field: (1.0, *value[1:])
        for field, value in reading._asdict().items()
        if isinstance(value, tuple)
    }
    info = (Info("", "", ""),)
    return Report("", kind, reading._replace(**histograms), 1, info, **more)


def unused(kind: str) -> Report:
    """Return the report of a pool without an event."""
    return Report("", kind, Reading(instances=1.0), 1, (Info("", "", ""),))


def series(report: Report, *names: str) -> int:
    """Return the number of series of a pool in these families, by default in all."""
    return sum(
        sum(1 for _ in samples_of(family, (report.pool, report.kind, *values), value))
        for family in FAMILIES
        if not names or family.name in names
        for values, value in family.samples(report)
    )


def series_rows() -> list[str]:
    """Return the rows of the table of series."""
    kinds = ("sqlalchemy", "asyncpg", "aiohttp")
    rows = [(f"pool of {kind} that was not used", series(unused(kind))) for kind in kinds]
    rows += [(f"pool of {kind}, all histograms included", series(used(kind))) for kind in kinds]
    rows += [
        (f"histogram `{family.name}` with an event", series(used("aiohttp"), family.name))
        for family in FAMILIES
        if family.buckets
    ]
    pool = series(used("aiohttp"))
    site, host = LabelReading("", 0.0, 0.0, 0.0), HostReading("", 0.0, 0.0, 0.0, 0.0)
    finding = Finding("", "", "", "info", "", ())
    rows += [
        (
            f"function that takes connections (at most {SHOWN_SITES + 1} of a pool)",
            series(used("aiohttp", sites=(site,))) - pool,
        ),
        (
            f"operation that takes connections (at most {SHOWN_OPERATIONS + 1} of a pool)",
            series(used("aiohttp", operations=(site,))) - pool,
        ),
        (
            f"host of an aiohttp pool (at most {SHOWN_HOSTS + 1})",
            series(used("aiohttp", hosts=(host,))) - pool,
        ),
        ("finding of a pool", series(used("aiohttp", findings=(finding,))) - pool),
    ]
    return [f"| {what} | {number} |\n" for what, number in rows]


def decimal(bound: float) -> str:
    """Return a bound without an exponent."""
    return f"{bound:.5f}".rstrip("0").rstrip(".")


def row(family: Family[Any]) -> str:
    """Return the row of a family that has the labels of its pool."""
    names = [f"`{label}`" for label in family.labels if label not in POOL_LABELS]
    labels = ", ".join(names) if family.labels else "none, not even `pool` and `kind`"
    return f"| `{family.name}` | {family.type} | {labels} | {family.help} |\n"


def page() -> str:
    """Return the whole page."""
    bounds = [
        f"| `{family.name}` | {', '.join(map(decimal, family.buckets))} |\n"
        for family in FAMILIES
        if family.buckets
    ]
    exporter_rows = [
        f"| `{family.name}` | {family.type} | {', '.join(f'`{label}`' for label in family.labels)} "
        f"| {family.help} |\n"
        for family in EXPORTER_FAMILIES
    ]
    families = "".join(map(row, FAMILIES))
    return "".join(
        [
            *(HEAD, families, EXPORTER, *exporter_rows, BUCKETS, *bounds),
            *(SERIES, *series_rows(), NAMES.format(ended=MAX_ENDED_NAMES)),
        ]
    )


if __name__ == "__main__":
    print(page(), end="")

"""Print the reference page of the metrics, from the catalogue; `make generate` writes it."""

from __future__ import annotations

from typing import Any

from poolscope.metrics.exporter_families import EXPORTER_FAMILIES
from poolscope.metrics.family import POOL_LABELS, Family
from poolscope.metrics.pool_families import FAMILIES

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

Upper bounds in seconds; each histogram also has the bound `+Inf`.

| family | bounds |
|---|---|
"""


EXPORTER = """
## Families of the exporter alone

`poolscope exporter` serves these, too; see [Many processes](exporter.md).

| family | type | labels | meaning |
|---|---|---|---|
"""


def row(family: Family[Any]) -> str:
    """Return the row of a family that has the labels of its pool."""
    names = [f"`{label}`" for label in family.labels if label not in POOL_LABELS]
    labels = ", ".join(names) if family.labels else "none, not even `pool` and `kind`"
    return f"| `{family.name}` | {family.type} | {labels} | {family.help} |\n"


def page() -> str:
    """Return the whole page."""
    bounds = [
        f"| `{family.name}` | {', '.join(f'{bound:g}' for bound in family.buckets)} |\n"
        for family in FAMILIES
        if family.buckets
    ]
    exporter_rows = [
        f"| `{family.name}` | {family.type} | {', '.join(f'`{label}`' for label in family.labels)} "
        f"| {family.help} |\n"
        for family in EXPORTER_FAMILIES
    ]
    families = "".join(map(row, FAMILIES))
    return "".join([HEAD, families, EXPORTER, *exporter_rows, BUCKETS, *bounds])


if __name__ == "__main__":
    print(page(), end="")

"""Print the reference page of the metrics, from the catalogue; `make generate` writes it."""

from __future__ import annotations

from poolscope.metrics import FAMILIES, POOL_LABELS, Family

HEAD = """\
# Metrics

<!-- Written by `make generate` from exporter/poolscope/metrics.py. -->

Every family has the labels `pool` (the name given to `watch`) and `kind` (`sqlalchemy`, `asyncpg`
or `aiohttp`), unless it says otherwise. Durations are in seconds. Pools that share a name and a
kind are added up. When a pool is gone its gauges go, and its counters stay in the sums.

| family | type | further labels | meaning |
|---|---|---|---|
"""

BUCKETS = """
## Buckets

Upper bounds in seconds; each histogram has `+Inf` besides.

| family | bounds |
|---|---|
"""


def row(family: Family) -> str:
    further = [f"`{label}`" for label in family.labels if label not in POOL_LABELS]
    labels = ", ".join(further) if family.labels else "no labels at all"
    return f"| `{family.name}` | {family.type} | {labels} | {family.help} |\n"


def page() -> str:
    """Return the whole page."""
    bounds = [
        f"| `{family.name}` | {', '.join(f'{bound:g}' for bound in family.buckets)} |\n"
        for family in FAMILIES
        if family.buckets
    ]
    return HEAD + "".join(map(row, FAMILIES)) + BUCKETS + "".join(bounds)


if __name__ == "__main__":
    print(page(), end="")

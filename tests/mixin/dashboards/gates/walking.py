"""Iterating over the parts of a dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Json = dict[str, Any]
"""An object in the JSON of a dashboard."""

WITHOUT_QUERIES: Final = ("row", "text")


def outer_panels(dashboard: Json) -> list[Json]:
    """Return the panels and rows that are not inside a collapsed row."""
    found: list[Json] = dashboard.get("panels", [])
    return found


def panels(dashboard: Json) -> Iterator[Json]:
    """Yield every panel and row, including those inside collapsed rows."""
    for panel in outer_panels(dashboard):
        yield panel
        if panel.get("type") == "row":
            yield from panel.get("panels", [])


def with_queries(dashboard: Json) -> Iterator[Json]:
    return (panel for panel in panels(dashboard) if panel.get("type") not in WITHOUT_QUERIES)


def targets(panel: Json) -> list[Json]:
    found: list[Json] = panel.get("targets", [])
    return found


def variables(dashboard: Json) -> list[Json]:
    found: list[Json] = dashboard.get("templating", {}).get("list", [])
    return found


def asked_annotations(dashboard: Json) -> list[Json]:
    """Return the annotations that have a query; Grafana's built-in one has none."""
    found: list[Json] = dashboard.get("annotations", {}).get("list", [])
    return [annotation for annotation in found if not annotation.get("builtIn")]


def name(panel: Json) -> str:
    """Return the name of a panel in reports of problems."""
    return f"panel {panel.get('title') or panel.get('id', '?')!r}"


def strings(value: object) -> Iterator[str]:
    """Yield every string in a value, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)

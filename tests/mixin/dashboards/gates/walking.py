"""The parts of a dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Json = dict[str, Any]
"""An object of a dashboard's JSON."""

WITHOUT_QUERIES: Final = ("row", "text")


def outer_panels(dashboard: Json) -> list[Json]:
    """Return the panels and rows that are not inside of a collapsed row."""
    found: list[Json] = dashboard.get("panels", [])
    return found


def panels(dashboard: Json) -> Iterator[Json]:
    """Yield every panel and row, those inside of collapsed rows included."""
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
    """Return the annotations with a query of ours; Grafana's own one has none."""
    found: list[Json] = dashboard.get("annotations", {}).get("list", [])
    return [annotation for annotation in found if not annotation.get("builtIn")]


def name(panel: Json) -> str:
    """Return what problems call a panel."""
    return f"panel {panel.get('title') or panel.get('id', '?')!r}"


def strings(value: object) -> Iterator[str]:
    """Yield every string inside of a value, wherever."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)

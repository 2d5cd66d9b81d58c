"""A small dashboard that passes all checks, and functions that break one thing in it."""

from __future__ import annotations

import copy
from typing import Any, Final

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

IN_USE: Final = 'sum by (pool) (connpool_connections{pool=~"$pool", state="in_use"})'
ACQUIRES: Final = 'sum by (pool) (rate(connpool_acquires_total{pool=~"$pool"}[$__rate_interval]))'
SLOWEST: Final = (
    "histogram_quantile(0.99, sum by (le, pool) "
    '(rate(connpool_acquire_seconds_bucket{pool=~"$pool"}[$__rate_interval])))'
)


def panel(number: int, title: str, x: int, unit: str, *queries: str) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "description": "What each pool does, in connections or seconds.",
        "datasource": SOURCE,
        "gridPos": {"h": 8, "w": 8, "x": x, "y": 1},
        "fieldConfig": {"defaults": {"unit": unit, "custom": {"lineWidth": 1}}, "overrides": []},
        "options": {"legend": {"calcs": [], "placement": "bottom", "showLegend": True}},
        "targets": [
            {"refId": ref, "datasource": SOURCE, "expr": query, "legendFormat": "{{pool}}"}
            for ref, query in zip("AB", queries, strict=False)
        ],
    }


GOOD: Final[dict[str, Any]] = {
    "uid": "poolscope-good",
    "title": "Good",
    "schemaVersion": 39,
    "editable": False,
    "timezone": "browser",
    "refresh": "30s",
    "time": {"from": "now-1h", "to": "now"},
    "tags": ["poolscope"],
    "annotations": {
        "list": [
            {
                "name": "New pools",
                "datasource": SOURCE,
                "enable": True,
                "iconColor": "blue",
                "expr": "sum(increase(connpool_instances_created_total[$__rate_interval])) > 0",
            }
        ]
    },
    "links": [
        {
            "title": "Others",
            "type": "dashboards",
            "tags": ["poolscope"],
            "icon": "external link",
            "url": "",
            "tooltip": "",
            "asDropdown": True,
            "targetBlank": False,
            "keepTime": True,
            "includeVars": True,
        }
    ],
    "templating": {
        "list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus"},
            {
                "name": "pool",
                "type": "query",
                "datasource": SOURCE,
                "query": "label_values(connpool_instances, pool)",
                "refresh": 2,
                "multi": True,
                "includeAll": True,
            },
        ]
    },
    "panels": [
        {
            "id": 1,
            "type": "row",
            "title": "Pools",
            "collapsed": False,
            "panels": [],
            "gridPos": {"h": 1, "w": 24, "x": 0, "y": 0},
        },
        panel(2, "In use", 0, "short", IN_USE),
        panel(3, "Acquires", 8, "ops", ACQUIRES),
        panel(4, "Slowest", 16, "s", SLOWEST),
    ],
}

ROW: Final[dict[str, Any]] = {
    "id": 5,
    "type": "row",
    "title": "More",
    "collapsed": True,
    "gridPos": {"h": 1, "w": 24, "x": 0, "y": 9},
    "panels": [panel(6, "One", 0, "s", IN_USE), panel(7, "Other", 7, "s", IN_USE)],
}
"""A collapsed row with two panels that overlap."""

REMOVED: Final = object()


def broken(path: str, value: object) -> dict[str, Any]:
    """Return the good dashboard with one value changed or removed."""
    dashboard = copy.deepcopy(GOOD)
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    inner: Any = dashboard
    for step in steps:
        inner = inner[step]
    if value is REMOVED:
        del inner[last]
    elif isinstance(inner, list) and last == len(inner):
        inner.append(value)
    else:
        inner[last] = value
    return dashboard


def asking(query: str, legend: str = "{{pool}}") -> dict[str, Any]:
    """Return the good dashboard with one query changed."""
    dashboard = broken("panels.1.targets.0.expr", query)
    dashboard["panels"][1]["targets"][0]["legendFormat"] = legend
    return dashboard

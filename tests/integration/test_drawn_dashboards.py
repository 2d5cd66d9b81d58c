"""Drawing a dashboard finds its faults; test_live_dashboards.py draws our own dashboards."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mixin.dashboards.gates.fixtures import prometheus, prometheus_program
from mixin.dashboards.gates.walking import Json, outer_panels, variables
from support.drawing import Draw, draw
from support.ports import closed_port
from support.prometheus import PrometheusServer

__all__ = ["draw", "prometheus", "prometheus_program"]

OVERVIEW = Path(__file__).parents[2] / "dashboards" / "overview.json"


def dashboard(queries: Mapping[str, str], **more: Any) -> Json:
    """Return the overview with other panels: title and query; `more` is added to the last one."""
    whole: Json = json.loads(OVERVIEW.read_text())
    panels = {panel.get("title"): panel for panel in outer_panels(whole)}
    whole["panels"] = [
        {
            **panels["Utilization"],
            "title": title,
            "gridPos": {"x": 0, "y": 8 * number, "w": 24, "h": 8},
            "targets": [{**panels["Utilization"]["targets"][0], "expr": query}],
        }
        for number, (title, query) in enumerate(queries.items())
    ]
    whole["panels"][-1] |= more
    # The other variables need series, and there are none.
    whole["templating"] = {"list": [v for v in variables(whole) if v["type"] == "datasource"]}
    return whole


@pytest.fixture(scope="module")
def url(prometheus: Callable[..., PrometheusServer]) -> str:
    """The URL of a Prometheus that has no series."""
    return prometheus().url


def test_panels_that_fail_or_show_nothing_are_reported(draw: Draw, url: str) -> None:
    queries = {
        "Good": "vector(1)",
        "Wrong": "sum by (pool",
        "Gone": "connpool_gone",
        "Odd": "vector(NaN)",
    }
    drawn = draw("broken", dashboard(queries), url)
    assert (1, True) == (drawn.status, drawn.picture.exists())
    assert [
        "panel 'Wrong': query A: 1:13: parse error: unclosed left parenthesis",
        "    A: sum by (pool",
        "panel 'Gone': no data",
        "    A: connpool_gone",
        "panel 'Odd': only NaN",
        "    A: vector(NaN)",
    ] == drawn.problems


def test_an_allowed_problem_is_no_failure(draw: Draw, url: str) -> None:
    gone = dashboard({"Gone": "connpool_gone"})
    assert (0, []) == _result(draw("allowed", gone, url, allowed=["panel 'Gone': no data"]))


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        # The title takes the whole height.
        ({"gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}}, "nothing is drawn"),
        ({"repeat": "pool"}, "not drawn here: option repeat"),
    ],
    ids=["too flat", "repeated"],
)
def test_a_panel_that_has_data_but_is_not_drawn_is_reported(
    draw: Draw, url: str, more: Any, problem: str
) -> None:
    status, problems = _result(draw("not-drawn", dashboard({"Full": "vector(1)"}, **more), url))
    assert (1, f"panel 'Full': {problem}") == (status, problems[0])


def test_without_a_prometheus_nothing_is_drawn(draw: Draw) -> None:
    nowhere = f"127.0.0.1:{closed_port()}"
    drawn = draw("no-server", dashboard({"Full": "vector(1)"}), f"http://{nowhere}")
    assert (2, False) == (drawn.status, drawn.picture.exists())
    assert f"Cannot connect to host {nowhere}" in drawn.problems[0]


def _result(drawn: Any) -> tuple[int, list[str]]:
    return drawn.status, drawn.problems

"""Every panel shows data of real demo workers, a real exporter and a real Prometheus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mixin.dashboards.gates import live
from mixin.dashboards.gates.fixtures import prometheus, prometheus_program
from mixin.dashboards.gates.walking import outer_panels, panels
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.write import documents
from support.drawing import Draw, draw
from support.live_demo import live_demo
from support.prometheus import PrometheusServer

__all__ = ["draw", "prometheus", "prometheus_program"]

COMMITTED = Path(__file__).parents[2] / "dashboards"

# Panels that may show nothing, and why.
ALLOWED_EMPTY = {
    "panel 'DNS errors': no data": "every host of the demo has an address",
    "panel 'DNS errors': only NaN": "as before",
    "panel 'Time to resolve': only NaN": "the demo reuses its connections, so no name is resolved",
}

# A company may have other names for these labels, which its Prometheus sets by relabelling.
RELABELLED: list[dict[str, Any]] = [
    {"source_labels": ["cluster"], "target_label": "region"},
    {"source_labels": ["service"], "target_label": "app"},
    {"regex": "cluster|service", "action": "labeldrop"},
]
OWN = Options(cluster="region", service="app")
# Seconds between scrapes, by which a rate covers four times as long. On a busy machine, scrapes
# may be late.
INTERVAL = 5
LABELS = {"cluster": "eu-1", "service": "shop"}


@pytest.fixture(scope="module")
def server(
    postgres: Any,
    prometheus: Callable[..., PrometheusServer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[PrometheusServer]:
    folder = tmp_path_factory.mktemp("demo")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)  # PgBouncer runs as another user
    with live_demo(folder, postgres, lambda jobs: prometheus(*jobs), RELABELLED, LABELS) as running:
        server, _ = running
        # The load has a period of 20 seconds, with a burst for each pool.
        server.wait_for(
            "count(rate(connpool_acquires_total{outcome='timeout'}[20s]) > 0) == 4", 120
        )
        yield server


@pytest.mark.parametrize("name", documents(OWN))
def test_every_panel_has_data(server: PrometheusServer, name: str) -> None:
    chosen = {"region": "eu-1", "app": "shop", "pool": "billing", "kind": "sqlalchemy"}
    if name != "pool.json":
        chosen |= {"pool": "All", "kind": "All"}
    empty = live.empty_panels(documents(OWN)[name], server, chosen, INTERVAL)
    assert [] == [problem for problem in empty if problem not in ALLOWED_EMPTY]


def test_another_region_has_no_data(server: PrometheusServer) -> None:
    chosen = {"region": "us-1", "app": "shop"}
    empty = live.empty_panels(documents(OWN)["overview.json"], server, chosen, INTERVAL)
    assert "panel 'Utilization': no data" in empty


def test_without_the_default_labels_the_overview_shows_all_pools(
    server: PrometheusServer,
) -> None:
    # These series have no label `cluster` or `service`.
    empty = live.empty_panels(documents(Options())["overview.json"], server, {}, INTERVAL)
    assert [] == empty


def lines(panels: list[Any]) -> int:
    """Return the last line of the grid that panels reach."""
    return max(int(panel["gridPos"]["y"] + panel["gridPos"]["h"]) for panel in panels)


@pytest.mark.parametrize("name", [path.stem for path in sorted(COMMITTED.glob("*.json"))])
def test_every_panel_is_drawn(server: PrometheusServer, draw: Draw, name: str) -> None:
    dashboard = json.loads((COMMITTED / f"{name}.json").read_text())
    chosen = {"pool": "billing", "kind": "sqlalchemy"} if name == "pool" else {}
    drawn = draw(name, dashboard, server.url, chosen, allowed=ALLOWED_EMPTY)
    assert (0, []) == (drawn.status, drawn.problems)
    assert sum(panel["type"] != "row" for panel in panels(dashboard)) == len(drawn.panels)
    # The width is the requested one, the height that of Grafana's grid and of the header above it,
    # and an empty picture would have a smaller file. It has the panels of closed rows, too.
    rows = lines(outer_panels(dashboard)) + sum(
        lines(row["panels"]) - row["gridPos"]["y"] - 1
        for row in outer_panels(dashboard)
        if row.get("collapsed")
    )
    width, height = drawn.size()
    assert 1600 == width
    assert 38 * rows < height < 38 * rows + 200
    assert drawn.picture.stat().st_size > 100_000

"""Every panel shows something: real demo workers, a real exporter, a real Prometheus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mixin.dashboards.gates import live
from mixin.dashboards.gates.fixtures import prometheus, prometheus_program
from mixin.dashboards.gates.walking import outer_panels
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.write import documents
from support.drawing import Draw, draw
from support.live_demo import live_demo
from support.prometheus import PrometheusServer

__all__ = ["draw", "prometheus", "prometheus_program"]

COMMITTED = Path(__file__).parents[2] / "dashboards"

# What may show nothing, and why.
EMPTY = {
    "panel 'DNS errors': no data": "no host of the demo is looked up in vain",
    "panel 'DNS errors': only NaN": "as before",
    "panel 'Time to resolve': only NaN": "connections of the demo are reused, so nothing is asked",
}

# As a company may call them, and as its Prometheus is told to.
RELABELLED: list[dict[str, Any]] = [
    {"source_labels": ["cluster"], "target_label": "region"},
    {"source_labels": ["service"], "target_label": "app"},
    {"regex": "cluster|service", "action": "labeldrop"},
]
OWN = Options(cluster="region", service="app")
# Seconds, of which a rate looks at four: a machine that is busy scrapes late at times.
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
        # A swing of the load takes 20 seconds, and has a burst for each pool in it.
        server.wait_for(
            "count(rate(connpool_acquires_total{outcome='timeout'}[20s]) > 0) == 4", 120
        )
        yield server


@pytest.mark.parametrize("name", documents(OWN))
def test_no_panel_is_empty(server: PrometheusServer, name: str) -> None:
    chosen = {"region": "eu-1", "app": "shop", "pool": "orders", "kind": "sqlalchemy"}
    if name != "pool.json":
        chosen |= {"pool": "All", "kind": "All"}
    empty = live.empty_panels(documents(OWN)[name], server, chosen, INTERVAL)
    assert [] == [said for said in empty if said not in EMPTY]


def test_another_region_has_nothing(server: PrometheusServer) -> None:
    chosen = {"region": "us-1", "app": "shop"}
    empty = live.empty_panels(documents(OWN)["overview.json"], server, chosen, INTERVAL)
    assert "panel 'Utilization': no data" in empty


def test_labels_that_are_called_otherwise_are_no_reason_to_show_nothing(
    server: PrometheusServer,
) -> None:
    # Who has no label of the name, or another, gets all pools.
    empty = live.empty_panels(documents(Options())["overview.json"], server, {}, INTERVAL)
    assert [] == empty


@pytest.mark.parametrize("name", [path.stem for path in sorted(COMMITTED.glob("*.json"))])
def test_every_panel_is_drawn(server: PrometheusServer, draw: Draw, name: str) -> None:
    dashboard = json.loads((COMMITTED / f"{name}.json").read_text())
    chosen = {"pool": "orders", "kind": "sqlalchemy"} if name == "pool" else {}
    drawn = draw(name, dashboard, server.url, chosen, allowed=EMPTY)
    assert (0, []) == (drawn.status, drawn.said)
    panels = outer_panels(dashboard)
    assert sum(panel["type"] != "row" for panel in panels) == len(drawn.panels)
    # As wide as asked for, as high as Grafana's grid and what is above it, and with much to see.
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width, height = drawn.size()
    assert 1600 == width
    assert 38 * rows < height < 38 * rows + 200
    assert drawn.picture.stat().st_size > 100_000

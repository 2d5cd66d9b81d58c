"""Every panel shows something: real demo workers, a real exporter, a real Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gates import live
from gates.fixtures import prometheus, prometheus_program
from poolscope.dashboards.options import Options
from poolscope.dashboards.write import documents
from support.live_demo import live_demo
from support.prometheus import PrometheusServer

__all__ = ["prometheus", "prometheus_program"]

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
    assert "panel 'Utilisation': no data" in empty


def test_labels_that_are_called_otherwise_are_no_reason_to_show_nothing(
    server: PrometheusServer,
) -> None:
    # Who has no label of the name, or another, gets all pools.
    empty = live.empty_panels(documents(Options())["overview.json"], server, {}, INTERVAL)
    assert [] == empty

"""What Prometheus gets to see of servers, and of what is the exporter's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from poolscope.exporter import api
from poolscope.exporter.history import History
from poolscope.fleet.fleet import FleetView
from poolscope.label_values import label_value
from poolscope.metrics.exporter_families import (
    EXPORTER_FAMILIES,
    OTHER_APPLICATIONS,
    Scrape,
)
from poolscope.metrics.exposition import _ScrapeRegistry, expose
from poolscope.metrics.pool_families import FAMILIES, INTERNAL_ERRORS
from poolscope.metrics.rendering import rendered, wanted
from poolscope.metrics.samples import metric_of
from poolscope.readings.database_servers import (
    BouncerPool,
    BouncerReading,
    ServerConnections,
    ServerReading,
)
from poolscope.readings.reading import EMPTY_READING
from poolscope.readings.report import Report

NOTHING = FleetView((), (), {}, 0, 0)


def samples(name: str, *servers: ServerReading, bouncers: Any = ()) -> dict[tuple[str, ...], float]:
    """Return the samples of a family by the values of their labels."""
    text, _ = expose(Scrape(NOTHING, 0.0, "1.2.3", servers, bouncers), "")
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == f"connpool_{name}"
    }


def connected(application: str, count: int, age: float = 0.0) -> ServerConnections:
    return ServerConnections("shop", "me", application, "idle_in_transaction", count, age)


def test_errors_inside_of_poolscope_are_told_by_processes_only() -> None:
    text, _ = expose(Scrape(NOTHING, 0.0, "1.2.3"), "")
    assert INTERNAL_ERRORS.name.encode() not in text
    assert b"connpool_exporter_build_info" in text


def test_of_a_server_that_is_down_it_is_known_only_that_it_is() -> None:
    servers = ServerReading("a:5432", True, 100, 3), ServerReading("b:5432")
    assert {("a:5432",): 1.0, ("b:5432",): 0.0} == samples("server_up", *servers)
    assert {("a:5432",): 100.0} == samples("server_limit", *servers)
    assert {("a:5432",): 3.0} == samples("server_reserved", *servers)


def test_of_a_pgbouncer_that_is_down_it_is_known_only_that_it_is() -> None:
    pool = BouncerPool("shop", "me", {"active": 3, "waiting": 1}, {"idle": 2}, 4.5)
    bouncers = BouncerReading("a:1", True, 50, 20, 6, 4, (pool,)), BouncerReading("b:1")
    expected = {
        "up": {("a:1",): 1.0, ("b:1",): 0.0},
        "client_limit": {("a:1",): 50.0},
        "pool_size": {("a:1",): 20.0},
        "used_clients": {("a:1",): 6.0},
        "used_servers": {("a:1",): 4.0},
        "oldest_wait_seconds": {("shop", "a:1", "me"): 4.5},
        "clients": {("shop", "a:1", "active", "me"): 3.0, ("shop", "a:1", "waiting", "me"): 1.0},
        "servers": {("shop", "a:1", "idle", "me"): 2.0},
    }
    assert expected == {name: samples(f"pgbouncer_{name}", bouncers=bouncers) for name in expected}


@pytest.mark.parametrize("odd", ["\ud800", "a\nb", "\0", "x" * 10_000, "\U0001f600" * 100])
def test_any_string_is_a_name_of_what_a_server_has(odd: str) -> None:
    one = ServerConnections(odd, odd, odd, odd, 1, 1.0)
    servers = (ServerReading(odd, True, 100, 3, (one,)),)
    bouncers = (BouncerReading(odd, True, pools=(BouncerPool(odd, odd, {odd: 1}, {odd: 1}, 1.0),)),)
    shown = label_value(odd)
    assert {(shown,) * 5: 1.0} == samples("server_connections", *servers)
    assert {(shown,) * 4: 1.0} == samples("pgbouncer_clients", bouncers=bouncers)
    scrape = Scrape(NOTHING, 0.0, "1.2.3", servers, bouncers)
    strict: Any = openmetrics_families
    families = list(strict(expose(scrape, "application/openmetrics-text")[0].decode()))
    assert "connpool_server_connections" in {family.name for family in families}
    assert {shown} == {server["server"] for server in api.document(scrape, History())["servers"]}


def test_processes_of_one_service_are_one_application() -> None:
    names = (("shop:orders:7", 2, 5.0), ("shop:orders:8", 3, 9.0), ("psql", 1, 1.0), ("", 4, 2.0))
    server = ServerReading("db", True, 9, 0, tuple(connected(*name) for name in names))
    labels = ("shop", "db", "idle_in_transaction", "me")
    counts = {"shop:orders": 5.0, "psql": 1.0, "(no name)": 4.0}
    assert {(name, *labels): count for name, count in counts.items()} == samples(
        "server_connections", server
    )
    ages = {("shop:orders", "db"): 9.0, ("psql", "db"): 1.0, ("(no name)", "db"): 2.0}
    assert ages == samples("server_oldest_idle_in_transaction_seconds", server)


def test_applications_without_a_label_share_one() -> None:
    connections = tuple(connected(f"app-{number}", number + 1, number) for number in range(5))
    own = frozenset(("app-3", "app-4"))
    server = ServerReading("db", True, 9, 0, connections, own)
    counts = {key[0]: count for key, count in samples("server_connections", server).items()}
    assert {"app-3": 4.0, "app-4": 5.0, OTHER_APPLICATIONS: 1.0 + 2.0 + 3.0} == counts
    ages = samples("server_oldest_idle_in_transaction_seconds", server)
    assert (3, 2.0) == (len(ages), ages[OTHER_APPLICATIONS, "db"])


FULL = Scrape(
    FleetView(
        tuple(
            Report(name, kind, EMPTY_READING._replace(instances=1, acquired=3, limit=5.0), 1)
            for name, kind in (("orders", "sqlalchemy"), ("upstream", "aiohttp"))
        ),
        (),
        {},
        0,
        0,
    ),
    0.5,
    "1.2.3",
    (ServerReading("db:5432", True, 100, 3),),
)


class Embedded(Collector):
    """Collects the same families as the exporter shows, for a registry of prometheus_client."""

    def describe(self) -> Iterable[Metric]:
        families: list[Any] = [*FAMILIES, *EXPORTER_FAMILIES]
        return [metric_of(family) for family in families]

    def collect(self) -> Iterable[Metric]:
        return _ScrapeRegistry(FULL, None).collect()


NAMES = (
    ("connpool_waiting",),
    ("connpool_acquires_total", "connpool_limit"),
    ("connpool_acquires",),
    ("connpool_hold_seconds",),
    ("connpool_hold_seconds_bucket",),
    ("connpool_hold_seconds_count", "connpool_acquire_seconds_sum"),
    ("connpool_server_limit", "connpool_exporter_build_info"),
    ("connpool_internal_errors_total",),
    ("nothing",),
    ("nothing", "connpool_waiting", "connpool_waiting"),
    ("connpool_",),
    ("",),
)


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text"])
@pytest.mark.parametrize("names", NAMES, ids="+".join)
def test_names_select_samples_as_in_the_metrics_of_a_service(
    names: tuple[str, ...], accept: str
) -> None:
    registry = CollectorRegistry()
    registry.register(Embedded())
    asked = wanted(accept, "", "")._replace(names=frozenset(names))
    expected = b"".join(rendered(registry, asked).parts)
    assert (expected, asked.format.content_type) == expose(FULL, accept, names)


def test_every_name_of_a_sample_selects_that_sample() -> None:
    text, _ = expose(FULL, "")
    families = list(text_string_to_metric_families(text.decode()))
    names = {sample.name for family in families for sample in family.samples}
    assert len(names) > len(FAMILIES) / 2
    for name in names:
        selected, _ = expose(FULL, "", [name])
        assert {name} == {
            sample.name
            for family in text_string_to_metric_families(selected.decode())
            for sample in family.samples
        }

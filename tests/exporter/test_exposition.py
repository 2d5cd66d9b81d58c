"""What Prometheus gets to see of servers, and of what is the exporter's own."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from poolscope.exporter.exposition import expose
from poolscope.fleet.fleet import FleetView
from poolscope.metrics.exporter_families import OTHER_APPLICATIONS, SHOWN_APPLICATIONS, Scrape
from poolscope.metrics.pool_families import INTERNAL_ERRORS
from poolscope.readings.database_servers import (
    BouncerPool,
    BouncerReading,
    ServerConnections,
    ServerReading,
)

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


def test_of_many_applications_the_busiest_have_names() -> None:
    many = range(SHOWN_APPLICATIONS + 3)
    connections = tuple(connected(f"app-{number}", number + 1, number) for number in many)
    server = ServerReading("db", True, 9, 0, connections)
    counts = {key[0]: count for key, count in samples("server_connections", server).items()}
    busiest = {f"app-{number}": number + 1.0 for number in many[3:]}
    assert {**busiest, OTHER_APPLICATIONS: 1.0 + 2.0 + 3.0} == counts
    ages = samples("server_oldest_idle_in_transaction_seconds", server)
    assert (SHOWN_APPLICATIONS + 1, 2.0) == (len(ages), ages[OTHER_APPLICATIONS, "db"])

"""How many connections pools may open to a server, and how many it accepts."""

from __future__ import annotations

import math

from poolscope.fleet.commitments import commitments, pools_of
from poolscope.readings.database_servers import ServerConnections, ServerReading
from poolscope.readings.findings import Commitment


def server(*names: str, limit: int = 100) -> ServerReading:
    connections = tuple(
        ServerConnections("shop", "app", name, "idle", number, 0.0)
        for number, name in enumerate(names, 1)
    )
    return ServerReading("db:5432", True, limit, 3, connections)


def test_connections_are_counted_for_the_pool_in_their_name() -> None:
    counts = pools_of(server("shop:orders:1", "shop:orders:2", "psql", "shop:billing:1"))
    assert {"orders": 3, "billing": 4} == dict(counts)


def test_limits_are_added_up_over_the_pools_with_connections_to_the_server() -> None:
    limits = {"orders": 80.0, "billing": 20.0, "elsewhere": 1000.0}
    expected = (Commitment("db:5432", 97, 100.0),)
    reading = server("shop:orders:1", "shop:billing:1")
    assert {"orders": expected, "billing": expected} == commitments([reading], limits)


def test_a_pool_may_have_connections_to_two_servers() -> None:
    servers = [server("shop:orders:1"), server("shop:orders:1", limit=20)]
    expected = (Commitment("db:5432", 97, 80.0), Commitment("db:5432", 17, 80.0))
    assert {"orders": expected} == commitments(servers, {"orders": 80.0})


def test_a_pool_without_a_limit_makes_no_commitment() -> None:
    assert {} == commitments([server("shop:orders:1")], {"orders": math.inf})


def test_a_server_that_does_not_answer_has_no_commitments() -> None:
    assert {} == commitments([ServerReading("db:5432")], {"orders": 80.0})

"""What the dashboard of databases shows of servers that two exporters ask, and of PgBouncers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import pytest

from mixin.dashboards import estate
from mixin.dashboards.estate import Pool
from mixin.dashboards.estate_servers import SERVERS, Bouncer, Server
from mixin.dashboards.gates.fixtures import prometheus_program
from mixin.dashboards.shown import Reader, Seen, panel_of
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import GREY
from poolscope.mixin.dashboards.write import documents
from support.prometheus import PrometheusServer

__all__ = ["prometheus_program"]

BOARD: Final = documents(Options())["databases.json"]
POOLS: Final = (
    Pool("eu", "shop", "db", limit=59, in_use=40),
    Pool("eu", "billing", "db", "sqlalchemy", limit=207, in_use=20),
    Pool("eu", "batch", "db", "sqlalchemy", limit=float("inf"), in_use=1),
    Pool("eu", "shop", "api", "aiohttp", limit=100),
)
NO_DATA: Final = Seen("no data", GREY)

Estate = Callable[..., Reader]


@pytest.fixture(scope="module")
def estate_of(
    prometheus_program: str, promtool: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Estate]:
    """Returns a function that makes a Prometheus with servers and pools."""
    running = []

    def make(servers: Sequence[Server | Bouncer], pools: Sequence[Pool] = POOLS) -> Reader:
        folder = tmp_path_factory.mktemp("servers")
        end = int(time.time()) // estate.SCRAPE * estate.SCRAPE
        estate.write(promtool, pools, folder / "data", end, servers)
        running.append(PrometheusServer(prometheus_program, folder, []))
        return Reader(running[-1], end)

    yield make
    for server in running:
        server.kill()


@pytest.fixture(scope="module")
def reader(estate_of: Estate) -> Reader:
    return estate_of(SERVERS)


class TestTwoExporters:
    def test_connections_count_once(self, reader: Reader) -> None:
        rows = reader.table(BOARD, "Applications, now")
        assert [("shop:db", "pg-1:5432", 40.0), ("billing:db", "pg-1:5432", 20.0)] == [
            tuple(row[name].shown for name in ("Application", "Server", "Connections"))
            for row in rows
            if row["Server"].shown == "pg-1:5432"
        ][:2]
        assert {"active": 60.0, "idle": 21.0} == reader.graph(BOARD, "Connections by state")
        by_application = reader.graph(BOARD, "Connections by application")
        assert {"shop:db": 60.0, "billing:db": 20.0, "psql": 1.0} == by_application

    def test_limits_count_once(self, reader: Reader) -> None:
        seen = reader.graph(BOARD, "Pools and servers")
        # Each server keeps three for superusers.
        assert (81.0, 97.0 + 200.0) == (seen["servers"], seen["accepted"])
        rows = reader.table(BOARD, "Servers, now")
        assert [("pg-1:5432", 0.629, 61.0, 97.0), ("pg-2:5432", 0.1, 20.0, 200.0)] == [
            tuple(row[name].shown for name in ("Server", "Used", "Connections", "Accepted"))
            for row in rows
        ]

    def test_clients_of_a_pgbouncer_count_once(self, reader: Reader) -> None:
        clients = reader.graph(BOARD, "Clients of the PgBouncer")
        assert {"active": 70.0, "waiting": 30.0, "limit": 1100.0} == clients
        servers = reader.graph(BOARD, "Connections to servers")
        assert {"active": 18.0, "idle": 7.0} == servers
        first, _ = reader.table(BOARD, "Pools of the PgBouncer, now")
        assert ("bouncer-1:6432", 4.0, 90.0, 20.0) == tuple(
            first[name].shown for name in ("PgBouncer", "Oldest wait", "Clients", "Servers")
        )

    def test_a_server_that_one_of_them_reaches_answers(self, estate_of: Estate) -> None:
        down = replace(SERVERS[1], up=False)
        reader = estate_of([SERVERS[0], down, replace(SERVERS[2], up=False), SERVERS[3]])
        for title in ("Servers that answer", "PgBouncers that answer"):
            assert Seen(0.5, "red", 0.5) == reader.stat(BOARD, title)
        rows = reader.table(BOARD, "Servers, now")
        assert [("pg-2:5432", "no answer", "red"), ("pg-1:5432", 0.629, "green")] == [
            (row["Server"].shown, row["Used"].shown, row["Used"].colour) for row in rows
        ]
        first, *_ = reader.table(BOARD, "Pools of the PgBouncer, now")
        assert ("bouncer-1:6432", "no answer", "red", "–") == (  # noqa: RUF001 - a dash
            *(first["PgBouncer"].shown, first["Oldest wait"].shown, first["Oldest wait"].colour),
            first["Clients"].shown,
        )

    @pytest.mark.parametrize("title", ["Servers, now", "Pools of the PgBouncer, now"])
    def test_the_columns_have_names_where_none_answers(self, estate_of: Estate, title: str) -> None:
        reader = estate_of([replace(server, up=False) for server in SERVERS])
        answers = reader.ask(BOARD, panel_of(BOARD, title), {})
        # Grafana calls a column "Value" if no other query has an answer.
        assert 2 == sum(bool(answer) for answer in answers)


class TestCommitment:
    def test_a_pool_without_a_limit_does_not_hide_the_others(self, reader: Reader) -> None:
        promised = (59 + 207) / (97 + 200)
        seen = reader.stat(BOARD, "Commitment")
        assert (round(promised, 3), "green") == (seen.shown, seen.colour)
        assert 59 + 207 == reader.graph(BOARD, "Pools and servers")["limits of all pools"]

    def test_one_selected_server_is_not_compared_with_the_pools_of_all(
        self, reader: Reader
    ) -> None:
        all_servers = reader.stat(BOARD, "Commitment")
        assert all_servers == reader.stat(BOARD, "Commitment", server=["pg-1:5432"])
        seen = reader.graph(BOARD, "Pools and servers", server=["pg-1:5432"])
        assert (81.0, 297.0) == (seen["servers"], seen["accepted"])

    def test_pools_that_all_have_no_limit_say_so(self, estate_of: Estate) -> None:
        reader = estate_of(SERVERS, [POOLS[2]])
        seen = reader.stat(BOARD, "Commitment")
        assert ("no limit", GREY) == (seen.shown, seen.colour)


class TestNames:
    def test_the_fullest_are_named(self, reader: Reader) -> None:
        assert "pg-1:5432" == reader.named(BOARD, "Fullest server")
        assert "bouncer-1:6432" == reader.named(BOARD, "Fullest PgBouncer")
        assert 0.9 == reader.stat(BOARD, "Fullest PgBouncer").shown
        assert "pg-2:5432" == reader.named(BOARD, "Fullest server", server=["pg-2:5432"])


class TestPgbouncers:
    def test_they_have_a_variable_of_their_own(self, reader: Reader) -> None:
        chosen = {"pgbouncer": ["bouncer-2:6432"]}
        assert 0.01 == reader.stat(BOARD, "Fullest PgBouncer", **chosen).shown
        (row,) = reader.table(BOARD, "Pools of the PgBouncer, now", **chosen)
        assert "bouncer-2:6432" == row["PgBouncer"].shown
        assert 2 == len(reader.table(BOARD, "Servers, now", **chosen))

    def test_a_selected_server_leaves_them_alone(self, reader: Reader) -> None:
        rows = reader.table(BOARD, "Pools of the PgBouncer, now", server=["bouncer-1:6432"])
        assert 2 == len(rows)

    def test_without_servers_all_is_grey(self, estate_of: Estate) -> None:
        reader = estate_of([], POOLS)
        for title in (
            *("Servers that answer", "Fullest server", "Commitment", "Idle in transaction"),
            *("PgBouncers that answer", "Fullest PgBouncer", "Oldest wait of a client"),
        ):
            assert NO_DATA == reader.stat(BOARD, title), title

"""The fleet as JSON, and the past that goes with it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import pytest

from poolscope.exporter import api
from poolscope.exporter.history import HISTORY_SECONDS, SAMPLE_INTERVAL, History
from poolscope.fleet.fleet import FleetView, ProcessView
from poolscope.metrics.exporter_families import Scrape
from poolscope.readings.database_servers import (
    BouncerPool,
    BouncerReading,
    ServerConnections,
    ServerReading,
)
from poolscope.readings.findings import Finding
from poolscope.readings.holders import Hold
from poolscope.readings.reading import Reading
from poolscope.readings.report import Info, Report
from poolscope.testing import FakeClock
from support import pools_schema

ORDERS = ("orders", "aiohttp")
SITE = "shop.py:7 in pay"


@dataclass
class Pool:
    """A pool of one process, as far as it is shown."""

    pid: int
    reading: Reading
    held: tuple[float, ...] = ()
    pool: str = "orders"
    kind: str = "aiohttp"

    def holds(self) -> list[Hold]:
        return [
            Hold(
                self.pool,
                self.kind,
                SITE,
                "GET /orders/{id}",
                None,
                seconds,
                "Task-1",
                None,
                seconds > 60,
                False,
                False,
                self.pid,
            )
            for seconds in self.held
        ]


def view_of(*readings: Reading, pools: tuple[Pool, ...] = ()) -> FleetView:
    """Return a view of pools that are called orders, billing, and so on."""
    names = ("orders", "billing")
    reports = tuple(
        Report(name, "aiohttp", reading, 1) for name, reading in zip(names, readings, strict=False)
    )
    given: Any = pools
    processes = tuple(ProcessView(pool.pid, (pool,)) for pool in given)
    return FleetView(reports, processes, {}, 0, 0)


def strictly(document: Any) -> Any:
    """Return what a browser makes of a document, which knows no infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    read = json.loads(json.dumps(document), parse_constant=refuse)
    pools_schema.check(read)
    return read


@pytest.fixture
def history(clock: FakeClock) -> History:
    return History(clock)


class TestTheDocument:
    def test_has_no_infinity(self, history: History) -> None:
        endless = Reading(in_use=3.0, limit=math.inf, idle_limit=math.inf, instances=1.0)
        seen = (ServerConnections("shop", "me", "shop:orders:7", "idle", 3, 0.0),)
        server = ServerReading("db:5432", True, 100, 3, seen)
        view = view_of(endless, pools=(Pool(7, endless),))
        document = strictly(api.document(Scrape(view, 0.0, "1.2.3", (server,)), history))
        (pool,) = document["pools"]
        (process,) = pool["processes"]
        assert (3.0, None, None) == (pool["in_use"], pool["limit"], pool["idle_limit"])
        assert (3.0, None, None) == (process["in_use"], process["limit"], process["idle_limit"])
        assert [None] == [server["promised"] for server in document["servers"]]

    def test_has_of_a_pool_all_that_is_known(self, history: History) -> None:
        gauges: dict[str, Any] = {
            name: float(number) for number, name in enumerate(api.JSON_GAUGES, 1)
        }
        counters: dict[str, Any] = {
            name: float(number) for number, name in enumerate(api.JSON_COUNTERS, 100)
        }
        finding = Finding("orders", "aiohttp", "no-keepalive", "warning", "it is slow", (SITE,))
        infos = (Info("TCPConnector", "", "3.14.5"), Info("TCPConnector", "", "3.9.0"))
        reading = Reading(**gauges, **counters)
        report = Report(*ORDERS, reading, 9, infos, (), (), (finding,))
        given: Any = Pool(7, Reading(in_use=1.0), held=(2.0, 90.0))
        view = FleetView((report,), (ProcessView(7, (given,)),), {ORDERS: 0.25}, 3, 4)
        holder = {
            "pid": 7,
            "site": SITE,
            "operation": "GET /orders/{id}",
            "now_at": None,
            "owner": "Task-1",
            "trace_id": None,
            "abandoned": False,
            "on_purpose": False,
        }
        nothing: dict[str, list[float]] = {
            name: [] for name in ("seconds_ago", "in_use", "waiting", "timed_out")
        }
        expected = {
            "version": "1.2.3",
            "processes": {"live": 1, "gone": 3},
            "bad_segments": 4,
            "pools": [
                {
                    "pool": "orders",
                    "kind": "aiohttp",
                    "live": True,
                    "utilization_max": 0.25,
                    "instances_created": 9,
                    **gauges,
                    **counters,
                    "info": [
                        {"class": "TCPConnector", "driver": "", "version": "3.14.5"},
                        {"class": "TCPConnector", "driver": "", "version": "3.9.0"},
                    ],
                    "findings": [
                        {
                            "rule": "no-keepalive",
                            "severity": "warning",
                            "message": "it is slow",
                            "sites": [SITE],
                        }
                    ],
                    "holders": [
                        {**holder, "held_seconds": 90.0, "overdue": True},
                        {**holder, "held_seconds": 2.0, "overdue": False},
                    ],
                    "holders_by_line": [
                        {
                            "site": SITE,
                            "operation": "GET /orders/{id}",
                            "count": 2,
                            "oldest_seconds": 90.0,
                            "overdue": 1,
                            "abandoned": 0,
                        }
                    ],
                    "processes": [{"pid": 7, **dict.fromkeys(api.JSON_GAUGES, 0.0), "in_use": 1.0}],
                    "history": nothing,
                    "servers": [],
                }
            ],
            "servers": [],
        }
        assert expected == strictly(api.document(Scrape(view, 0.0, "1.2.3"), history))

    def test_has_the_servers_and_what_they_see_of_each_pool(self, history: History) -> None:
        limited = Reading(limit=20.0), Reading(limit=30.0)
        alike = [
            ServerConnections("shop", "me", name, "idle", count, 1.5)
            for name, count in (("shop:orders:7", 2), ("shop:orders:8", 3), ("psql", 1))
        ]
        servers = ServerReading("db:5432", True, 100, 3, tuple(alike)), ServerReading("other:5432")
        waits = BouncerPool("shop", "me", {"active": 3}, {"idle": 1}, 4.5)
        bouncer = BouncerReading("db:6432", True, 50, 20, 6, 4, (waits,))
        document = api.document(
            Scrape(view_of(*limited), 0.0, "1.2.3", servers, (bouncer,)), history
        )
        expected = {"orders": [{"server": "db:5432", "connections": 5}], "billing": []}
        assert expected == {pool["pool"]: pool["servers"] for pool in document["pools"]}
        connection = {"database": "shop", "user": "me", "state": "idle", "oldest_seconds": 1.5}
        assert [
            {
                "kind": "postgres",
                "server": "db:5432",
                "up": True,
                "limit": 100,
                "reserved": 3,
                "connections": [
                    {**connection, "application": "shop:orders:7", "count": 2},
                    {**connection, "application": "shop:orders:8", "count": 3},
                    {**connection, "application": "psql", "count": 1},
                ],
                "promised": 20.0,
            },
            {
                "kind": "postgres",
                "server": "other:5432",
                "up": False,
                "limit": 0,
                "reserved": 0,
                "connections": [],
                "promised": None,
            },
            {
                "kind": "pgbouncer",
                "server": "db:6432",
                "up": True,
                "client_limit": 50,
                "pool_size": 20,
                "clients": 6,
                "servers": 4,
                "pools": [
                    {
                        "database": "shop",
                        "user": "me",
                        "clients": {"active": 3},
                        "servers": {"idle": 1},
                        "oldest_wait_seconds": 4.5,
                    }
                ],
            },
        ] == strictly(document)["servers"]

    def test_has_the_past(self, history: History, clock: FakeClock) -> None:
        history.record(view_of(Reading(in_use=2.0)))
        clock.advance(1.0)
        document = strictly(api.document(Scrape(view_of(Reading()), 0.0, "1.2.3"), history))
        past = {"seconds_ago": [1.0], "in_use": [2.0], "waiting": [0.0], "timed_out": [0.0]}
        assert [past] == [pool["history"] for pool in document["pools"]]


def used(in_use: float, waiting: float, timed_out: float) -> Reading:
    """Return a reading with these sums."""
    return Reading(
        in_use=1.0,
        waiting=9.0,
        in_use_seconds=in_use,
        waiting_seconds=waiting,
        timed_out=timed_out,
    )


class TestTheHistory:
    def test_has_what_was_first_as_it_was_and_then_means(
        self, history: History, clock: FakeClock
    ) -> None:
        for reading in (used(100.0, 50.0, 7.0), used(110.0, 50.0, 7.0), used(110.0, 51.0, 10.0)):
            history.record(view_of(reading))
            clock.advance(SAMPLE_INTERVAL)
        assert {
            "seconds_ago": [3 * SAMPLE_INTERVAL, 2 * SAMPLE_INTERVAL, SAMPLE_INTERVAL],
            "in_use": [1.0, 10.0 / SAMPLE_INTERVAL, 0.0],
            "waiting": [9.0, 0.0, 1.0 / SAMPLE_INTERVAL],
            "timed_out": [0.0, 0.0, 3.0],
        } == history.columns(ORDERS)

    def test_has_nothing_of_others(self, history: History) -> None:
        history.record(view_of(Reading(in_use=1.0), Reading(in_use=2.0)))
        names = ("orders", "billing", "nobody")
        expected = [[1.0], [2.0], []]
        assert expected == [history.columns((name, "aiohttp"))["in_use"] for name in names]

    def test_keeps_no_more_than_one_look_in_a_while(
        self, history: History, clock: FakeClock
    ) -> None:
        for _ in range(3):
            history.record(view_of(Reading()))
            clock.advance(SAMPLE_INTERVAL / 2)
        assert [1.5 * SAMPLE_INTERVAL, 0.5 * SAMPLE_INTERVAL] == history.columns(ORDERS)[
            "seconds_ago"
        ]

    def test_goes_back_so_far_and_no_further(self, history: History, clock: FakeClock) -> None:
        for _ in range(3):
            history.record(view_of(Reading()))
            clock.advance(HISTORY_SECONDS / 2)
        assert [1.5 * HISTORY_SECONDS, HISTORY_SECONDS, HISTORY_SECONDS / 2] == history.columns(
            ORDERS
        )["seconds_ago"]
        history.record(view_of(Reading()))
        assert [HISTORY_SECONDS, HISTORY_SECONDS / 2, 0.0] == history.columns(ORDERS)["seconds_ago"]

    def test_of_a_sum_that_falls_is_not_below_0(self, history: History, clock: FakeClock) -> None:
        history.record(view_of(used(100.0, 50.0, 7.0)))
        clock.advance(SAMPLE_INTERVAL)
        history.record(view_of(used(0.0, 0.0, 0.0)))
        past = history.columns(ORDERS)
        assert (0.0, 0.0, 0.0) == (past["in_use"][1], past["waiting"][1], past["timed_out"][1])

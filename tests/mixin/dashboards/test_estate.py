"""What the dashboards show of an estate: pools of one name, one gone, one without a limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest

from mixin.dashboards import estate
from mixin.dashboards.estate import POOLS
from mixin.dashboards.gates.fixtures import prometheus_program
from mixin.dashboards.gates.walking import Json, with_queries
from mixin.dashboards.shown import Reader, Seen, display, link, panel_of, stats
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.panels import GREY
from poolscope.mixin.dashboards.write import documents
from support.prometheus import PrometheusServer

__all__ = ["prometheus_program"]

BOARDS: Final = documents(Options(docs="https://docs.example/poolscope"))
OVERVIEW, POOL, HTTP = (BOARDS[f"{name}.json"] for name in ("overview", "pool", "http"))
POOLS_TABLE: Final = "Pools, those in trouble first"
STATS: Final = [(name, title) for name, board in BOARDS.items() for title in stats(board)]
OF_WHAT_IS_SILENT: Final = "Silent targets"
NO_DATA: Final = Seen("no data", GREY)

SHOP: Final = {"cluster": "eu", "service": "shop", "pool": "db", "kind": "asyncpg"}


@pytest.fixture(scope="module")
def reader(
    prometheus_program: str, promtool: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("estate")
    end = int(time.time()) // estate.SCRAPE * estate.SCRAPE
    estate.write(promtool, POOLS, folder / "data", end)
    server = PrometheusServer(prometheus_program, folder, [])
    yield Reader(server, end)
    server.kill()


def keys(rows: list[dict[str, Seen]]) -> list[tuple[object, ...]]:
    return [tuple(row[name].shown for name in ("Cluster", "Service", "Pool")) for row in rows]


class TestGrouping:
    def test_the_table_has_a_row_for_each_live_pool_of_each_service(self, reader: Reader) -> None:
        live = [pool.key for pool in POOLS if pool.live and not pool.gone]
        assert sorted(live) == sorted(keys(reader.table(OVERVIEW, POOLS_TABLE)))

    def test_the_fullest_pool_is_not_diluted_by_others_of_its_name(self, reader: Reader) -> None:
        assert Seen(1.0, "red", 1.0) == reader.stat(OVERVIEW, "Fullest pool")
        assert Seen(1.0, "red", 1.0) == reader.stat(OVERVIEW, "Saturated pools")
        calm = reader.stat(OVERVIEW, "Fullest pool", service=["billing"])
        assert ("green", 0.2) == (calm.colour, calm.shown)

    @pytest.mark.parametrize("key", [pool.key for pool in POOLS if pool.live and not pool.gone])
    def test_a_row_leads_to_its_own_pool(self, reader: Reader, key: tuple[str, str, str]) -> None:
        rows = reader.table(OVERVIEW, POOLS_TABLE)
        (row,) = (row for row, own in zip(rows, keys(rows), strict=True) if own == key)
        url = urlsplit(link(panel_of(OVERVIEW, POOLS_TABLE), "Pool", row))
        assert "/d/poolscope-pool" == url.path
        chosen = parse_qs(url.query, keep_blank_values=True)
        names = ("cluster", "service", "pool", "kind")
        assert key == tuple(chosen[f"var-{name}"][0] for name in names[:3])
        selected = {name: chosen[f"var-{name}"][0] for name in names}
        seen = reader.stat(POOL, "Utilization", **selected)
        assert row["Utilization"].value == seen.value

    def test_pools_of_two_services_are_never_added_on_the_page_of_one(self, reader: Reader) -> None:
        for service, used in (("shop", 1.0), ("billing", 0.2)):
            seen = reader.stat(POOL, "Utilization", **{**SHOP, "service": service})
            assert used == seen.shown

    def test_hosts_are_told_apart_by_client_and_service(self, reader: Reader) -> None:
        rows = reader.table(HTTP, "Hosts, now")
        assert {("shop", "api", 7.0), ("shop", "api", 0.0), ("billing", "api", 2.0)} == {
            (row["Service"].shown, row["Client"].shown, row["In use"].shown) for row in rows
        }
        for row in rows:
            url = link(panel_of(HTTP, "Hosts, now"), "Client", row)
            chosen = {name: each[0] for name, each in parse_qs(urlsplit(url).query).items()}
            service = row["Service"].shown
            assert ("eu", service, "api", "aiohttp") == tuple(
                chosen[f"var-{name}"] for name in ("cluster", "service", "pool", "kind")
            )

    def test_a_host_that_fails_is_told_from_one_that_does_not(self, reader: Reader) -> None:
        rows = reader.table(HTTP, "Hosts, now")
        assert {"pay.example:443": 0.125, "mail.example:443": 1.0} == {
            row["Host"].shown: pytest.approx(row["Failed to open"].value)
            for row in rows
            if row["Service"].shown == "shop"
        }

    def test_alerts_are_marked_for_the_selected_services(self) -> None:
        for board in BOARDS.values():
            (annotation,) = board["annotations"]["list"]
            assert "max by (alertname, severity, cluster, service, pool)" in annotation["expr"]
            for label in ("cluster", "service"):
                assert f'"${label}"' in annotation["expr"]


class TestWithoutData:
    @pytest.mark.parametrize(("name", "title"), STATS)
    @pytest.mark.parametrize(
        "chosen", [{"service": "mail"}, {"cluster": "asia"}], ids=["gone", "never there"]
    )
    def test_what_is_not_there_is_grey(
        self, reader: Reader, name: str, title: str, chosen: dict[str, str]
    ) -> None:
        # What is silent is what this one counts.
        counted = (title, chosen) == (OF_WHAT_IS_SILENT, {"service": "mail"})
        expected = Seen(1.0, "red", 1.0) if counted else NO_DATA
        assert expected == reader.stat(BOARDS[name], title, **{**SHOP, **chosen})

    def test_a_closed_pool_whose_counters_go_on_is_gone(self, reader: Reader) -> None:
        chosen = {**SHOP, "pool": "closed", "kind": "sqlalchemy"}
        for title in stats(POOL):
            assert NO_DATA == reader.stat(POOL, title, **chosen), title

    def test_the_silent_and_the_live_are_counted(self, reader: Reader) -> None:
        assert Seen(1.0, "red", 1.0) == reader.stat(OVERVIEW, OF_WHAT_IS_SILENT)
        calm = reader.stat(OVERVIEW, OF_WHAT_IS_SILENT, service=["shop", "billing"])
        assert Seen(0.0, "green", 0.0) == calm
        # The exporter sees 20; each other live target is one.
        others = sum(not pool.gone and pool.live for pool in POOLS) - 1
        assert 20 + others == reader.stat(OVERVIEW, "Live processes").shown

    def test_an_idle_pool_has_no_share_of_attempts(self, reader: Reader) -> None:
        chosen = {**SHOP, "pool": "listen"}
        for title in ("Timed out", "p99 to acquire"):
            seen = reader.stat(POOL, title, **chosen)
            assert ("no traffic", GREY) == (seen.shown, seen.colour)
        assert Seen(0.0, "green", 0.0) == reader.stat(POOL, "Callers waiting", **chosen)

    def test_numbers_of_now_do_not_depend_on_the_time_range(self) -> None:
        for board in BOARDS.values():
            for panel in with_queries(board):
                if panel["type"] in ("stat", "table"):
                    assert all(target["instant"] for target in panel["targets"])
                    assert 10_000 == panel["maxDataPoints"]


class TestTrouble:
    def test_the_table_begins_with_those_in_trouble(self, reader: Reader) -> None:
        rows = reader.table(OVERVIEW, POOLS_TABLE)
        said = [(row["Service"].shown, row["Pool"].shown, row["Trouble"].shown) for row in rows]
        assert [
            ("shop", "db", "callers wait"),
            ("billing", "cron", "callers gave up"),
            ("", "bare", "none"),
            ("pay-eu", "db", "none"),
        ] == said[:4]
        assert ("red", "red") == (rows[0]["Trouble"].colour, rows[0]["Waiting"].colour)

    def test_a_full_pool_that_only_listens_is_the_last(self, reader: Reader) -> None:
        for chosen in ({}, {"service": ["shop"]}, {"pool": ["listen", "api"]}):
            last = reader.table(OVERVIEW, POOLS_TABLE, **chosen)[-1]
            assert ("listen", "quiet") == (last["Pool"].shown, last["Trouble"].shown)
            assert 1.0 == last["Utilization"].shown

    def test_a_pool_that_only_listens_is_neither_the_fullest_nor_saturated(
        self, reader: Reader
    ) -> None:
        chosen = {"cluster": "eu", "service": "shop", "pool": ["listen"]}
        fullest = reader.stat(OVERVIEW, "Fullest pool", **chosen)
        assert ("no traffic", GREY) == (fullest.shown, fullest.colour)
        assert Seen(0.0, "green", 0.0) == reader.stat(OVERVIEW, "Saturated pools", **chosen)

    def test_a_pool_without_a_limit_says_so(self, reader: Reader) -> None:
        rows = reader.table(OVERVIEW, POOLS_TABLE, service=["billing"])
        (row,) = (row for row in rows if row["Pool"].shown == "api")
        assert {("no limit", "transparent")} == {
            (row[column].shown, row[column].colour) for column in ("Limit", "Utilization")
        }
        chosen = {"cluster": "eu", "service": "billing", "pool": "api", "kind": "aiohttp"}
        seen = reader.stat(POOL, "Utilization", **chosen)
        assert ("no limit", GREY) == (seen.shown, seen.colour)

    def test_an_empty_cell_has_no_colour(self, reader: Reader) -> None:
        for board in BOARDS.values():
            for panel in with_queries(board):
                if panel["type"] == "table":
                    names = panel["transformations"][1]["options"]["renameByName"]
                    for column in (names[name] for name in names if name.startswith("Value")):
                        for value in (None, float("nan")):
                            assert "transparent" == display(panel, column, value).colour


class TestProcesses:
    CRON: Final = {**SHOP, "service": "billing", "pool": "cron", "kind": "sqlalchemy"}

    def test_an_exporter_tells_them_apart(self, reader: Reader) -> None:
        rows = reader.table(POOL, "Processes, now", **self.CRON)
        assert [("8", 0.2, 1.0, 5.0), ("7", 0.0, 0.0, 5.0)] == [
            tuple(row[name].shown for name in ("Process", "Utilization", "In use", "Limit"))
            for row in rows
        ]

    def test_the_fullest_of_them_is_fuller_than_all(self, reader: Reader) -> None:
        seen = reader.graph(POOL, "Fullest process and all processes", **self.CRON)
        assert {"fullest process": 0.2, "all processes": 0.1} == seen


class TestHolders:
    def test_each_function_says_since_when(self, reader: Reader) -> None:
        rows = reader.table(POOL, "Who holds them, now", **SHOP)
        assert [("shop.orders:pay", 9.0), ("shop.jobs:sweep", 1.0)] == [
            (row["Function"].shown, row["Holds"].shown) for row in rows
        ]
        pay, sweep = (row["Since (at most)"].value or 0 for row in rows)
        assert 300 <= pay <= 300 + 2 * estate.SCRAPE
        assert {"text"} == {row["Since (at most)"].colour for row in rows}
        assert 400 == sweep  # it has held one for the whole time range: the pool's oldest hold

    def test_a_function_that_always_holds_some_has_none_that_is_older_than_the_oldest(
        self, reader: Reader
    ) -> None:
        (row,) = reader.table(POOL, "Who holds them, now", **{**SHOP, "service": "billing"})
        assert (2.0, 5.0) == (row["Holds"].shown, row["Since (at most)"].shown)

    def test_each_finding_leads_to_its_page(self, reader: Reader) -> None:
        (row,) = reader.table(POOL, "Findings", **SHOP)
        assert ("nested-acquire", "critical") == (row["Rule"].shown, row["Severity"].shown)
        assert estate.MINUTES * 60 - 60 <= (row["Seen for"].value or 0) <= estate.MINUTES * 60
        url = link(panel_of(POOL, "Findings"), "Rule", row)
        assert "https://docs.example/poolscope/findings/nested-acquire.md" == url

    def test_they_are_the_second_thing_on_the_page(self) -> None:
        rows = [panel["title"] for panel in POOL["panels"] if panel["type"] == "row"]
        assert "Holders" == rows[0]
        first, second = (panel_of(POOL, title) for title in ("Who holds them, now", "Findings"))
        assert first["gridPos"]["y"] == second["gridPos"]["y"] < 8

    def test_without_a_url_nothing_is_a_dead_link(self) -> None:
        for board in documents(Options()).values():
            assert ["dashboards"] == [each["type"] for each in board["links"]]
        panel = panel_of(documents(Options())["pool.json"], "Findings")
        assert "links" not in str(panel["fieldConfig"])

    def test_the_live_page_is_linked_where_its_address_is_known(self) -> None:
        url = "http://pools.example/pools"
        for name, board in documents(Options(live_page=url)).items():
            assert [url] == [each.get("url") for each in board["links"] if each["type"] == "link"]
            if name == "pool.json":
                row = {"Function": Seen("f")}
                assert url == link(panel_of(board, "Who holds them, now"), "Function", row)


class TestOperations:
    OUT: Final = "Connections out by operation"
    USED: Final = "Who used the pool, by operation"
    # The rest of the ten that are in use is for none.
    EXPECTED: Final = {
        "POST /orders/{id}": 6.0,
        "background: POST /orders/{id}": 2.0,
        "GET /orders": 0.0,
        "no operation": 2.0,
    }

    @pytest.mark.parametrize("title", [OUT, USED])
    def test_each_says_what_it_holds(self, reader: Reader, title: str) -> None:
        seen = reader.graph(POOL, title, **SHOP)
        assert pytest.approx(self.EXPECTED) == seen

    @pytest.mark.parametrize("title", [OUT, USED])
    def test_where_there_never_was_one_the_panel_says_how_to_get_it(
        self, reader: Reader, title: str
    ) -> None:
        assert {} == reader.graph(POOL, title, **{**SHOP, "service": "billing"})
        panel = panel_of(POOL, title)
        said = panel["fieldConfig"]["defaults"]["noValue"]
        assert "poolscope.instrument(app)" in said
        assert "red" not in str(panel["fieldConfig"])

    def test_they_stand_beside_those_by_function(self) -> None:
        titles = ("Connections by the function that holds them", self.USED)
        function, operation = (panel_of(POOL, title)["gridPos"] for title in titles)
        assert function["y"] == operation["y"]

    @pytest.mark.parametrize("title", [OUT, USED])
    def test_each_leads_to_its_lines_on_the_live_page(self, title: str) -> None:
        url = "http://pools.example/pools"
        board = documents(Options(live_page=url))["pool.json"]
        (each,) = panel_of(board, title)["fieldConfig"]["defaults"]["links"]
        operation = "${__field.labels.operation:percentencode}"
        assert f"{url}?group=operation&q={operation}" == each["url"]
        assert "links" not in panel_of(POOL, title)["fieldConfig"]["defaults"]


def option(panel: Json, series: str, name: str) -> object:
    (override,) = (
        each for each in panel["fieldConfig"]["overrides"] if each["matcher"]["options"] == series
    )
    found = {each["id"]: each["value"] for each in override["properties"]}
    return found.get(f"custom.{name}")


class TestAxes:
    def test_a_peak_does_not_squeeze_the_mean(self) -> None:
        panel = panel_of(POOL, "Callers waiting", "timeseries")
        assert "right" == option(panel, "peak", "axisPlacement")
        assert option(panel, "mean", "axisPlacement") is None

    def test_bands_are_told_apart_without_colours(self) -> None:
        for board in BOARDS.values():
            for panel in with_queries(board):
                names = [
                    each["matcher"]["options"]
                    for each in panel.get("fieldConfig", {}).get("overrides", [])
                ]
                used = {"in use", "active"} & set(names)
                if "idle" in names and used and panel["type"] == "timeseries":
                    (used_name,) = used
                    full, open_ = (
                        option(panel, each, "fillOpacity") for each in (used_name, "idle")
                    )
                    assert isinstance(full, int)
                    assert isinstance(open_, int)
                    assert full > 4 * open_
                    assert "dash" == option(panel, "idle", "lineStyle")["fill"]  # type: ignore[index]

    def test_whole_numbers_are_written_out(self) -> None:
        for board in BOARDS.values():
            for panel in with_queries(board):
                config = panel["fieldConfig"]
                columns = [
                    {each["id"]: each["value"] for each in o["properties"]}
                    for o in config["overrides"]
                ]
                for each in (
                    (config["defaults"], *columns) if panel["type"] in ("stat", "table") else ()
                ):
                    assert ("short", 0) != (each.get("unit"), each.get("decimals"))

    def test_connections_that_could_not_be_opened_are_red(self) -> None:
        panel = panel_of(HTTP, "Opened, by host and outcome")
        found = {
            each["matcher"]["options"]: each["properties"][0]["value"]["fixedColor"]
            for each in panel["fieldConfig"]["overrides"]
        }
        assert {"/ ok$/": "green", "/ error$/": "red"} == found

    @pytest.mark.parametrize(
        ("name", "title"),
        [
            ("overview", "Callers that gave up"),
            ("pool", "Leaks"),
            ("pool", "Nested acquires"),
        ],
    )
    def test_events_are_whole_numbers(self, name: str, title: str) -> None:
        panel = panel_of(BOARDS[f"{name}.json"], title)
        assert 0 == panel["fieldConfig"]["defaults"]["decimals"]
        for target in panel["targets"]:
            assert "round(sum by" in target["expr"] or "round(sum(" in target["expr"]

"""What the dashboards show of sixty pools in twenty services and two hundred processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest

from mixin.dashboards import estate, estate_large
from mixin.dashboards.gates.fixtures import prometheus_program
from mixin.dashboards.gates.live import empty_panels
from mixin.dashboards.gates.walking import Json, outer_panels, with_queries
from mixin.dashboards.shown import Reader, panel_of
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.write import documents
from support.prometheus import PrometheusServer

__all__ = ["prometheus_program"]

BOARDS: Final = documents(Options())
OVERVIEW, POOL = BOARDS["overview.json"], BOARDS["pool.json"]
MOST_SERIES: Final = 15
ROW_PIXELS, FRAME_PIXELS, LINE_PIXELS = 38, 80, 16
"""A row of the grid; the title and the axis of a panel; a line of text."""
TIMELINE: Final = "Time without a free connection"
PAYMENTS: Final = {"cluster": "eu-1", "service": "payments", "pool": "main", "kind": "sqlalchemy"}
GRAPHS: Final = [
    (name, panel["title"])
    for name, board in BOARDS.items()
    for panel in with_queries(board)
    if panel["type"] in ("timeseries", "state-timeline")
]


@pytest.fixture(scope="module")
def reader(
    prometheus_program: str, promtool: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("large")
    end = int(time.time()) // estate.SCRAPE * estate.SCRAPE
    pools = estate_large.pools()
    estate.write(promtool, pools, folder / "data", end, estate_large.SERVERS, 0)
    server = PrometheusServer(prometheus_program, folder, [])
    yield Reader(server, end)
    server.kill()


def test_the_estate_is_large(reader: Reader) -> None:
    pools = {pool.key for pool in estate_large.pools()}
    assert (60, 20) == (len(pools), len({service for _, service, _ in pools}))
    assert 200 == reader.stat(OVERVIEW, "Live processes").shown


class TestGraphs:
    @pytest.mark.parametrize(("name", "title"), GRAPHS)
    def test_a_graph_has_no_more_series_than_can_be_told_apart(
        self, reader: Reader, name: str, title: str
    ) -> None:
        chosen = PAYMENTS if name == "pool.json" else {}
        seen = reader.over_time(BOARDS[name], title, **chosen)
        assert len(seen) <= MOST_SERIES

    @pytest.mark.parametrize(
        "title", [TIMELINE, "Utilization", "Callers waiting", "Callers that gave up"]
    )
    def test_those_in_trouble_are_among_them(self, reader: Reader, title: str) -> None:
        seen = {name for name, most in reader.over_time(OVERVIEW, title).items() if most}
        names = {f"eu-1 {service} main (sqlalchemy)" for service in estate_large.IN_TROUBLE}
        expected = {"eu-1 payments main (sqlalchemy)"} if "gave up" in title else names
        assert expected <= seen

    def test_each_row_of_a_timeline_is_as_high_as_its_name(self, reader: Reader) -> None:
        panel = panel_of(OVERVIEW, TIMELINE)
        inside = panel["gridPos"]["h"] * ROW_PIXELS - FRAME_PIXELS
        assert LINE_PIXELS * len(reader.over_time(OVERVIEW, TIMELINE)) <= inside

    @pytest.mark.parametrize(("name", "title"), GRAPHS)
    def test_many_series_have_a_table_at_the_right(
        self, reader: Reader, name: str, title: str
    ) -> None:
        panel = panel_of(BOARDS[name], title, "time")
        chosen = PAYMENTS if name == "pool.json" else {}
        if (
            panel["type"] == "timeseries"
            and len(reader.over_time(BOARDS[name], title, **chosen)) > 6
        ):
            legend = panel["options"]["legend"]
            assert ("table", "right", True) == (
                legend["displayMode"],
                legend["placement"],
                legend["sortDesc"],
            )
            assert ["lastNotNull", "mean", "max"] == legend["calcs"]


def test_a_finding_of_ten_processes_counts_once(reader: Reader) -> None:
    assert 1 == reader.stat(OVERVIEW, "Serious findings").shown
    first, *_ = reader.table(OVERVIEW, "Pools, those in trouble first")
    assert ("payments", 1.0) == (first["Service"].shown, first["Findings"].shown)


class TestFullest:
    def test_it_is_named(self, reader: Reader) -> None:
        assert "payments main" == reader.named(OVERVIEW, "Fullest pool")
        assert (1.0, "red") == (
            reader.stat(OVERVIEW, "Fullest pool").shown,
            reader.stat(OVERVIEW, "Fullest pool").colour,
        )
        calm = reader.named(OVERVIEW, "Fullest pool", service=["audit"])
        assert calm.startswith("audit ")

    def test_it_leads_to_its_page(self) -> None:
        panel = panel_of(OVERVIEW, "Fullest pool")
        (each,) = panel["fieldConfig"]["defaults"]["links"]
        chosen = parse_qs(urlsplit(each["url"]).query)
        assert {label: [f"${{__field.labels.{label}:percentencode}}"] for label in PAYMENTS} == {
            label: chosen[f"var-{label}"] for label in PAYMENTS
        }


def rows(board: Json) -> dict[str, bool]:
    """Return whether each row is collapsed."""
    return {
        panel["title"]: panel["collapsed"]
        for panel in outer_panels(board)
        if panel["type"] == "row"
    }


class TestRows:
    def test_those_that_are_seldom_needed_are_collapsed(self) -> None:
        closed = {
            name: [title for title, shut in rows(b).items() if shut] for name, b in BOARDS.items()
        }
        assert {
            "overview.json": [],
            "pool.json": ["Distributions", "Leaks and nested acquires", "Processes"],
            "http.json": ["DNS"],
            "databases.json": [],
        } == closed

    def test_a_closed_row_takes_one_line(self) -> None:
        for board in BOARDS.values():
            for panel, following in zip(outer_panels(board), outer_panels(board)[1:], strict=False):
                if panel.get("collapsed"):
                    top = panel["gridPos"]["y"] + 1
                    assert top == following["gridPos"]["y"]
                    assert top == min(inner["gridPos"]["y"] for inner in panel["panels"])


class TestProcesses:
    def test_without_an_exporter_each_target_is_one(self, reader: Reader) -> None:
        table = reader.table(POOL, "Processes, now", **PAYMENTS)
        assert estate_large.PROCESSES == len(table)
        assert ("10.0.14.0:80", "", 1.0, 15.0) == tuple(
            min(table, key=lambda row: str(row["Instance"].shown))[name].shown
            for name in ("Instance", "Process", "Utilization", "Limit")
        )
        fullest = reader.graph(POOL, "Fullest process and all processes", **PAYMENTS)
        assert {"fullest process": 1.0, "all processes": 1.0} == fullest

    @pytest.mark.parametrize("name", ["overview.json", "pool.json", "http.json"])
    def test_services_without_an_exporter_have_no_empty_panel(
        self, reader: Reader, name: str
    ) -> None:
        chosen = PAYMENTS if name == "pool.json" else {}
        empty = empty_panels(
            BOARDS[name], reader.server, chosen, estate.SCRAPE, seconds=1500, end=reader.at
        )
        # Nobody looks up a name here.
        lookups = ("DNS errors", "Lookups by result", "Time to resolve")
        assert [] == [
            each for each in empty if not each.startswith(tuple(f"panel {t!r}" for t in lookups))
        ]

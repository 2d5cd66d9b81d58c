"""Panels with and without data, in a real Prometheus."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mixin.dashboards.gates import live
from mixin.dashboards.gates.example import ACQUIRES, GOOD, IN_USE, broken, panel
from mixin.dashboards.gates.fixtures import prometheus, prometheus_program
from support.exporters import ExporterProcess
from support.prometheus import PrometheusServer, job
from support.workers import Worker

__all__ = ["prometheus", "prometheus_program"]


@pytest.fixture(scope="module")
def scraping(
    prometheus: Callable[..., PrometheusServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    """A Prometheus that has scraped a pool in use."""
    folder = tmp_path_factory.mktemp("pools")
    with contextlib.ExitStack() as stack:
        worker = Worker(folder, "orders")
        stack.callback(worker.kill)
        exporter = ExporterProcess(folder)
        stack.callback(exporter.kill)
        worker.tell("take")
        server = prometheus(job("shop", exporter.url, labels={"service": "shop"}))
        server.wait_for("connpool_acquires_total")
        for used in range(3, 16, 3):  # over several scrapes, so that rates have values at each step
            worker.tell("use 3")
            server.wait_for(f'connpool_acquires_total{{outcome="ok"}} > {used}')
        yield server


def test_a_panel_without_data_is_reported(scraping: PrometheusServer) -> None:
    dashboard = copy.deepcopy(GOOD)
    dashboard["panels"] += [
        panel(5, "Hosts", 0, "short", 'connpool_host_waiting{pool=~"$pool"}'),
        panel(6, "Share", 0, "percentunit", f"0 * {IN_USE} / 0"),
        panel(7, "Wrong", 0, "short", "sum("),
        panel(8, "Mixed", 0, "ops", "connpool_dns_seconds_count", ACQUIRES),
        {**panel(9, "Each", 0, "ops", IN_USE), "repeat": "pool"},
    ]
    dashboard["panels"][1]["targets"][0]["instant"] = True
    dashboard["panels"][4]["targets"].append({"expr": ACQUIRES, "hide": True})
    assert [
        "panel 'Hosts': no data",
        "panel 'Share': only NaN",
        "panel 'Wrong': query A: 1:5: parse error: unclosed left parenthesis",
    ] == live.empty_panels(dashboard, scraping, {}, 1)


def test_only_the_selected_pools_are_queried(scraping: PrometheusServer) -> None:
    empty = [f"panel {title!r}: no data" for title in ("In use", "Acquires", "Slowest")]
    assert [] == live.empty_panels(GOOD, scraping, {"pool": ["orders", "billing"]}, 1)
    assert empty == live.empty_panels(GOOD, scraping, {"pool": "billing"}, 1)
    every = broken("templating.list.1.allValue", ".+")
    assert [] == live.empty_panels(every, scraping, {"pool": "All"}, 1)
    first = broken("templating.list.1.includeAll", False)
    assert [] == live.empty_panels(first, scraping, {}, 1)
    repeated = broken("panels.1.repeat", "pool")
    assert ["panel 'In use', pool=billing: no data"] == live.empty_panels(
        repeated, scraping, {"pool": ["orders", "billing"]}, 1
    )


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ({"type": "query", "query": "label_values(connpool_limit, kind)"}, ["sqlalchemy"]),
        ({"type": "query", "query": "label_values(connpool_limit{pool='x'}, kind)"}, []),
        (
            {
                "type": "query",
                "query": "query_result(max by (pool) (connpool_limit))",
                "regex": '/pool="(?<name>.*)"/',
            },
            ["orders"],
        ),
        ({"type": "custom", "query": "p50 : 0.5, p99 : 0.99"}, ["0.5", "0.99"]),
    ],
)
def test_the_values_that_a_variable_offers(
    scraping: PrometheusServer, variable: dict[str, Any], expected: list[str]
) -> None:
    assert expected == live.options(variable, scraping, {})


def test_an_unsupported_query_of_a_variable_is_an_error(scraping: PrometheusServer) -> None:
    with pytest.raises(ValueError, match="unsupported query of a variable: metrics"):
        live.empty_panels(broken("templating.list.1.query", "metrics(x)"), scraping, {}, 1)


def test_queries_return_what_was_scraped(scraping: PrometheusServer) -> None:
    series = {"__name__": "connpool_waiting", "pool": "orders", "kind": "sqlalchemy"}
    host = scraping.query("up")[0][0]["instance"]
    target = {"instance": host, "job": "shop", "service": "shop"}
    assert [series | target] == scraping.series("connpool_waiting")
    assert [(series | target, 0.0)] == scraping.query("connpool_waiting")
    assert [({}, 1.0)] == scraping.query("1")
    now = scraping.query("time()")[0][1]
    assert [({}, [(now - 1, 2.0), (now, 2.0)])] == scraping.query_range(
        "vector(2)", now - 1, now, 1
    )


def test_an_invalid_configuration_is_an_error(
    prometheus: Callable[..., PrometheusServer],
) -> None:
    with pytest.raises(AssertionError, match="scrape_intervall"):
        prometheus(job("shop", "127.0.0.1:1", scrape_intervall="1s"))

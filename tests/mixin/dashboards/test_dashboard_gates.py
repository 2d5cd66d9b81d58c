"""The checks of dashboards: each passes a good dashboard, and reports one fault."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from mixin.dashboards.gates import expressions, lint, live, schema
from mixin.dashboards.gates.example import ACQUIRES, GOOD, IN_USE, REMOVED, asking, broken, panel
from mixin.dashboards.gates.fixtures import prometheus, prometheus_program
from support.exporters import ExporterProcess
from support.prometheus import PrometheusServer, job
from support.workers import Worker

__all__ = ["prometheus", "prometheus_program"]


def override(option: str, value: object) -> list[dict[str, Any]]:
    properties = [{"id": option, "value": value}]
    return [{"matcher": {"id": "byName", "options": "orders"}, "properties": properties}]


TABLE_LEGEND: Final = {
    "displayMode": "table",
    "calcs": [],
    "placement": "bottom",
    "showLegend": True,
}
MERGED: Final = {
    **panel(5, "States", 0, "short", IN_USE),
    "type": "state-timeline",
    "gridPos": {"h": 8, "w": 8, "x": 0, "y": 9},
    "fieldConfig": {"defaults": {"unit": "s", "color": {"mode": "thresholds"}, "mappings": [{}]}},
}
HEATMAP: Final = {
    **panel(5, "Heat", 0, "s", IN_USE),
    "type": "heatmap",
    "gridPos": {"h": 8, "w": 8, "x": 0, "y": 9},
    "options": {"color": {"mode": "scheme", "exponent": 0.5}},
}
ROW: Final[dict[str, Any]] = {
    "id": 5,
    "type": "row",
    "title": "More",
    "collapsed": True,
    "gridPos": {"h": 1, "w": 24, "x": 0, "y": 9},
    "panels": [panel(6, "One", 0, "s", IN_USE), panel(7, "Other", 7, "s", IN_USE)],
}
UNUSED: Final = {**GOOD["templating"]["list"][1], "name": "host"}
FIXED_SOURCE: Final = {"type": "prometheus", "uid": "P1809F7CD0C75ACF3"}
LINK: Final = [{"title": "The pool", "url": "/d/poolscope-pool?${__all_variables}"}]

RULES: Final[list[tuple[str, object, str]]] = [
    ("uid", "", "uid '' is not poolscope-..."),
    ("uid", "connpool-x", "uid 'connpool-x' is not poolscope-..."),
    ("uid", f"poolscope-{31 * 'x'}", f"uid 'poolscope-{31 * 'x'}' is not poolscope-..."),
    ("id", 12, "it has an id, which only a server may assign"),
    ("title", "", "no title"),
    ("schemaVersion", 12, "schemaVersion is not 39"),
    ("timezone", "", "timezone is not set"),
    ("refresh", REMOVED, "refresh is not set"),
    ("time.to", "now-1h", "the time range does not end now"),
    ("editable", True, "it is editable, although it is generated"),
    (
        "templating.list.0.query",
        "loki",
        "there is not exactly one variable 'datasource', of type prometheus",
    ),
    ("panels.1.datasource", REMOVED, "panel 'In use': no data source"),
    ("panels.1.datasource", FIXED_SOURCE, f"panel 'In use': data source {FIXED_SOURCE!r}"),
    ("panels.0.datasource", FIXED_SOURCE, f"panel 'Pools': data source {FIXED_SOURCE!r}"),
    ("panels.1.targets.0.datasource", REMOVED, "panel 'In use', query A: no data source"),
    ("templating.list.1.datasource", "default", "variable 'pool': data source 'default'"),
    ("annotations.list.0.datasource", None, "annotation 'New pools': data source None"),
    ("templating.list.2", UNUSED, "variable 'host' is not used"),
    ("panels.1.title", "In use of $service", "$service is used, but there is no such variable"),
    ("panels.1.repeat", "service", "$service is used, but there is no such variable"),
    ("templating.list.2", GOOD["templating"]["list"][1], "two variables have the same name"),
    (
        "templating.list.1.refresh",
        1,
        "variable 'pool': it is not refreshed when the time range changes",
    ),
    (
        "templating.list.1.current",
        {"text": "orders", "value": "orders"},
        "variable 'pool': it contains values from a particular server",
    ),
    ("links.0.keepTime", False, "link 'Others': it loses the time range or the variables"),
    ("links.0.includeVars", False, "link 'Others': it loses the time range or the variables"),
    (
        "panels.1.fieldConfig.defaults.links",
        LINK,
        f"panel 'In use': link {LINK[0]['url']!r} loses the time range or the variables",
    ),
    (
        "panels.1.description",
        "See https://wiki.example.com/pools for it.",
        "'https://wiki.example.com/pools' is on a foreign host",
    ),
    ("panels.1.type", "graph", "panel 'In use': type 'graph'"),
    ("panels.1.id", 3, "2 panels have the id 3"),
    ("panels.1.id", REMOVED, "panel 'In use': no id"),
    ("panels.1.title", "", "panel 2: no title"),
    ("panels.1.description", "In use", "panel 'In use': its description is not a sentence"),
    ("panels.1.fieldConfig.defaults.unit", REMOVED, "panel 'In use': no unit"),
    (
        "panels.1.fieldConfig.defaults.unit",
        "seconds",
        "panel 'In use': unit 'seconds' is not one of Grafana's",
    ),
    ("panels.1.targets", [], "panel 'In use': it has no queries"),
    (
        "panels.1.targets.1",
        GOOD["panels"][1]["targets"][0],
        "panel 'In use': two queries have the same refId",
    ),
    (
        "panels.1.targets.0.legendFormat",
        "__auto",
        "panel 'In use', query A: its series have no names",
    ),
    ("panels.1.options.legend.showLegend", False, "panel 'In use': its legend is hidden"),
    (
        "panels.1.options.legend",
        TABLE_LEGEND,
        "panel 'In use': it is too low for a legend that is a table below the graph",
    ),
    ("panels.4", HEATMAP, "panel 'Heat': exponent has no effect in mode 'scheme'"),
    (
        "panels.4",
        MERGED,
        "panel 'States': merged values with colours of thresholds cannot have mappings",
    ),
    ("panels.1.gridPos.w", 9, "panel 'In use' and panel 'Acquires' overlap"),
    ("panels.1.gridPos.y", 0, "panel 'Pools' and panel 'In use' overlap"),
    ("panels.4", ROW, "panel 'One' and panel 'Other' overlap"),
    ("panels.3.gridPos.w", 9, "panel 'Slowest': it reaches beyond 24 columns"),
    ("panels.1.gridPos.h", 0, "panel 'In use': its position is invalid"),
    ("panels.1.gridPos", {"h": 1, "w": 1}, "panel 'In use': it has no position"),
]

PLACE: Final = "panel 'In use', query A: "
NOT_SUMMED: Final = "histogram_quantile is not over sum by (le, ...) (rate(..._bucket[...]))"
QUANTILE: Final = "histogram_quantile(0.9, {})"
BUCKETS: Final = "connpool_hold_seconds_bucket"

QUERIES: Final = [
    ("rate(connpool_waits_total[5m])", "rate over 5m, not $__rate_interval"),
    (
        "increase(connpool_waits_total[$__interval])",
        "increase over $__interval, not $__rate_interval",
    ),
    ("max_over_time(connpool_waiting[1h])", "max_over_time over 1h, without a given reason"),
    ("max_over_time(sum(connpool_waiting)[1h:])", "max_over_time over 1h, without a given reason"),
    ("rate(sum(connpool_waiting)[$__range:])", "rate of a subquery"),
    ("sum(connpool_waits_total)", "'connpool_waits_total' is a counter outside of a rate"),
    ("connpool_hold_seconds_sum", "'connpool_hold_seconds_sum' is a counter outside of a rate"),
    ("x_total", "'x_total' is a counter outside of a rate"),
    ("rate(connpool_waiting[$__range])", "rate of 'connpool_waiting', which is not a counter"),
    (QUANTILE.format(f"rate({BUCKETS}[$__rate_interval])"), NOT_SUMMED),
    (QUANTILE.format(f"sum by (pool) (rate({BUCKETS}[$__rate_interval]))"), NOT_SUMMED),
    (QUANTILE.format(f"sum without (le) (rate({BUCKETS}[$__rate_interval]))"), NOT_SUMMED),
    (QUANTILE.format(f"max by (le) (rate({BUCKETS}[$__rate_interval]))"), NOT_SUMMED),
    (QUANTILE.format("sum by (le) (connpool_waiting * 2)"), NOT_SUMMED),
    (QUANTILE.format("sum by (le) (rate(connpool_waits_total[$__rate_interval]))"), NOT_SUMMED),
    ("sum(connpool_waiting", "does not parse: unclosed left parenthesis"),
    ("connpool_waiting[5m]", "does not parse: a range vector cannot be shown"),
]

ALLOWED: Final = [
    '{__name__=~"connpool_.*", pool=~"$pool"}',
    "histogram_quantile(0.9, (sum by (le) (rate(connpool_dns_seconds_bucket[$__range]))))",
    "sum by (pool) (increase(connpool_waits_total[$__range]))",
    "count by (pool) (connpool_waits_total)",
    "max_over_time(connpool_waiting[$__interval])",
    "max_over_time(sum by (pool) (connpool_waiting)[$__range:$__rate_interval])",
    "histogram_quantile(0.9, sum by (le) (pool:connpool_hold_seconds_bucket:rate5m))",
]


def test_a_good_dashboard_passes(promtool: str) -> None:
    assert [] == schema.errors(GOOD)
    assert [] == lint.problems(GOOD, urls=["https://poolscope.example/"])
    assert [] == lint.problems_together([GOOD])
    assert [] == expressions.parse([*expressions.found(GOOD)], promtool)
    assert [] == expressions.all_unknown(GOOD)


@pytest.mark.parametrize(("path", "value", "problem"), RULES)
def test_a_broken_rule_is_reported(path: str, value: object, problem: str) -> None:
    assert [problem] == lint.problems(broken(path, value))


@pytest.mark.parametrize(("query", "problem"), QUERIES)
def test_a_query_that_breaks_a_rule_is_reported(query: str, problem: str) -> None:
    assert [PLACE + problem] == lint.problems(asking(query))


@pytest.mark.parametrize("query", ALLOWED)
def test_queries_that_only_look_wrong_are_allowed(query: str) -> None:
    assert [] == lint.problems(asking(query))


def test_there_is_only_one_data_source() -> None:
    other = {"name": "other", "type": "datasource", "query": "prometheus"}
    assert [
        "there is not exactly one variable 'datasource', of type prometheus",
        "variable 'other' is not used",
    ] == lint.problems(broken("templating.list.2", other))


def test_a_reason_allows_a_fixed_range_but_not_for_a_rate() -> None:
    reasons = {"In use": "it shows the last hour, whatever the time range"}
    assert [] == lint.problems(asking("max_over_time(connpool_waiting[1h])"), reasons=reasons)
    assert [f"{PLACE}rate over 1h, not $__rate_interval"] == lint.problems(
        asking("rate(connpool_waits_total[1h])"), reasons=reasons
    )


def test_panels_select_by_the_required_variables() -> None:
    assert [] == lint.problems(GOOD, selected=["pool"])
    assert [f"{PLACE}'connpool_waiting' does not select by $pool"] == lint.problems(
        asking("sum by (pool) (connpool_waiting + connpool_waiting{pool=~'$pool'})"),
        selected=["pool"],
    )
    assert [] == lint.problems(asking("connpool_server_up", "{{server}}"), selected=["pool"])


DEFAULTS: Final = "$.panels[1].fieldConfig.defaults"
OVERRIDE: Final = "$.panels[1].fieldConfig.overrides[0].properties[0]"

SHAPES: Final[list[tuple[str, object, str]]] = [
    ("schemaVersion", REMOVED, "$: 'schemaVersion' is a required property"),
    ("rows", [], "$: Additional properties are not allowed ('rows' was unexpected)"),
    ("panels.0.collapsed", REMOVED, "$.panels[0]: 'collapsed' is a required property"),
    ("panels.1.type", "graph", "$.panels[1].type: 'graph' is not in grafana-schema.json"),
    ("panels.1.gridPos.w", "8", "$.panels[1].gridPos.w: '8' is not of type 'number'"),
    (
        "panels.1.fieldConfig.defaults.thresholds",
        {"mode": "absolute", "steps": [{"color": "red", "value": "null"}]},
        f"{DEFAULTS}.thresholds.steps[0].value: 'null' is not of type 'number', 'null'",
    ),
    (
        "panels.1.options.legend.placement",
        "below",
        "$.panels[1].options.legend.placement: 'below' is not one of ['bottom', 'right']",
    ),
    (
        "panels.1.fieldConfig.defaults.custom.lineWdth",
        2,
        f"{DEFAULTS}.custom: Additional properties are not allowed ('lineWdth' was unexpected)",
    ),
    (
        "panels.1.fieldConfig.overrides",
        override("custom.lineWdth", 2),
        f"{OVERRIDE}.id: 'custom.lineWdth' is not a field option",
    ),
    (
        "panels.1.fieldConfig.overrides",
        override("custom.lineWidth", "2"),
        f"{OVERRIDE}.value: '2' is not of type 'number'",
    ),
    (
        "panels.1.targets.0.legend",
        "",
        "$.panels[1].targets[0]: Additional properties are not allowed ('legend' was unexpected)",
    ),
    (
        "panels.4",
        {**ROW, "panels": [{**ROW["panels"][0], "interval": 5}]},
        "$.panels[4].panels[0].interval: 5 is not of type 'string'",
    ),
]


@pytest.mark.parametrize(("path", "value", "error"), SHAPES)
def test_what_the_schema_does_not_allow_is_reported(path: str, value: object, error: str) -> None:
    assert [error] == schema.errors(broken(path, value))


@pytest.mark.parametrize("own", [override("unit", "s"), override("custom.hideFrom.viz", True)])
def test_overrides_may_set_any_field_option(own: list[Any]) -> None:
    assert [] == schema.errors(broken("panels.1.fieldConfig.overrides", own))


def test_conflicts_between_dashboards_are_reported() -> None:
    other = broken("links.0.tags", ["pools"])
    other["panels"][1]["links"] = [{"title": "Hosts", "url": "/d/poolscope-hosts"}]
    assert [
        "2 dashboards have the uid 'poolscope-good'",
        "2 dashboards have the title 'Good'",
        "'poolscope-good' has a link to 'poolscope-hosts', which does not exist",
        "'poolscope-good' links by the tag 'pools', which no dashboard has",
    ] == lint.problems_together([GOOD, other])


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

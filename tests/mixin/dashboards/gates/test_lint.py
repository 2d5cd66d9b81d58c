"""The linter of dashboards: it passes a good dashboard, and reports each broken rule."""

from __future__ import annotations

from typing import Final

import pytest

from mixin.dashboards.gates import expressions, lint, schema
from mixin.dashboards.gates.example import GOOD, IN_USE, REMOVED, ROW, asking, broken, panel

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


def test_conflicts_between_dashboards_are_reported() -> None:
    other = broken("links.0.tags", ["pools"])
    other["panels"][1]["links"] = [{"title": "Hosts", "url": "/d/poolscope-hosts"}]
    assert [
        "2 dashboards have the uid 'poolscope-good'",
        "2 dashboards have the title 'Good'",
        "'poolscope-good' has a link to 'poolscope-hosts', which does not exist",
        "'poolscope-good' links by the tag 'pools', which no dashboard has",
    ] == lint.problems_together([GOOD, other])

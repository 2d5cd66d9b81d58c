"""Reading the expressions of a dashboard, and checking them against the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from mixin.dashboards.gates import expressions
from mixin.dashboards.gates.example import ACQUIRES, GOOD, IN_USE, SLOWEST, asking, broken
from mixin.dashboards.gates.interpolation import Value, interpolate, uses

VALUES: Final[dict[str, Value]] = {
    "one": "a.b",
    "several": ["a.b", "c"],
    "only": ["a.b"],
    "__rate_interval": "4s",
}

SUBSTITUTIONS: Final = [
    ('x{a="$one"}[$__rate_interval]', 'x{a="a.b"}[4s]'),
    ('x{a=~"$several"}', r'x{a=~"(a\\.b|c)"}'),
    ('x{a=~"${only}"}', r'x{a=~"a\\.b"}'),
    ("[[one]] ${one} $one_more", "a.b a.b $one_more"),
    ("${several:regex}", r"(a\.b|c)"),
    ("${several:pipe} ${several:csv} ${several:text}", "a.b|c a.b,c a.b + c"),
    ("[[several:raw]]", "a.b,c"),
    ('label_replace(x, "a", "$1", "b", "(.*)")', 'label_replace(x, "a", "$1", "b", "(.*)")'),
]

PROMTOOL_REJECTS: Final = [
    (asking("sum(up"), "panel 'In use', query A: 1:7: parse error: unclosed left parenthesis"),
    (
        asking("sum_of(up)"),
        "panel 'In use', query A: 1:1: parse error: unknown function with name \"sum_of\"",
    ),
    (
        broken("templating.list.1.query", "label_values(up{, pool)"),
        "variable 'pool': 1:21: parse error: unexpected character inside braces: ')'",
    ),
    (
        broken("annotations.list.0.expr", ""),
        "annotation 'New pools': field 'expr' must be set in rule",
    ),
]

KNOWN: Final = [
    "connpool_connections / on(pool, kind) group_left sum by (pool, kind) (connpool_limit)",
    "sum by (pool, le) (rate(connpool_hold_seconds_bucket[1m]))",
    "topk(5, sum by (site) (connpool_site_connections)) > 0",
    "connpool_waiting * on(pool, kind, instance) group_left(version) connpool_info",
    "connpool_connections / ignoring(state) group_left connpool_limit",
    "sum without (state) (connpool_connections) / connpool_limit",
    'sum by (name) (label_join(connpool_waiting, "name", "/", "job", "pool"))',
    'sum by (made) (label_replace(connpool_waiting, "made", "$1", "pool", "(.*)"))',
    "connpool_waiting or vector(0)",
    "sum by (n) (count_values('n', connpool_limit))",
    "absent(connpool_waiting{pool='orders'}) * on(pool) connpool_limit",
    "{__name__='connpool_waiting', pool='orders'}",
    "time() - connpool_waiting + scalar(sum(connpool_limit))",
    "-(connpool_waiting) unless on(pool) connpool_leaked == 1",
    "histogram_quantile(0.5, sum by (le) (rate(connpool_dns_seconds_bucket[1m])))",
]

UNKNOWN: Final = [
    ("connpool_wating", "'connpool_wating' is not in the catalogue"),
    ("connpool_hold_seconds", "'connpool_hold_seconds' is not in the catalogue"),
    ("connpool:waiting:sum", "'connpool:waiting:sum' is not in the catalogue"),
    ("{__name__=~'connpool_.*'}", "a selector does not name a single metric"),
    ("connpool_waiting{stat='in_use'}", "'connpool_waiting' has no label 'stat'"),
    ("connpool_waiting{cluster='a'}", "'connpool_waiting' has no label 'cluster'"),
    ("sum by (state) (connpool_waiting)", "the operand of sum has no label 'state'"),
    ("topk by (state) (5, connpool_waiting)", "the operand of topk has no label 'state'"),
    (
        "sum by (pool) (connpool_limit) / on(pool, kind) sum by (pool, kind) (connpool_limit)",
        "the left side of / has no label 'kind'",
    ),
    (
        "connpool_limit * on(pool) group_left(class) sum by (pool) (connpool_info)",
        "the one side of * has no label 'class'",
    ),
    (
        "sum by (pool) (connpool_info) * on(pool) group_right(class) connpool_limit",
        "the one side of * has no label 'class'",
    ),
    ("connpool_limit / ignoring(state) connpool_limit", "neither side of / has no label 'state'"),
    (
        "connpool_connections{state='in_use'} / connpool_limit",
        "the sides of / never match: only the left has state, only the right none",
    ),
    (
        "sum by (state) (connpool_limit * on(pool) connpool_connections)",
        "the operand of sum has no label 'state'",
    ),
    (
        'label_replace(connpool_limit, "made", "$1", "sate", "(.*)")',
        "the operand that is relabelled has no label 'sate'",
    ),
    (
        "sum by (le) (histogram_quantile(0.5, rate(connpool_dns_seconds_bucket[1m])))",
        "the operand of sum has no label 'le'",
    ),
]


@pytest.mark.parametrize(("text", "expected"), SUBSTITUTIONS)
def test_variables_are_interpolated_as_in_grafana(text: str, expected: str) -> None:
    assert expected == interpolate(text, VALUES)


def test_the_variables_in_a_text_are_found() -> None:
    assert ["a", "b", "c", "d"] == [*uses('$a ${b:regex} [[c]] ${d.text} "$1" foo$ {{e}}')]


def test_all_expressions_of_a_dashboard_are_found() -> None:
    assert [
        ("panel 'In use', query A", IN_USE),
        ("panel 'Acquires', query A", ACQUIRES),
        ("panel 'Slowest', query A", SLOWEST),
        ("variable 'pool'", "group by (pool) (connpool_instances)"),
        ("annotation 'New pools'", GOOD["annotations"]["list"][0]["expr"]),
    ] == [(each.where, each.raw) for each in expressions.found(GOOD)]


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ({"query": 'label_values(x{a="b"}, c)'}, 'group by (c) (x{a="b"})'),
        ({"query": {"query": "label_values(x, c)", "refId": "A"}}, "group by (c) (x)"),
        ({"query": "label_values(c)"}, None),
        ({"query": "query_result(topk(3, x))"}, "topk(3, x)"),
        # Other queries go to promtool unchanged, which rejects them.
        ({"query": "label_names()"}, "label_names()"),
    ],
)
def test_the_expression_of_a_variable(variable: dict[str, Any], expected: str | None) -> None:
    assert expected == expressions.of_variable(variable)


def test_a_custom_variable_stands_for_its_first_value() -> None:
    quantile = {"name": "quantile", "type": "custom", "query": "p50 : 0.5,p99 : 0.99"}
    dashboard = broken("templating.list.2", quantile)
    assert "0.5" == interpolate("$quantile", expressions.stand_ins(dashboard))


@pytest.mark.parametrize(("dashboard", "problem"), PROMTOOL_REJECTS)
def test_an_error_of_promtool_is_reported(
    dashboard: dict[str, Any], problem: str, promtool: str
) -> None:
    assert [problem] == expressions.parse([*expressions.found(dashboard)], promtool)


@pytest.mark.parametrize("expression", KNOWN)
def test_an_expression_that_fits_the_catalogue(expression: str) -> None:
    assert [] == expressions.unknown(expression)


@pytest.mark.parametrize(("expression", "problem"), UNKNOWN)
def test_what_the_catalogue_lacks_is_reported(expression: str, problem: str) -> None:
    assert [problem] == expressions.unknown(expression)


def test_additional_labels_and_names_can_be_allowed() -> None:
    expression = "sum by (cluster) (connpool_waiting) / sum by (cluster) (pool:limit:sum)"
    assert [] == expressions.unknown(expression, labels=["cluster"], recorded=["pool:*"])


def test_a_legend_uses_labels_that_the_result_has() -> None:
    assert [] == expressions.unknown("sum by (pool) (connpool_waiting)", "of {{pool}}")
    assert ["panel 'In use', query A: the result that the legend names has no label 'host'"] == (
        expressions.all_unknown(asking(IN_USE, "{{ pool }} {{host}}"))
    )


def test_a_failure_of_promtool_without_a_message_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "promtool"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o700)
    with pytest.raises(RuntimeError):
        expressions.parse([*expressions.found(GOOD)], str(program))


def test_an_expression_that_does_not_parse_is_reported() -> None:
    assert ["panel 'In use', query A: unclosed left parenthesis"] == (
        expressions.all_unknown(asking("sum(up"))
    )

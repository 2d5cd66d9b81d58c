"""The output of `poolscope check` in each format."""

from __future__ import annotations

import json
from typing import Any, Final
from xml.etree import ElementTree

import pytest

from poolscope.checking.formats import FORMATS
from poolscope.checking.found import Checked, PoolState, page_of, place_of
from poolscope.readings.findings import Finding

STALE: Final = Finding(
    "orders",
    "sqlalchemy",
    "stale-connections",
    "warning",
    "dead connections stay",
    ("shop/db.py:12 in connect",),
)
NESTED: Final = Finding(
    "100%: a,b",
    "asyncpg",
    "nested-acquire",
    "critical",
    "it asks\nfor another",
    ("my shop/pay.py:7 in pay", "shop.py:9 in <lambda>"),
)
OUT: Final = Finding("orders", "sqlalchemy", "max-out", "critical", "2 connections out", ())
INFO: Final = Finding("x", "aiohttp", "no-dns-cache", "info", "each <asks> again", ("/abs/x.py:1",))
FINDINGS: Final = (NESTED, OUT, STALE, INFO)
POOLS: Final = (
    PoolState("orders", "sqlalchemy", 2.0, 15.0, 1.0),
    PoolState("100%: a,b", "asyncpg", 0.0, float("inf"), 1.0),
    PoolState("quiet", "asyncpg", 0.0, 5.0, 2.0),
)
CHECKED: Final = Checked("http://127.0.0.1:10464", FINDINGS, POOLS)
PAGES: Final = "https://poolscope.readthedocs.io/en/latest/findings"

TEXT: Final = f"""\
my shop/pay.py:7: critical: nested-acquire: it asks for another [pool 100%: a,b, asyncpg]
    also shop.py:9
    see {PAGES}/nested-acquire/
critical: max-out: 2 connections out [pool orders, sqlalchemy]
shop/db.py:12: warning: stale-connections: dead connections stay [pool orders, sqlalchemy]
    see {PAGES}/stale-connections/
/abs/x.py:1: info: no-dns-cache: each <asks> again [pool x, aiohttp]
    see {PAGES}/no-dns-cache/
Found 4 mistakes in 3 pools of http://127.0.0.1:10464.
"""

GITHUB: Final = """\
::error file=my shop/pay.py,line=7,title=poolscope%3A nested-acquire::it asks%0Afor another \
[pool 100%25: a,b, asyncpg]
::error title=poolscope%3A max-out::2 connections out [pool orders, sqlalchemy]
::warning file=shop/db.py,line=12,title=poolscope%3A stale-connections::dead connections stay \
[pool orders, sqlalchemy]
::notice file=/abs/x.py,line=1,title=poolscope%3A no-dns-cache::each <asks> again [pool x, aiohttp]
Found 4 mistakes in 3 pools of http://127.0.0.1:10464.
"""


def parsed(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 - it is ours


def test_as_text() -> None:
    assert TEXT == FORMATS["text"](CHECKED, FINDINGS)


def test_nothing_found() -> None:
    expected = "Nothing found in 3 pools of http://127.0.0.1:10464.\n"
    assert expected == FORMATS["text"](CHECKED, ()) == FORMATS["github"](CHECKED, ())
    assert [] == json.loads(FORMATS["sarif"](CHECKED, ()))["runs"][0]["results"]
    assert "0" == parsed(FORMATS["junit"](CHECKED, ())).get("failures")


def test_annotations_are_escaped() -> None:
    assert GITHUB == FORMATS["github"](CHECKED, FINDINGS)


def test_as_json() -> None:
    document = json.loads(FORMATS["json"](CHECKED, FINDINGS))
    assert [None, 15] == sorted((each["limit"] for each in document["pools"][:2]), key=str)[::-1]
    assert {
        "rule": "stale-connections",
        "severity": "warning",
        "pool": "orders",
        "kind": "sqlalchemy",
        "message": "dead connections stay",
        "sites": ["shop/db.py:12 in connect"],
        "page": f"{PAGES}/stale-connections/",
    } == document["findings"][2]


def sarif() -> Any:
    (run,) = json.loads(FORMATS["sarif"](CHECKED, FINDINGS))["runs"]
    return run


def test_sarif_has_each_rule_and_its_results() -> None:
    run = sarif()
    rules = run["tool"]["driver"]["rules"]
    assert ["max-out", "nested-acquire", "no-dns-cache", "stale-connections"] == [
        rule["id"] for rule in rules
    ]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == [
        result["ruleId"] for result in run["results"]
    ]
    assert ["error", "error", "warning", "note"] == [each["level"] for each in run["results"]]
    nested = run["results"][0]
    assert [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "my%20shop/pay.py"},
                "region": {"startLine": 7},
            },
            "logicalLocations": [{"name": "pay", "kind": "function"}],
        }
    ] == nested["locations"]
    assert (
        "shop.py" == (nested["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"])
    )
    assert "locations" not in run["results"][1]
    last = run["results"][3]["locations"][0]["physicalLocation"]
    assert "file:///abs/x.py" == last["artifactLocation"]["uri"]


def test_the_fingerprint_of_a_finding_stays_when_its_line_moves() -> None:
    moved = [Finding(**{**_fields(STALE), "sites": ("shop/db.py:99 in connect",)})]
    prints = [
        json.loads(FORMATS["sarif"](CHECKED, found))["runs"][0]["results"][0]["partialFingerprints"]
        for found in ([STALE], moved)
    ]
    assert prints[0] == prints[1]


def _fields(finding: Finding) -> dict[str, Any]:
    return {name: getattr(finding, name) for name in Finding.__slots__}


def test_junit_has_a_case_for_each_pool_and_finding() -> None:
    strange = Finding("a\x00b\ud800", "asyncpg", "unlimited", "warning", "no\x1blimit", ())
    suite = parsed(FORMATS["junit"](CHECKED, (*FINDINGS, strange)))
    assert ("6", "5") == (suite.get("tests"), suite.get("failures"))
    names = [case.get("name") for case in suite]
    assert ["quiet", "100%: a,b: nested-acquire", "orders: max-out"] == names[:3]
    assert "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}: unlimited" == names[-1]
    failure = suite[1][0]
    assert ("critical", "it asks\nfor another") == (failure.get("type"), failure.get("message"))


@pytest.mark.parametrize(
    ("site", "place"),
    [
        ("shop/db.py:12 in connect", ("shop/db.py", 12, "connect")),
        ("C:/shop/db.py:12 in a.<locals>.b", ("C:/shop/db.py", 12, "a.<locals>.b")),
        ("shop.zip/db.py:12", ("shop.zip/db.py", 12, "")),
        ("In [3]", ("In [3]", 0, "")),
        ("(unknown)", ("(unknown)", 0, "")),
    ],
)
def test_a_site_is_a_place(site: str, place: tuple[str, int, str]) -> None:
    assert place == place_of(site)


def test_pages() -> None:
    assert f"{PAGES}/nested-acquire/" == page_of("nested-acquire")
    assert page_of("max-out") is None

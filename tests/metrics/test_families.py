"""The catalogue, and the page that is made from it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from poolscope.metrics.exporter_families import CATALOGUE
from poolscope.metrics.family import POOL_LABELS, Family
from poolscope.metrics.pool_families import FAMILIES, INTERNAL_ERRORS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
class TestEachFamily:
    def test_is_named_by_the_conventions_of_its_type(self, family: Family[Any]) -> None:
        assert family.name.startswith("connpool_")
        assert (family.type == "counter") == family.name.endswith("_total")
        assert (family.type == "histogram") == bool(family.buckets)
        if family.type == "histogram":
            assert family.name.endswith("_seconds")

    def test_has_the_labels_of_its_pool_first(self, family: Family[Any]) -> None:
        expected = () if family is INTERNAL_ERRORS else POOL_LABELS
        assert expected == family.labels[:2]

    def test_has_a_help_that_is_a_sentence(self, family: Family[Any]) -> None:
        assert family.help[0].isupper()
        assert family.help.endswith(".")
        assert "\n" not in family.help

    def test_has_bounds_that_rise(self, family: Family[Any]) -> None:
        assert sorted(set(family.buckets)) == list(family.buckets)


def test_no_family_is_declared_twice() -> None:
    names = [family.name for family in CATALOGUE]
    assert len(set(names)) == len(names)


def test_no_family_is_named_anywhere_else_in_the_package() -> None:
    names = {family.name for family in CATALOGUE}
    named = {
        (path.name, name)
        for path in (ROOT / "exporter" / "poolscope").rglob("*.py")
        for name in names
        if path.name not in {"pool_families.py", "exporter_families.py"}
        and f'"{name}"' in path.read_text()
    }
    assert set() == named


def test_the_reference_page_is_what_the_catalogue_says() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "metrics_reference.py"))["page"]()
    assert page == (ROOT / "docs" / "metrics.md").read_text(), "run `make generate`"

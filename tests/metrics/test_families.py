"""The catalogue of metric families, and the reference page that is generated from it."""

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
    def test_has_a_name_by_the_conventions_of_its_type(self, family: Family[Any]) -> None:
        assert family.name.startswith("connpool_")
        assert (family.type == "counter") == family.name.endswith("_total")
        assert (family.type == "histogram") == bool(family.buckets)
        if family.type == "histogram":
            assert family.name.endswith("_seconds")

    def test_has_the_labels_pool_and_kind_first(self, family: Family[Any]) -> None:
        expected = () if family is INTERNAL_ERRORS else POOL_LABELS
        assert expected == family.labels[:2]

    def test_has_a_help_text_that_is_a_sentence(self, family: Family[Any]) -> None:
        assert family.help[0].isupper()
        assert family.help.endswith(".")
        assert "\n" not in family.help

    def test_has_buckets_with_ascending_bounds(self, family: Family[Any]) -> None:
        assert sorted(set(family.buckets)) == list(family.buckets)


def test_no_family_is_declared_twice() -> None:
    names = [family.name for family in CATALOGUE]
    assert len(set(names)) == len(names)


def test_no_other_module_writes_the_name_of_a_family() -> None:
    names = {family.name for family in CATALOGUE}
    repeated = {
        (path.name, name)
        for path in (ROOT / "exporter" / "poolscope").rglob("*.py")
        for name in names
        if path.name not in {"pool_families.py", "exporter_families.py"}
        and f'"{name}"' in path.read_text()
    }
    assert set() == repeated


def test_the_reference_page_is_up_to_date() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "metrics_reference.py"))["page"]()
    assert page == (ROOT / "docs" / "metrics.md").read_text(), "run `make generate`"

"""The catalogue of metric families, and the reference page that is generated from it."""

from __future__ import annotations

import math
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from poolscope.metrics.exporter_families import CATALOGUE
from poolscope.metrics.family import POOL_LABELS, Family
from poolscope.metrics.pool_families import FAMILIES, INTERNAL_ERRORS
from poolscope.metrics.samples import samples_of

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


class TestBuckets:
    """Bounds of histograms: from where most durations lie, and no more series than there were."""

    HISTOGRAMS = tuple(family for family in FAMILIES if family.buckets)

    def test_there_are_two_or_three_in_each_decade_up_to_a_minute(self) -> None:
        for family in self.HISTOGRAMS:
            inside = [bound for bound in family.buckets if bound < 100]
            decades = Counter(math.floor(math.log10(bound * 1.0001)) for bound in inside)
            assert decades.keys() == set(range(min(decades), 2)), family.name
            assert set(decades.values()) <= {2, 3}, family.name

    def test_the_lowest_one_of_attempts_and_holds_is_10_us(self) -> None:
        firsts = {family.name: family.buckets[0] for family in self.HISTOGRAMS}
        assert 1e-5 == firsts["connpool_acquire_seconds"] == firsts["connpool_queue_seconds"]
        assert 1e-5 == firsts["connpool_hold_seconds"]

    def test_there_are_no_more_than_there_were(self) -> None:
        sizes = {family.name: len(family.buckets) for family in self.HISTOGRAMS}
        assert sum(sizes.values()) <= 78
        # Of pools that look up no names.
        assert sum(sizes.values()) - sizes["connpool_dns_seconds"] <= 63

    def test_labels_of_bounds_are_read_back_as_the_bounds(self) -> None:
        for family in self.HISTOGRAMS:
            value = (*([1.0] * (len(family.buckets) + 1)), 5.0)
            samples = samples_of(family, [""] * len(family.labels), value)
            bounds = [float(sample.labels["le"]) for sample in samples if "le" in sample.labels]
            assert [*family.buckets, math.inf] == bounds


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

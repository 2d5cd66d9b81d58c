"""Sums over several pools: numbers, ages, and seconds that never decrease."""

from __future__ import annotations

from typing import Any

import pytest

from poolscope.callsites.frames import APPLICATION, SHOWN_SITES, Function, Site
from poolscope.label_values import OTHER_LABEL
from poolscope.readings.by_label import HOLDS, HOSTS, LabelReading, SharedLabels
from poolscope.readings.evidence import MAX_SITES_PER_RULE, Evidence
from poolscope.readings.hosts import SHOWN_HOSTS, HostReading, host_readings
from poolscope.readings.reading import Monotonic, Reading, sum_readings


@pytest.mark.parametrize("name", ["instances", "in_use", "idle", "opening", "waiting"])
def test_a_pool_is_live_while_any_of_these_gauges_is_not_0(name: str) -> None:
    values: dict[str, Any] = {name: 1.0}
    assert Reading(**values).live


def test_a_pool_with_counters_only_is_not_live() -> None:
    assert not Reading(acquired=1.0, limit=2.0, in_use_peak=1.0, oldest_hold_seconds=1.0).live


def test_numbers_are_added_up_and_the_maximum_of_ages_is_taken() -> None:
    ages = ("oldest_hold_seconds", "oldest_wait_seconds", "watched_seconds")
    one: dict[str, Any] = dict.fromkeys(ages, 5.0)
    other: dict[str, Any] = dict.fromkeys(ages, 7.0)
    counted: dict[str, Any] = {"in_use": 1.0, "acquired": 2.0, "in_use_seconds": 1.5}
    expected: dict[str, Any] = {**other, "in_use": 2.0, "acquired": 4.0, "in_use_seconds": 3.0}
    readings = [Reading(**one, **counted), Reading(**other, **counted)]
    assert Reading(**expected) == sum_readings(readings)


def test_sums_of_seconds_never_decrease() -> None:
    monotonic = Monotonic()
    high = Reading(in_use_seconds=5.0, waiting_seconds=4.0, saturated_seconds=3.0, acquired=2.0)
    low = Reading(in_use_seconds=1.0, waiting_seconds=1.0, saturated_seconds=1.0, acquired=1.0)
    monotonic.clamp(high.values())
    assert high._replace(acquired=1.0) == Reading.of(monotonic.clamp(low.values()))


class TestFunctions:
    def test_the_label_other_comes_last(self) -> None:
        readings = [LabelReading(name, 1, 1.0, 0) for name in (OTHER_LABEL, "zoo:feed", "app:pay")]
        names = [reading.label for reading in SharedLabels(SHOWN_SITES, HOLDS).sums(readings)]
        assert ["app:pay", "zoo:feed", OTHER_LABEL] == names

    def test_the_numbers_of_one_function_are_added_up(self) -> None:
        readings = [LabelReading("pay", 1, 2.0, 3, 4), LabelReading("pay", 10, 20.0, 30, 40)]
        assert (LabelReading("pay", 11, 22.0, 33, 44),) == SharedLabels(SHOWN_SITES, HOLDS).sums(
            readings
        )

    def test_the_seconds_of_a_function_never_decrease(self) -> None:
        shared = SharedLabels(SHOWN_SITES, HOLDS)
        shared.sums([LabelReading("pay", 1, 5.0, 0)])
        assert (LabelReading("pay", 0, 5.0, 0),) == shared.sums([LabelReading("pay", 0, 4.0, 0)])


class TestHosts:
    def test_the_label_other_comes_last(self) -> None:
        readings = [HostReading(name, 1, 1, 1, 1) for name in ("zoo:80", OTHER_LABEL, "app:80")]
        shown = SharedLabels[HostReading](SHOWN_HOSTS, HOSTS).sums(readings)
        assert ["app:80", "zoo:80", OTHER_LABEL] == [reading.host for reading in shown]

    def test_connections_to_no_known_host_are_those_of_others(self) -> None:
        rows = [("a:80", 1, 3, 4, 5, 6, 7)]
        known = HostReading("a:80", 1, 2, 4, 5, 6, 7)
        assert [known] == host_readings(rows, 0)
        assert [known, HostReading(OTHER_LABEL, 2, 0, 0, 0)] == host_readings(rows, 2)
        rows.insert(0, (OTHER_LABEL, 1, 1, 0, 0, 1, 0))
        assert [known, HostReading(OTHER_LABEL, 3, 0, 0, 0, 1, 0)] == host_readings(rows, 2)
        assert [] == host_readings([], 2)

    def test_no_more_is_in_use_than_a_reader_can_know_to_be_open(self) -> None:
        assert [HostReading("a:80", 2, 0, 0, 0)] == host_readings([("a:80", 2, 1, 0, 0, 0, 0)], 0)


class TestEvidence:
    def test_the_first_sites_of_a_rule_are_kept_and_reported(self) -> None:
        reported: list[object] = []
        evidence = Evidence(lambda *new: reported.append(new))
        function = Function(None, APPLICATION, "shop.py", "pay", "shop:pay")
        for line in range(MAX_SITES_PER_RULE + 5):
            evidence.add("abandoned", Site(function, line))
        sites = [Site(function, line) for line in range(MAX_SITES_PER_RULE)]
        assert {"abandoned": tuple(map(str, sites))} == evidence.read()
        assert [("abandoned", site) for site in sites] == reported

"""Names that processes and the exporter add to `other`: each second is shown once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from poolscope.fleet import totals
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.processes import ProcessFiles
from poolscope.fleet.totals import Total, Totals
from poolscope.readings.labels import OTHER_POOLS
from poolscope.readings.reading import Reading


def process(number: int, lives: bool, **pools: float) -> ProcessFiles:
    """Return a process in which such pools have ended, which were in use for these seconds."""
    ended = {
        (name, "asyncpg"): Total(Reading(in_use_seconds=seconds), 1, {"shop:pay": seconds}, 1.0)
        for name, seconds in pools.items()
    }
    name = f"{number}-{number:032x}.process"
    return ProcessFiles(name, None if lives else 0.0, [], Totals(ended), [], [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pools"


@pytest.fixture
def fleet(folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(folder)
    yield fleet
    fleet.close()


def seconds(fleet: Fleet) -> dict[str, float]:
    """Return the seconds in use by name; fail unless those by function are the same."""
    sums = {}
    for report in fleet.scan().reports:
        sums[report.pool] = report.reading.in_use_seconds
        assert sums[report.pool] == sum(site.in_use_seconds for site in report.sites)
    return sums


def test_no_second_of_a_name_that_is_given_up_in_two_places_counts_twice(
    fleet: Fleet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[ProcessFiles] = []
    monkeypatch.setattr(fleet._processes, "look", lambda *_: iter(found))
    found[:] = [process(1, False, a=10.0)]
    assert {"a": 10.0} == seconds(fleet)
    found[:] = [process(2, True, a=5.0)]
    assert {"a": 15.0} == seconds(fleet)
    found[:] = [process(2, True, **{OTHER_POOLS: 5.0})]
    seconds(fleet)
    monkeypatch.setattr(totals, "MAX_ENDED_NAMES", 0)
    found.append(process(3, False, b=1.0))
    assert {OTHER_POOLS: 16.0} == seconds(fleet)
    found.pop()
    assert {OTHER_POOLS: 16.0} == seconds(fleet)
    fleet.close()
    restarted = Fleet(folder)
    assert {OTHER_POOLS: 11.0} == seconds(restarted)
    restarted.close()

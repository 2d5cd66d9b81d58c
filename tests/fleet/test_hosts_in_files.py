"""Another process reads the connections by host, as the ledger knows them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from poolscope.callsites.borrower import Borrower
from poolscope.fleet.folder import Folder
from poolscope.fleet.segment_reader import PoolFile
from poolscope.label_values import OTHER_LABEL
from poolscope.ledger import cells as c
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.ledger.state import MAX_HOLD_SLOTS
from poolscope.readings.hosts import HostReading
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from support.segments import FACTS, file_of, unshared

Shown = Callable[[], list[HostReading]]


@pytest.fixture
def ledger(folder: Path, clock: FakeClock) -> Ledger:
    segments = Folder(folder).segments(FACTS, unshared)
    return Ledger(Limits(1000, 10, 0), clock, 60.0, segments, by_host=True)


@pytest.fixture
def shown(ledger: Ledger, folder: Path, clock: FakeClock) -> Shown:
    reader = PoolFile(file_of(folder), 42)
    return lambda: reader.read(clock()).hosts()


def who(number: int) -> Borrower:
    return Borrower(None, 0, f"task {number}", f"Task-{number}", None)


def take(ledger: Ledger, clock: FakeClock, key: str, number: int = 0) -> None:
    """Take a connection on the hot path, or by an event where that does not do."""
    borrower = who(number)
    if ledger.begin(key, clock(), ALWAYS_HELD, 1, borrower) is not None:
        ledger.served(key, clock(), clock(), borrower)


def give(ledger: Ledger, clock: FakeClock, key: str) -> None:
    if not ledger.end(key, clock()):
        ledger.returned(key, clock())


def test_a_slot_is_of_the_host_of_its_connection(
    ledger: Ledger, clock: FakeClock, shown: Shown
) -> None:
    for key, host in (("a", "one:80"), ("b", "two:80")):
        ledger.opened(key, key, clock(), 0.1, False, host)
    for turn in range(100):  # by events at first, then on the hot path
        key = "ab"[turn % 2]
        if turn < 4:
            ledger.served(key, clock(), clock(), who(0))
        else:
            take(ledger, clock, key)
        at_one = int(key == "a")
        expected = [
            HostReading("one:80", at_one, 1 - at_one, 0, 0, 1),
            HostReading("two:80", 1 - at_one, at_one, 0, 0, 1),
        ]
        assert expected == shown() == ledger.hosts()
        give(ledger, clock, key)
        assert ledger.hosts() == shown()
    ledger.read()
    assert {0.0} == {ledger._segment.cells[slot + c.HOLD_HOST] for slot in ledger._segment.free}


def test_holds_without_a_slot_are_of_their_hosts_too(
    ledger: Ledger, clock: FakeClock, shown: Shown
) -> None:
    keys = [f"connection {number}" for number in range(MAX_HOLD_SLOTS + 50)]
    for number, key in enumerate(keys):
        ledger.opened(key, key, clock(), 0.1, False, f"host{number % 2}:80")
        take(ledger, clock, key, number)
    assert ledger._segment.free == []
    half = len(keys) // 2
    expected = [HostReading(f"host{number}:80", half, 0, 0, 0, half) for number in range(2)]
    assert expected == shown() == ledger.hosts()
    for key in keys:
        give(ledger, clock, key)
        assert ledger.hosts() == shown()
    assert [half, half] == [each.idle for each in shown()]


def test_a_connection_that_is_being_set_up_is_of_its_host(
    ledger: Ledger, clock: FakeClock, shown: Shown
) -> None:
    ledger.opened("a", "a", clock(), 0.1, True, "one:80")
    assert [HostReading("one:80", 1, 0, 0, 0, 1)] == shown() == ledger.hosts()
    ledger.closed("a", clock())
    assert [HostReading("one:80", 0, 0, 0, 0, 1)] == shown() == ledger.hosts()


def test_a_lost_slot_is_of_no_known_host(ledger: Ledger, clock: FakeClock, shown: Shown) -> None:
    ledger.opened("a", "a", clock(), 0.1, False, "one:80")
    ledger.slot_lost("lost", clock(), clock(), who(1))
    idle = HostReading("one:80", 0, 1, 0, 0, 1)
    assert [idle, HostReading(OTHER_LABEL, 1, 0, 0, 0)] == shown() == ledger.hosts()


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_host_whose_numbers_are_not_possible_is_left_out(
    ledger: Ledger, clock: FakeClock, shown: Shown, value: float
) -> None:
    for key, host in (("a", "one:80"), ("b", "two:80")):
        ledger.opened(key, key, clock(), 0.1, False, host)
    ledger._segment.cells[c.FIRST_HOST + c.HOST_FAILED] = value
    assert ["two:80"] == [each.host for each in shown()]


def test_a_host_whose_label_had_no_room_in_the_file_is_left_out(
    ledger: Ledger, clock: FakeClock, shown: Shown
) -> None:
    for key, host in (("a", "one:80"), ("b", "two:80")):
        ledger.opened(key, key, clock(), 0.1, False, host)
    ledger._segment.cells[c.FIRST_HOST + c.HOST_LABEL] = 1e6
    assert ["two:80"] == [each.host for each in shown()]

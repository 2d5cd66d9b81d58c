"""Holds that are open while their callers wait for another server."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolscope.callsites.borrower import Borrower
from poolscope.fleet.folder import Folder
from poolscope.fleet.segment_reader import PoolFile
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD, HolderRef
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from support.segments import FACTS, file_of, unshared, who

RULE = "held-across-request"
PLACE = who("ask")[:2]
USE = who("use")


@pytest.fixture(params=["private", "shared"])
def ledger(request: pytest.FixtureRequest, folder: Path, clock: FakeClock) -> Ledger:
    """An empty ledger, whose cells are in private memory or in a file."""
    if request.param == "private":
        return Ledger(Limits(3, 3, 0), clock, 100.0)
    return Ledger(Limits(3, 3, 0), clock, 100.0, Folder(folder).segments(FACTS, unshared))


def serve(
    ledger: Ledger,
    clock: FakeClock,
    key: str,
    owner: str = "Task-1",
    holder_ref: HolderRef = ALWAYS_HELD,
) -> None:
    """Let a caller have a connection, on the hot path if it is open."""
    borrower = Borrower(USE.function, 7, owner, owner)
    refused = ledger.begin(key, clock(), holder_ref, 1, borrower)
    if refused is not None:
        ledger.served(key, clock(), clock(), refused, holder_ref)


def end(ledger: Ledger, clock: FakeClock, key: str) -> None:
    if not ledger.end(key, clock()):
        ledger.returned(key, clock())


def measured(ledger: Ledger) -> tuple[float, float]:
    reading = ledger.read()
    return reading.held_across, reading.held_across_seconds


def test_each_hold_counts_once_and_each_second_of_it(ledger: Ledger, clock: FakeClock) -> None:
    for _ in range(2):  # the second time on the hot path
        serve(ledger, clock, "a")
        clock.advance(1.0)
        ledger.request_begins("Task-1", 1, PLACE)
        clock.advance(1.0)
        ledger.request_begins("Task-1", 2, PLACE)
        clock.advance(1.0)
        ledger.request_ended(1, clock())
        clock.advance(1.0)
        ledger.request_ended(2, clock())
        ledger.request_ended(2, clock())
        clock.advance(1.0)
        ledger.request_begins("Task-1", 3, PLACE)
        clock.advance(1.0)
        end(ledger, clock, "a")
        clock.advance(1.0)
        ledger.request_ended(3, clock())
    assert (2, 8.0) == measured(ledger)
    assert (2, 0, 12.0) == (
        ledger.read().acquired, ledger.read().in_use, ledger.read().in_use_seconds,
    )  # fmt: skip
    assert {RULE: ("shop.py:7 in use, across shop.py:7 in ask",)} == ledger.evidence.read()


def test_it_ends_with_whatever_ends_the_hold(ledger: Ledger, clock: FakeClock) -> None:
    for key in "abc":
        serve(ledger, clock, key, key)
        ledger.request_begins(key, key, PLACE)
    clock.advance(1.0)
    ledger.closed("a", clock())
    clock.advance(1.0)
    ledger.abandoned("b", clock())
    ledger.returned("b", clock())
    clock.advance(1.0)
    ledger.emptied(clock())
    clock.advance(1.0)
    assert (3, 1.0 + 2.0 + 3.0) == measured(ledger)
    assert (0, 1) == (ledger.read().in_use, ledger.read().leaks_abandoned)


def test_a_hold_that_is_lost_meanwhile_is_abandoned(ledger: Ledger, clock: FakeClock) -> None:
    """The reference to its holder is not forgotten."""
    holder: list[object] = [object()]
    serve(ledger, clock, "a")
    end(ledger, clock, "a")
    serve(ledger, clock, "a", holder_ref=lambda: holder[0])  # on the hot path
    ledger.request_begins("Task-1", 1, PLACE)
    holder[0] = None
    ledger.returned("a", clock())
    assert 1 == ledger.read().leaks_abandoned


def test_connections_of_others_are_not_across(ledger: Ledger, clock: FakeClock) -> None:
    serve(ledger, clock, "a", "Task-2")
    ledger.request_begins("Task-1", 1, PLACE)
    clock.advance(1.0)
    assert (0, 0.0) == measured(ledger)
    assert {} == ledger.evidence.read()


def test_another_process_reads_the_same(folder: Path, clock: FakeClock) -> None:
    ledger = Ledger(Limits(3, 3, 0), clock, 100.0, Folder(folder).segments(FACTS, unshared))
    serve(ledger, clock, "a")
    ledger.request_begins("Task-1", 1, PLACE)
    clock.advance(2.0)
    view = PoolFile(file_of(folder), 42).read(clock())
    assert (1, 2.0) == (view.reading.held_across, view.reading.held_across_seconds)
    assert {RULE: ("shop.py:7 in use, across shop.py:7 in ask",)} == view.evidence
    # Of a process that has died since, it is as it was when it was last seen.
    last_seen = clock()
    clock.advance(100.0)
    assert 2.0 == PoolFile(file_of(folder), 42).read(clock(), last_seen).reading.held_across_seconds

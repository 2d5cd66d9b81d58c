"""The seconds of operations: of open holds, of finished ones, and of both after a fold."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, Function
from poolscope.callsites.operations import (
    SHOWN_OPERATIONS,
    NamedOperation,
    Operation,
)
from poolscope.errors import internal_errors
from poolscope.fleet.segment_file import FileSegment
from poolscope.label_values import OTHER_LABEL
from poolscope.ledger import cells as c
from poolscope.ledger.holds import MAX_FINISHED
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.ledger.segment import Segment
from poolscope.readings.by_label import LabelReading
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from support.operations import FailingOperation, RoutedOperation

PAY = Function(None, APPLICATION, "shop.py", "pay", "shop:pay")


@pytest.fixture(params=["private", "mapped"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Ledger:
    """A ledger without a limit, in private memory or in a file."""

    def segments(slots: int) -> Segment:
        if request.param == "private":
            return Segment(slots)
        facts = {"pool": "orders", "kind": "asyncpg", "info": ["", "", ""], "setup": {}}
        return FileSegment(tmp_path / "1.1.pool", slots, facts)

    return Ledger(Limits(1000, 10, 0), clock, 60.0, segments)


def who(number: int, operation: Operation | None) -> Borrower:
    return Borrower(PAY, 7, f"task {number}", f"Task-{number}", operation)


def hold_fast(
    ledger: Ledger, clock: FakeClock, operation: Operation | None, seconds: float
) -> None:
    """
    Use a known connection on the hot path for some seconds.

    In a file, a name that it does not have yet is added by an event.
    """
    borrower = who(0, operation)
    if ledger.begin("a", clock(), ALWAYS_HELD, 1, borrower) is not None:
        assert ledger._segment.shared
        ledger.served("a", clock(), clock(), borrower)
    clock.advance(seconds)
    assert ledger.end("a", clock())


def hold(ledger: Ledger, clock: FakeClock, operation: Operation | None, seconds: float) -> None:
    """Use a connection for some seconds, by events."""
    ledger.served("a", clock(), clock(), who(0, operation))
    clock.advance(seconds)
    ledger.returned("a", clock())


def seconds_of(ledger: Ledger) -> dict[str, float]:
    return {reading.label: reading.in_use_seconds for reading in ledger.operations()}


def test_there_are_none_where_nothing_is_an_operation(ledger: Ledger, clock: FakeClock) -> None:
    hold(ledger, clock, None, 1.0)
    hold_fast(ledger, clock, None, 1.0)
    assert ([], [2.0]) == (ledger.operations(), [site.in_use_seconds for site in ledger.sites()])


def test_open_and_finished_holds_add_up(ledger: Ledger, clock: FakeClock) -> None:
    report = NamedOperation("report")
    hold(ledger, clock, report, 1.0)
    hold_fast(ledger, clock, report, 2.0)
    ledger.served("b", clock(), clock(), who(1, report))
    clock.advance(61.0)
    ledger.served("c", clock(), clock(), who(2, NamedOperation("report")))
    ledger.served("d", clock(), clock(), who(3, NamedOperation("mails")))
    ledger.abandoned("d", clock())
    clock.advance(1.0)
    expected = [LabelReading("report", 2, 66.0, 1, 0), LabelReading("mails", 1, 1.0, 0, 1)]
    assert expected == ledger.operations()
    reading = ledger.read()
    assert (3, 67.0) == (reading.in_use, reading.in_use_seconds)


def test_each_use_of_a_pool_is_in_the_sum_of_the_operations(
    ledger: Ledger, clock: FakeClock
) -> None:
    """Whatever the batches of the hot path contain, and whoever reads between them."""
    hold(ledger, clock, NamedOperation("kind 0"), 0.5)
    for number in range(3 * MAX_FINISHED + 5):
        hold_fast(ledger, clock, NamedOperation(f"kind {number % 3}"), 0.25 + number % 5)
        if number % 7 == 0:
            copied = {
                reading.label: reading.in_use_seconds
                for reading in ledger._copy().operations(clock())
            }
            assert sum(copied.values()) == ledger._copy().values(clock())[READ_SECONDS]
            assert copied == seconds_of(ledger)
    assert ledger.read().in_use_seconds == sum(seconds_of(ledger).values())
    assert ["kind 0", "kind 1", "kind 2"] == list(seconds_of(ledger))


READ_SECONDS = list(Ledger(Limits(1, 1, 0)).read()._fields).index("in_use_seconds")


def test_a_batch_of_ordinary_uses_and_of_operations_is_told_apart(
    ledger: Ledger, clock: FakeClock
) -> None:
    hold(ledger, clock, None, 1.0)
    for number in range(MAX_FINISHED):
        hold_fast(ledger, clock, NamedOperation("report") if number % 2 else None, 1.0)
    assert {"report": MAX_FINISHED / 2} == seconds_of(ledger)
    assert MAX_FINISHED + 1.0 == ledger.read().in_use_seconds


def test_a_bounded_number_of_operations_is_shown(ledger: Ledger, clock: FakeClock) -> None:
    for number in range(SHOWN_OPERATIONS + 5):
        hold(ledger, clock, NamedOperation(f"kind {number:02}"), 2.0)
    own = {f"kind {number:02}": 2.0 for number in range(SHOWN_OPERATIONS)}
    assert {**own, OTHER_LABEL: 10.0} == seconds_of(ledger)
    assert [LabelReading("shop:pay", 0, 2.0 * (SHOWN_OPERATIONS + 5), 0)] == ledger.sites()
    assert 2.0 * (SHOWN_OPERATIONS + 5) == ledger.read().in_use_seconds
    ledger.served("b", clock(), clock(), who(1, NamedOperation("one more")))
    assert 1 == ledger.operations()[-1].in_use


def test_functions_and_operations_do_not_share_cells(ledger: Ledger, clock: FakeClock) -> None:
    functions = [
        Function(None, APPLICATION, "shop.py", f"f{number:02}", f"f{number:02}")
        for number in range(c.SITES + 3)
    ]
    for number, function in enumerate(functions):
        name = NamedOperation(f"kind {number:02}")
        ledger.served("a", clock(), clock(), Borrower(function, 7, "task", "Task-1", name))
        clock.advance(1.0)
        ledger.returned("a", clock())
    own = [LabelReading(f"f{number:02}", 0, 1.0, 0) for number in range(c.SITES - 1)]
    assert [*own, LabelReading(OTHER_LABEL, 0, 4.0, 0)] == ledger.sites()
    own = [LabelReading(f"kind {number:02}", 0, 1.0, 0) for number in range(c.OPERATIONS - 1)]
    assert [*own, LabelReading(OTHER_LABEL, 0, 4.0, 0)] == ledger.operations()


def test_a_hold_counts_for_its_operation_once_that_has_a_name(
    ledger: Ledger, clock: FakeClock
) -> None:
    request = RoutedOperation()
    ledger.served("a", clock(), clock(), who(0, request))
    clock.advance(1.0)
    assert [] == ledger.operations()
    request.route = "GET /"
    assert [LabelReading("GET /", 1, 1.0, 0)] == ledger.operations()
    ledger.returned("a", clock())
    hold_fast(ledger, clock, RoutedOperation(), 5.0)
    assert [LabelReading("GET /", 0, 1.0, 0)] == ledger.operations()


@pytest.mark.makes_hooks_fail
def test_a_name_that_cannot_be_found_fails_no_use_of_the_pool(
    ledger: Ledger, clock: FakeClock
) -> None:
    before = internal_errors.count
    hold(ledger, clock, FailingOperation(RuntimeError("no route")), 1.0)
    for _ in range(MAX_FINISHED):
        hold_fast(ledger, clock, FailingOperation(ZeroDivisionError()), 1.0)
    assert ([], MAX_FINISHED + 1.0) == (ledger.operations(), ledger.read().in_use_seconds)
    assert before < internal_errors.count


def test_names_that_are_shown_alike_share_a_cell(ledger: Ledger, clock: FakeClock) -> None:
    for _ in range(2):
        hold(ledger, clock, NamedOperation("x" * 1000), 1.0)
        hold_fast(ledger, clock, RoutedOperation("x" * 1000), 1.0)
    ((label, seconds),) = seconds_of(ledger).items()
    assert (120, 4.0) == (len(label), seconds)
    assert all(len(name) <= 120 for name in ledger.holds.operation_cells.by_key)


def test_a_finished_hold_that_was_folded_keeps_no_operation(
    ledger: Ledger, clock: FakeClock
) -> None:
    requests = [RoutedOperation("GET /") for _ in range(MAX_FINISHED + 1)]
    gone = [weakref.ref(request) for request in requests]
    hold(ledger, clock, requests.pop(), 1.0)
    while requests:
        hold_fast(ledger, clock, requests.pop(), 1.0)
    assert [None] * (MAX_FINISHED + 1) == [request() for request in gone]

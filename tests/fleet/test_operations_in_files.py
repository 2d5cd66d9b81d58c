"""Another process reads what connections are for, and for how long, as the ledger knows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, Function
from poolscope.callsites.operations import SHOWN_OPERATIONS, NamedOperation, Operation
from poolscope.errors import internal_errors
from poolscope.fleet.folder import Folder
from poolscope.fleet.pool_view import PoolView
from poolscope.fleet.segment_file import TEXT_BYTES, FileSegment
from poolscope.fleet.segment_reader import PoolFile
from poolscope.label_values import OTHER_LABEL
from poolscope.ledger import cells as c
from poolscope.ledger.holds import MAX_FINISHED
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.ledger.state import MAX_HOLD_SLOTS
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from support.operations import FailingOperation, RoutedOperation
from support.segments import FACTS, file_of, unshared

PAY = Function(None, APPLICATION, "shop.py", "pay", "shop:pay")
REPORT = NamedOperation("nightly report")

View = Callable[[], PoolView]


@pytest.fixture
def ledger(folder: Path, clock: FakeClock) -> Ledger:
    segments = Folder(folder).segments(FACTS, unshared)
    return Ledger(Limits(1000, 10, 0), clock, 60.0, segments)


@pytest.fixture
def view(ledger: Ledger, folder: Path, clock: FakeClock) -> View:
    reader = PoolFile(file_of(folder), 42)
    return lambda: reader.read(clock())


def who(number: int, operation: Operation | None) -> Borrower:
    return Borrower(PAY, 7, f"task {number}", f"Task-{number}", operation)


def begin(ledger: Ledger, clock: FakeClock, key: str, operation: Operation | None) -> None:
    """Take a connection on the hot path, or by an event where that does not do."""
    borrower = who(0, operation)
    if ledger.begin(key, clock(), ALWAYS_HELD, 1, borrower) is not None:
        ledger.served(key, clock(), clock(), borrower)


def end(ledger: Ledger, clock: FakeClock, key: str) -> None:
    if not ledger.end(key, clock()):
        ledger.returned(key, clock())


def shown(view: View) -> list[str | None]:
    """Return what each connection in use is for, the longest hold first."""
    return [hold.operation for hold in sorted(view().holds(), key=lambda hold: -hold.held_seconds)]


def test_a_reader_knows_the_operation_of_each_hold(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    for turn in range(3):  # by events at first, then on the hot path
        ledger.served("b", clock(), clock(), who(1, NamedOperation("mails")))
        clock.advance(1.0)
        for operation, name in ((REPORT, "nightly report"), (None, None), (REPORT, REPORT.name())):
            begin(ledger, clock, "a", operation)
            assert ["mails", name] == shown(view), turn
            clock.advance(1.0)
            end(ledger, clock, "a")
        ledger.returned("b", clock())
        assert [] == shown(view)


def test_the_hot_path_writes_what_is_known_without_an_event(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    for operation in (REPORT, None, REPORT, NamedOperation("nightly report")):
        begin(ledger, clock, "a", operation)
        end(ledger, clock, "a")
    ledger.read()
    for operation in (REPORT, None, NamedOperation("nightly report")):
        assert ledger.begin("a", clock(), ALWAYS_HELD, 1, who(0, operation)) is None
        assert [operation and operation.name()] == shown(view)
        assert ledger.end("a", clock())


def test_a_reader_has_the_same_sums_at_every_moment(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    for number in range(3 * MAX_FINISHED + 5):
        operation = NamedOperation(f"kind {number % 3}") if number % 4 else None
        begin(ledger, clock, "a", operation)
        clock.advance(0.25 + number % 5)
        if number % 5 == 0:
            before = view()
            assert (ledger.read(), ledger.sites()) == (before.reading, before.sites())
            assert ledger.operations() == before.operations()
        end(ledger, clock, "a")
        if number % 7 == 0:
            assert ledger._copy().operations(clock()) == view().operations()
            assert ledger.operations() == view().operations()


def test_more_operations_than_are_shown_are_others_and_have_their_names(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    for number in range(SHOWN_OPERATIONS + 5):
        begin(ledger, clock, "a", NamedOperation(f"kind {number:02}"))
        clock.advance(1.0)
        assert [f"kind {number:02}"] == shown(view)
        assert ledger.operations() == view().operations()
        end(ledger, clock, "a")
    assert (OTHER_LABEL, 5.0) == view().operations()[-1][:3:2]
    assert SHOWN_OPERATIONS + 1 == len(view().operations())


def test_a_name_that_is_found_late_is_shown_once_the_pool_is_looked_at(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    for turn in range(2):  # by an event, and on the hot path
        request = RoutedOperation()
        begin(ledger, clock, "a", request)
        clock.advance(1.0)
        request.route = f"GET /{turn}"
        assert [None] == shown(view)
        ledger.read()
        assert [f"GET /{turn}"] == shown(view)
        assert ledger.operations() == view().operations()
        end(ledger, clock, "a")


def test_a_name_that_is_found_late_is_shown_once_the_hold_is_overdue(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    request = RoutedOperation()
    begin(ledger, clock, "a", request)
    request.route = "GET /"
    clock.advance(61.0)
    assert [None] == shown(view)
    ledger.check_overdue(clock())
    assert ["GET /"] == shown(view)


@pytest.mark.makes_hooks_fail
def test_a_name_that_cannot_be_found_is_an_internal_error(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    for error in (RuntimeError(), IndexError(), Exception()):
        for _ in range(2):
            before = internal_errors.count
            begin(ledger, clock, "a", FailingOperation(error))
            assert ([None], 1) == (shown(view), ledger.read().in_use)
            assert before < internal_errors.count
            end(ledger, clock, "a")
    assert [] == view().operations()


class LimitedOperation(Operation):
    """A time limit of the application ends the search for its name, once."""

    def __init__(self) -> None:
        self.limits: list[BaseException] = []

    def name(self) -> str:
        while self.limits:
            raise self.limits.pop()
        return "nightly report"


def test_a_time_limit_that_comes_while_a_name_is_searched_goes_on(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    operation = LimitedOperation()
    begin(ledger, clock, "a", operation)
    end(ledger, clock, "a")
    ledger.read()
    free = len(ledger._segment.free)
    for limit in (KeyboardInterrupt(), TimeoutError()):
        operation.limits.append(limit)
        with pytest.raises(type(limit)):
            ledger.begin("a", clock(), ALWAYS_HELD, 1, who(0, operation))
        assert (0, free) == (ledger.read().in_use, len(ledger._segment.free))
    begin(ledger, clock, "a", operation)
    assert ["nightly report"] == shown(view)


def test_a_slot_that_an_exception_gives_back_has_nothing_of_the_operation(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    begin(ledger, clock, "a", REPORT)
    end(ledger, clock, "a")
    ledger.read()
    slot = ledger._segment.take_slot(who(0, REPORT))
    assert slot
    ledger.repair("a", who(0, REPORT), slot)
    begin(ledger, clock, "a", None)
    assert [None] == shown(view)


def test_holds_without_a_slot_count_for_their_operations(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    count = MAX_HOLD_SLOTS + MAX_FINISHED + 10
    for number in range(count):
        ledger.served(number, clock(), clock(), who(number, NamedOperation(f"kind {number % 2}")))
    clock.advance(2.0)
    ledger.read()
    for number in range(count):
        assert ledger.operations() == view().operations()
        ledger.returned(number, clock())
    assert ledger.operations() == view().operations()
    assert {count * 1.0} == {each.in_use_seconds for each in view().operations()}


def test_names_without_room_in_the_file_are_left_out(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    for number in range(TEXT_BYTES // 100):
        ledger.add_evidence(f"rule {number:0100}", None)
    begin(ledger, clock, "a", REPORT)
    clock.advance(1.0)
    assert ([None], ledger.read()) == (shown(view), view().reading)
    end(ledger, clock, "a")
    assert ledger.read() == view().reading


def test_many_names_take_a_bounded_amount_of_memory(
    ledger: Ledger, clock: FakeClock, view: View
) -> None:
    for number in range(3000):
        begin(ledger, clock, "a", NamedOperation(f"kind {number}"))
        end(ledger, clock, "a")
    segment = ledger._segment
    assert isinstance(segment, FileSegment)
    assert len(segment._operations) <= 1001
    assert c.OPERATIONS == len(view().operations())
    assert ledger.operations() == view().operations()

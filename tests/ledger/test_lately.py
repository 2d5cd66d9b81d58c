"""Who held connections in the last seconds, by line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, Function
from poolscope.ledger.changes import Changes
from poolscope.ledger.lately import MAX_PLACES, UNKNOWN_PLACE, WINDOW, Lately
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock

ONE = Function(None, APPLICATION, "worker.py", "one", "worker:one")
TWO = Function(None, APPLICATION, "worker.py", "two", "worker:two")

Use = Callable[[Ledger, FakeClock, Function, float], None]


def borrower(function: Function) -> Borrower:
    return Borrower(function, 22, object(), "Task-1")


def by_events(ledger: Ledger, clock: FakeClock, function: Function, seconds: float) -> None:
    ledger.served("a", clock(), clock(), borrower(function))
    clock.advance(seconds)
    ledger.returned("a", clock())


def on_the_hot_path(ledger: Ledger, clock: FakeClock, function: Function, seconds: float) -> None:
    if not ledger.connections()[0]:
        ledger.adopted("a", clock(), False)
    assert ledger.begin("a", clock(), ALWAYS_HELD, 1, borrower(function)) is None
    clock.advance(seconds)
    assert ledger.end("a", clock())


@pytest.fixture(params=[by_events, on_the_hot_path])
def use(request: pytest.FixtureRequest) -> Use:
    way: Use = request.param
    return way


@pytest.fixture
def ledger(clock: FakeClock) -> Ledger:
    return Ledger(Limits(4, 4, 0), clock)


def seconds_of(ledger: Ledger) -> dict[str | None, float]:
    return {
        function.name if function is not None else None: seconds
        for (function, _), seconds in ledger.lately().items()
    }


def test_the_seconds_of_each_line_are_added_up(ledger: Ledger, clock: FakeClock, use: Use) -> None:
    for function, seconds in ((ONE, 1.5), (TWO, 0.25), (ONE, 2.25)):
        use(ledger, clock, function, seconds)
    assert {"one": 3.75, "two": 0.25} == seconds_of(ledger)


def test_many_short_holds_are_added_up(ledger: Ledger, clock: FakeClock, use: Use) -> None:
    for number in range(100):
        use(ledger, clock, TWO if number % 4 == 0 else ONE, 2**-6)
    assert {"one": 75 * 2**-6, "two": 25 * 2**-6} == seconds_of(ledger)


def test_of_a_long_hold_only_the_last_seconds_count(
    ledger: Ledger, clock: FakeClock, use: Use
) -> None:
    use(ledger, clock, ONE, 1000.0)
    use(ledger, clock, TWO, 1.0)
    assert {"one": WINDOW - 1.0, "two": 1.0} == seconds_of(ledger)


def test_what_is_long_ago_does_not_count(ledger: Ledger, clock: FakeClock, use: Use) -> None:
    use(ledger, clock, ONE, 1.0)
    clock.advance(WINDOW - 1.0)
    assert {"one": 1.0} == seconds_of(ledger)
    clock.advance(1.0)
    assert {} == seconds_of(ledger)
    use(ledger, clock, TWO, 1.0)
    assert {"two": 1.0} == seconds_of(ledger)


def test_old_seconds_are_forgotten(ledger: Ledger, clock: FakeClock, use: Use) -> None:
    for _ in range(10 * WINDOW):
        use(ledger, clock, ONE, 1.0)
        ledger.read()
    assert len(ledger.holds.lately.by_second) <= WINDOW + 2


def test_the_lines_of_a_second_are_bounded() -> None:
    lately = Lately(Changes())
    for number in range(MAX_PLACES + 50):
        lately.add(Borrower(ONE, number, None, ""), 0.25, 0.75)
    row = lately.by_second[0]
    assert (MAX_PLACES + 1, 25.0) == (len(row), row[UNKNOWN_PLACE])


def test_a_change_that_is_interrupted_is_taken_back(clock: FakeClock) -> None:
    changes = Changes()
    lately = Lately(changes)
    lately.add(borrower(ONE), 0.0, 2.5)
    changes.commit((), ())
    before = {second: row.copy() for second, row in lately.by_second.items()}
    lately.add(borrower(TWO), 1.0, 14.0)
    changes.roll_back()
    assert before == lately.by_second

"""Another process reads at which line a holder was when its own process last logged it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from poolscope.callsites.frames import APPLICATION, Function, Site
from poolscope.callsites.owners import find_borrower
from poolscope.fleet.folder import Folder
from poolscope.fleet.segment_reader import PoolFile
from poolscope.ledger.holds import MAX_FINISHED
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from poolscope.watching.pool_log import PoolLog
from support.segments import FACTS, file_of, unshared

LEAK_AFTER: Final = 60.0

BANK: Final = Site(Function(None, APPLICATION, "shop.py", "bank", "shop:bank"), 9)


@pytest.fixture
def ledger(folder: Path, clock: FakeClock) -> Ledger:
    segments = Folder(folder).segments(FACTS, unshared)
    return Ledger(Limits(3, 3, 0), clock, LEAK_AFTER, segments)


@pytest.fixture
def places(ledger: Ledger, folder: Path, clock: FakeClock) -> Callable[[], list[str | None]]:
    reader = PoolFile(file_of(folder), 42)
    return lambda: [hold.now_at for hold in reader.read(clock()).holds()]


def take(ledger: Ledger, clock: FakeClock, key: str) -> None:
    """Take a connection on the hot path, or by an event where that does not do."""
    borrower = find_borrower(None, call_sites=False)
    if ledger.begin(key, clock(), ALWAYS_HELD, 1, borrower) is not None:
        ledger.served(key, clock(), clock(), borrower)


def here(place: str | None) -> bool:
    return str(place).startswith("test_places_of_holders.py:")


def test_a_time_out_says_where_all_are(
    ledger: Ledger, clock: FakeClock, places: Callable[[], list[str | None]]
) -> None:
    for key in "abc":
        take(ledger, clock, key)
    assert [None] * 3 == places()
    PoolLog("orders", "asyncpg").log_timeout([ledger], clock())
    assert [True] * 3 == list(map(here, places()))


def test_an_overdue_hold_says_where_it_is(
    ledger: Ledger,
    clock: FakeClock,
    places: Callable[[], list[str | None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    take(ledger, clock, "a")
    clock.advance(LEAK_AFTER + 1.0)
    ledger.check_overdue(clock())
    PoolLog("orders", "asyncpg").log_events(ledger)
    (place,) = places()
    assert here(place)
    (record,) = caplog.records
    assert record.getMessage().endswith(f", acquired at an unknown line, now at {place}")
    assert place == record.poolscope["now_at"]  # type: ignore[attr-defined]  # an extra


@pytest.mark.parametrize("how", ["hot path", "event"])
def test_the_next_hold_of_a_slot_has_no_place(
    ledger: Ledger, clock: FakeClock, places: Callable[[], list[str | None]], how: str
) -> None:
    for _ in range(2 * MAX_FINISHED):
        take(ledger, clock, "a")
        assert [None] == places()
        who = ledger.who("a")
        assert who is not None
        ledger.place({who.borrower_key: BANK})
        assert ["shop.py:9 in bank"] == places()
        if how == "event" or not ledger.end("a", clock()):
            ledger.returned("a", clock())
        assert [] == places()


def test_whoever_has_ended_has_no_place(
    ledger: Ledger, clock: FakeClock, places: Callable[[], list[str | None]]
) -> None:
    take(ledger, clock, "a")
    ledger.place({"another": BANK})
    assert [None] == places()
    ledger.abandoned("a", clock())
    PoolLog("orders", "asyncpg").log_events(ledger)
    assert [None] == places()

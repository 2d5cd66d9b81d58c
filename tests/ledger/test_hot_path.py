"""An ordinary use is quick, and counted as any other is."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, Function
from poolscope.fleet.folder import Folder
from poolscope.fleet.segment_reader import PoolFile
from poolscope.ledger.cells import Cells
from poolscope.ledger.holds import ALWAYS_HELD, MAX_FINISHED, Holds
from poolscope.ledger.ledger import Ledger
from poolscope.readings.limits import Limits
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.reading import Reading
from poolscope.testing import FakeClock
from support.histograms import count_of

FACTS: dict[str, Any] = {
    "pool": "orders",
    "kind": "asyncpg",
    "info": ("Pool", "asyncpg", "0.32.0"),
    "setup": PoolConfig()._asdict(),
}
PAY = Function(None, APPLICATION, "shop.py", "pay", "shop:pay")
CART = Function(None, APPLICATION, "shop.py", "cart", "shop:cart")


def unshared() -> None:
    raise AssertionError("it could not be shared")


def ledger_of(clock: FakeClock, folder: Path | None = None, limit: float = 3) -> Ledger:
    segments = Folder(folder).segments(FACTS, unshared)
    ledger = Ledger(Limits(limit, limit, 0), clock, 5.0, segments)
    for key in "abc":
        ledger.adopted(key, clock(), False)
    return ledger


@pytest.fixture(params=["private", "shared"])
def ledger(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Ledger:
    """A ledger with three connections, all of which have been out before."""
    ledger = ledger_of(clock, tmp_path / "pools" if request.param == "shared" else None)
    for key, function in (("a", PAY), ("b", CART), ("c", PAY)):
        ledger.served(key, clock(), clock(), asks(function, key))
        ledger.returned(key, clock())
    return ledger


def asks(function: Function, borrower_key: str) -> Borrower:
    return Borrower(function, 7, borrower_key, f"Task-{borrower_key}")


def quickly(ledger: Ledger, key: str, asked: float, who: Borrower) -> None:
    assert ledger.begin(key, asked, ALWAYS_HELD, 2, who) is None


def carefully(ledger: Ledger, key: str, asked: float, who: Borrower) -> None:
    ledger.served(key, ledger.clock(), asked, who)


Begin = Callable[[Ledger, str, float, Borrower], None]


def day(ledger: Ledger, clock: FakeClock, begin: Begin, end: Callable[[str, float], Any]) -> None:
    """Use connections, up to all that there are, for longer than a window of the peaks lasts."""
    for turn in range(40):
        asked = clock()
        clock.advance(0.0625 * (turn % 3))
        begin(ledger, "a", asked, asks(PAY, "1"))
        if turn % 2:
            begin(ledger, "b", clock(), asks(CART, "2"))
        if turn % 4 == 3:
            begin(ledger, "c", clock(), asks(PAY, "3"))
        clock.advance(1.5)
        for key in ("a", *("b" * (turn % 2)), *("c" * (turn % 4 == 3))):
            end(key, clock())
            clock.advance(0.25)
    begin(ledger, "b", clock(), asks(CART, "2"))
    clock.advance(0.5)


def test_it_is_counted_as_what_is_done_with_care(ledger: Ledger, clock: FakeClock) -> None:
    other_clock = FakeClock()
    other_clock.advance(clock() - other_clock())
    other = ledger_of(other_clock)
    for key, function in (("a", PAY), ("b", CART), ("c", PAY)):
        other.served(key, other_clock(), other_clock(), asks(function, key))
        other.returned(key, other_clock())

    def end(key: str, now: float) -> None:
        assert ledger.end(key, now)

    day(ledger, clock, quickly, end)
    day(other, other_clock, carefully, other.returned)
    assert other.read() == ledger.read()
    assert other.sites() == ledger.sites()
    assert other.holders() == ledger.holders()


def test_it_makes_a_peak(ledger: Ledger, clock: FakeClock) -> None:
    before = ledger.read()
    for key, borrower_key in (("a", "1"), ("b", "2")):
        quickly(ledger, key, clock(), asks(PAY, borrower_key))
    for key in "ab":
        assert ledger.end(key, clock())
    after = ledger.read()
    assert (1, 2) == (before.in_use_peak, after.in_use_peak)
    assert (1, 2) == (before.most_in_use, after.most_in_use)


def test_another_process_sees_it_at_every_step(tmp_path: Path, clock: FakeClock) -> None:
    ledger = ledger_of(clock, tmp_path / "pools")
    (path,) = (tmp_path / "pools").glob("*.pool")
    file = PoolFile(path, 42)
    ledger.served("a", clock(), clock(), asks(PAY, "1"))
    ledger.returned("a", clock())
    for _ in range(3 * MAX_FINISHED):
        quickly(ledger, "a", clock(), asks(PAY, "1"))
        clock.advance(0.5)
        # In this order: to read here makes numbers of what has ended.
        seen = file.read(clock())
        assert (ledger.read(), ledger.sites()) == (seen.reading, seen.sites())
        assert ["Task-1"] == [hold.owner for hold in seen.holds()]
        assert ledger.end("a", clock())
        seen = file.read(clock())
        assert [] == seen.holds()
        assert (ledger.read(), ledger.sites()) == (seen.reading, seen.sites())


def test_whenever_a_process_is_killed_each_hold_is_there_once(
    tmp_path: Path, clock: FakeClock
) -> None:
    """While it makes numbers of what has ended, its file says which, and readers do the rest."""
    ledger = ledger_of(clock, tmp_path / "pools")
    (path,) = (tmp_path / "pools").glob("*.pool")
    states: list[bytes] = []

    class Watched:
        """The cells; each time that some are set, there is a state more."""

        def __init__(self, cells: Cells) -> None:
            self._cells = cells

        def __getitem__(self, where: Any) -> Any:
            return self._cells[where]

        def __setitem__(self, where: Any, value: Any) -> None:
            self._cells[where] = value
            states.append(path.read_bytes())

    watched: Any = Watched(ledger._segment.cells)
    for function in (PAY, CART):
        ledger.served("a", clock(), clock(), asks(function, "1"))
        ledger.returned("a", clock())
    for turn in range(MAX_FINISHED):
        quickly(ledger, "a", clock() - 0.25 * turn, asks((PAY, CART)[turn % 2], "1"))
        clock.advance(0.125 * turn)
        if turn == MAX_FINISHED - 1:
            ledger.holds._cells = ledger._segment.cells = watched
        assert ledger.end("a", clock())
    copy = tmp_path / "copy"
    seen = []
    for state in states:
        copy.write_bytes(state)
        view = PoolFile(copy, 42).read(clock(), clock())
        seen.append((view.values, view.sites(), view.holds()))
    assert len(states) == 5 + 2 * MAX_FINISHED
    assert [seen[-1]] * len(seen) == seen
    assert ledger.read() == Reading.of(seen[-1][0])


@pytest.mark.parametrize("shared", [False, True])
def test_what_is_not_ordinary_is_left_alone(clock: FakeClock, tmp_path: Path, shared: bool) -> None:
    ledger = ledger_of(clock, tmp_path / "pools" if shared else None)
    who = asks(PAY, "1")
    ledger.served("a", clock(), clock(), who)
    ledger.taken("b", clock())
    clock.advance(1.0)
    before = ledger.read()
    now = clock()
    assert ledger.begin("new", now, ALWAYS_HELD, 2, asks(PAY, "2"))
    assert ledger.begin("a", now, ALWAYS_HELD, 2, asks(PAY, "2"))
    assert ledger.begin("b", now, ALWAYS_HELD, 2, asks(PAY, "2"))
    assert ledger.begin("c", now, ALWAYS_HELD, 2, who), "who has one already is counted with care"
    assert not ledger.end("b", now), "nobody has it yet"
    assert not ledger.end("c", now)
    assert before == ledger.read()
    clock.advance(5.0)
    assert not ledger.end("a", clock()), "it has been out for too long"
    assert 1 == ledger.read().overdue


def test_who_has_dropped_it_has_not_returned_it(ledger: Ledger, clock: FakeClock) -> None:
    assert ledger.begin("a", clock(), lambda: None, 2, asks(PAY, "1")) is None
    assert not ledger.end("a", clock())
    ledger.returned("a", clock())
    assert 1 == ledger.read().leaks_abandoned


def test_what_was_adopted_was_not_asked_for(clock: FakeClock) -> None:
    ledger = ledger_of(clock)
    ledger.adopted("d", clock(), True)
    assert not ledger.end("d", clock())
    ledger.returned("d", clock())
    assert (0, 1) == (ledger.read().acquired, count_of(ledger.read().hold_seconds))


def test_a_hold_that_is_noted_but_not_taken_back_yet_is_there_once(
    ledger: Ledger, clock: FakeClock
) -> None:
    """A thread may be stopped in between, and another one make numbers of what has ended."""
    quickly(ledger, "a", clock(), asks(PAY, "1"))
    before = ledger.read()
    since, asked, who, _, slot = ledger.holds.out["a"]
    ledger.holds.ended.append(("a", who, since - asked, clock() - since, slot))
    assert before == ledger.read()
    del ledger.holds.out["a"]
    after = ledger.read()
    assert (before.acquired, 0) == (after.acquired, after.in_use)
    assert count_of(before.hold_seconds) + 1 == count_of(after.hold_seconds)


def test_what_ends_while_somebody_reads_is_there_once(
    ledger: Ledger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may run between any two steps of who reads."""
    for key, borrower_key in (("a", "1"), ("b", "2")):
        quickly(ledger, key, clock(), asks(PAY, borrower_key))
    clock.advance(1.0)
    before, sites = ledger.read(), ledger.sites()

    def disturbed(read: Callable[..., Any], ends: Iterator[str]) -> Callable[..., Any]:
        def at_once(*args: Any) -> Any:
            found = read(*args)
            for key in ends:
                assert ledger.end(key, clock())
            return found

        return at_once

    with monkeypatch.context() as patch:
        patch.setattr(Holds, "seconds", disturbed(Holds.seconds, iter("a")))
        after = ledger.read()
    assert (before.acquired, 1) == (after.acquired, after.in_use)
    assert before.in_use_seconds == after.in_use_seconds
    with monkeypatch.context() as patch:
        patch.setattr(Holds, "sites", disturbed(Holds.sites, iter("b")))
        now = ledger.sites()
    assert [(one.site, 0, one.in_use_seconds, 0, 0) for one in sites] == now


def test_only_a_few_are_noted_before_they_are_numbers(ledger: Ledger, clock: FakeClock) -> None:
    noted = []
    for _ in range(3 * MAX_FINISHED):
        quickly(ledger, "a", clock(), asks(PAY, "1"))
        assert ledger.end("a", clock())
        noted.append(len(ledger.holds.ended))
    assert MAX_FINISHED - 1 == max(noted)


def test_threads_that_use_connections_at_once_lose_none(clock: FakeClock) -> None:
    ledger = ledger_of(clock, limit=math.inf)
    threads, rounds = 8, 1000
    for number in range(threads):
        ledger.adopted(number, clock(), False)
    start = threading.Barrier(threads)
    readings: list[Reading] = []

    def use(number: int) -> None:
        start.wait()
        for _ in range(rounds):
            now, who = clock(), asks(PAY, str(number))
            if ledger.begin(number, now, ALWAYS_HELD, 2, who) is not None:
                ledger.served(number, now, now, who)
            if not ledger.end(number, now):
                ledger.returned(number, now)
            if not number:
                readings.append(ledger.read())

    running = [threading.Thread(target=use, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    reading = ledger.read()
    assert threads * rounds == reading.acquired == count_of(reading.hold_seconds)
    assert (0, {}) == (reading.in_use, ledger.holds.holds_by_borrower)
    acquired = [reading.acquired for reading in readings]
    assert sorted(acquired) == acquired, "no counter falls"


def test_who_has_several_has_one_less_with_each(ledger: Ledger, clock: FakeClock) -> None:
    who = asks(PAY, "1")
    quickly(ledger, "a", clock(), who)
    for key in "bc":
        ledger.served(key, clock(), clock(), Borrower(*who))
    for key, left in (("a", {"1": 2}), ("b", {"1": 1}), ("c", {})):
        assert ledger.end(key, clock())
        assert left == ledger.holds.holds_by_borrower


def test_nothing_overtakes_what_is_not_applied_yet(ledger: Ledger, clock: FakeClock) -> None:
    with ledger.reading_lock():  # another thread has the lock
        ledger.served("a", clock(), clock(), asks(PAY, "1"))
        assert not ledger.end("a", clock())
        ledger.returned("a", clock())
        assert ledger.begin("a", clock(), ALWAYS_HELD, 2, asks(CART, "2"))
        ledger.served("a", clock(), clock(), asks(CART, "2"))
    assert ["Task-2"] == [holder.who.owner for holder in ledger.holders() if holder.who]
    clock.advance(1.0)
    with ledger.reading_lock():
        ledger.returned("a", clock())
        assert not ledger.end("a", clock())
    assert (0, 1.0) == (ledger.read().in_use, ledger.read().in_use_seconds)


def test_after_a_fork_nothing_is_ordinary_until_something_was_done(clock: FakeClock) -> None:
    ledger = ledger_of(clock)
    ledger.forked()
    assert ledger.begin("a", clock(), ALWAYS_HELD, 2, asks(PAY, "1"))
    ledger.served("a", clock(), clock(), asks(PAY, "1"))
    ledger.returned("a", clock())
    quickly(ledger, "a", clock(), asks(PAY, "1"))
    assert 2 == ledger.read().acquired

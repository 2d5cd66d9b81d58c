"""The hot path counts an ordinary use as the events do, and refuses any other use."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, Function
from poolscope.callsites.operations import NamedOperation
from poolscope.fleet.folder import Folder
from poolscope.fleet.segment_reader import PoolFile
from poolscope.ledger.cells import Cells
from poolscope.ledger.holds import MAX_FINISHED
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
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
    raise AssertionError("the segment is not shared")


def ledger_of(clock: FakeClock, folder: Path | None = None, limit: float = 3) -> Ledger:
    segments = Folder(folder).segments(FACTS, unshared)
    ledger = Ledger(Limits(limit, limit, 0), clock, 5.0, segments)
    for key in "abc":
        ledger.adopted(key, clock(), False)
    return ledger


@pytest.fixture(params=["private", "shared"])
def ledger(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Ledger:
    """A ledger with three connections, each of which has been used before."""
    ledger = ledger_of(clock, tmp_path / "pools" if request.param == "shared" else None)
    for key, function in (("a", PAY), ("b", CART), ("c", PAY)):
        ledger.served(key, clock(), clock(), borrower_of(function, key))
        ledger.returned(key, clock())
    return ledger


def borrower_of(function: Function, borrower_key: str) -> Borrower:
    return Borrower(function, 7, borrower_key, f"Task-{borrower_key}")


def begin_fast(ledger: Ledger, key: str, asked: float, borrower: Borrower) -> None:
    assert ledger.begin(key, asked, ALWAYS_HELD, 2, borrower) is None


def begin_by_event(ledger: Ledger, key: str, asked: float, borrower: Borrower) -> None:
    ledger.served(key, ledger.clock(), asked, borrower)


Begin = Callable[[Ledger, str, float, Borrower], None]


def use_for_a_while(
    ledger: Ledger, clock: FakeClock, begin: Begin, end: Callable[[str, float], Any]
) -> None:
    """Use one to three connections at a time, for longer than a window of the peaks lasts."""
    for turn in range(40):
        asked = clock()
        clock.advance(0.0625 * (turn % 3))
        begin(ledger, "a", asked, borrower_of(PAY, "1"))
        if turn % 2:
            begin(ledger, "b", clock(), borrower_of(CART, "2"))
        if turn % 4 == 3:
            begin(ledger, "c", clock(), borrower_of(PAY, "3"))
        clock.advance(1.5)
        for key in ("a", *("b" * (turn % 2)), *("c" * (turn % 4 == 3))):
            end(key, clock())
            clock.advance(0.25)
    begin(ledger, "b", clock(), borrower_of(CART, "2"))
    clock.advance(0.5)


def test_the_hot_path_and_the_events_count_the_same(ledger: Ledger, clock: FakeClock) -> None:
    other_clock = FakeClock()
    other_clock.advance(clock() - other_clock())
    other = ledger_of(other_clock)
    for key, function in (("a", PAY), ("b", CART), ("c", PAY)):
        other.served(key, other_clock(), other_clock(), borrower_of(function, key))
        other.returned(key, other_clock())

    def end(key: str, now: float) -> None:
        assert ledger.end(key, now)

    use_for_a_while(ledger, clock, begin_fast, end)
    use_for_a_while(other, other_clock, begin_by_event, other.returned)
    assert other.read() == ledger.read()
    assert other.sites() == ledger.sites()
    assert other.holders() == ledger.holders()


def test_the_hot_path_raises_the_peak(ledger: Ledger, clock: FakeClock) -> None:
    before = ledger.read()
    for key, borrower_key in (("a", "1"), ("b", "2")):
        begin_fast(ledger, key, clock(), borrower_of(PAY, borrower_key))
    for key in "ab":
        assert ledger.end(key, clock())
    after = ledger.read()
    assert (1, 2) == (before.in_use_peak, after.in_use_peak)
    assert (1, 2) == (before.most_in_use, after.most_in_use)


def test_another_process_reads_the_same_after_every_step(tmp_path: Path, clock: FakeClock) -> None:
    ledger = ledger_of(clock, tmp_path / "pools")
    (path,) = (tmp_path / "pools").glob("*.pool")
    file = PoolFile(path, 42)
    ledger.served("a", clock(), clock(), borrower_of(PAY, "1"))
    ledger.returned("a", clock())
    for _ in range(3 * MAX_FINISHED):
        begin_fast(ledger, "a", clock(), borrower_of(PAY, "1"))
        clock.advance(0.5)
        # The file first: the ledger's own reading folds the finished holds.
        view = file.read(clock())
        assert (ledger.read(), ledger.sites()) == (view.reading, view.sites())
        assert ["Task-1"] == [hold.owner for hold in view.holds()]
        assert ledger.end("a", clock())
        view = file.read(clock())
        assert [] == view.holds()
        assert (ledger.read(), ledger.sites()) == (view.reading, view.sites())


def test_a_process_killed_at_any_moment_of_a_fold_leaves_each_hold_once(
    tmp_path: Path, clock: FakeClock
) -> None:
    """A reader completes a fold that was interrupted, from the journal in the file."""
    ledger = ledger_of(clock, tmp_path / "pools")
    (path,) = (tmp_path / "pools").glob("*.pool")
    states: list[bytes] = []

    class RecordedCells:
        """The cells; each assignment adds a copy of the file to `states`."""

        def __init__(self, cells: Cells) -> None:
            self._cells = cells

        def __getitem__(self, where: Any) -> Any:
            return self._cells[where]

        def __setitem__(self, where: Any, value: Any) -> None:
            self._cells[where] = value
            states.append(path.read_bytes())

    recorded: Any = RecordedCells(ledger._segment.cells)
    callers = [
        borrower_of(PAY, "1"),
        borrower_of(CART, "1")._replace(operation=NamedOperation("nightly report")),
    ]
    for borrower in callers:
        ledger.served("a", clock(), clock(), borrower)
        ledger.returned("a", clock())
    for turn in range(MAX_FINISHED):
        begin_fast(ledger, "a", clock() - 0.25 * turn, Borrower(*callers[turn % 2]))
        clock.advance(0.125 * turn)
        if turn == MAX_FINISHED - 1:
            ledger._segment.cells = recorded
        assert ledger.end("a", clock())
    copy = tmp_path / "copy"
    results = []
    for state in states:
        copy.write_bytes(state)
        view = PoolFile(copy, 42).read(clock(), clock())
        results.append((view.values, view.sites(), view.operations(), view.holds()))
    # The end of the hold, the sequence before and after, the journal, the numbers, three
    # cells of each slot, the end of the journal; then the numbers and their sequence, because the
    # pool is full no more.
    assert len(states) == 1 + 2 + 3 + 1 + 3 * MAX_FINISHED + 1 + 3
    assert [results[-1]] * len(results) == results
    assert ledger.read() == Reading.of(results[-1][0])
    assert ledger.operations() == results[-1][2]


@pytest.mark.parametrize("shared", [False, True])
def test_the_hot_path_refuses_what_is_not_an_ordinary_use(
    clock: FakeClock, tmp_path: Path, shared: bool
) -> None:
    ledger = ledger_of(clock, tmp_path / "pools" if shared else None)
    borrower = borrower_of(PAY, "1")
    ledger.served("a", clock(), clock(), borrower)
    ledger.taken("b", clock())
    clock.advance(1.0)
    before = ledger.read()
    now = clock()
    assert ledger.begin("new", now, ALWAYS_HELD, 2, borrower_of(PAY, "2"))
    assert ledger.begin("a", now, ALWAYS_HELD, 2, borrower_of(PAY, "2"))
    assert ledger.begin("b", now, ALWAYS_HELD, 2, borrower_of(PAY, "2"))
    assert ledger.begin("c", now, ALWAYS_HELD, 2, borrower), "it holds one already"
    assert not ledger.end("b", now), "it is being set up"
    assert not ledger.end("c", now)
    assert before == ledger.read()
    clock.advance(5.0)
    assert not ledger.end("a", clock()), "it is overdue"
    assert 1 == ledger.read().overdue


def test_the_hot_path_does_not_end_an_abandoned_hold(ledger: Ledger, clock: FakeClock) -> None:
    assert ledger.begin("a", clock(), lambda: None, 2, borrower_of(PAY, "1")) is None
    assert not ledger.end("a", clock())
    ledger.returned("a", clock())
    assert 1 == ledger.read().leaks_abandoned


def test_an_adopted_hold_is_not_an_acquire(clock: FakeClock) -> None:
    ledger = ledger_of(clock)
    ledger.adopted("d", clock(), True)
    assert not ledger.end("d", clock())
    ledger.returned("d", clock())
    assert (0, 1) == (ledger.read().acquired, count_of(ledger.read().hold_seconds))


def test_a_hold_that_is_finished_and_still_in_use_counts_once(
    ledger: Ledger, clock: FakeClock
) -> None:
    """A thread can be interrupted between the two steps, and another one can fold the holds."""
    begin_fast(ledger, "a", clock(), borrower_of(PAY, "1"))
    before = ledger.read()
    since, asked, borrower, _, slot = ledger.holds.in_use["a"]
    ledger.holds.finished.append(("a", borrower, asked, since, clock(), slot))
    assert before == ledger.read()
    del ledger.holds.in_use["a"]
    after = ledger.read()
    assert (before.acquired, 0) == (after.acquired, after.in_use)
    assert count_of(before.hold_seconds) + 1 == count_of(after.hold_seconds)


def test_finished_holds_are_folded_in_batches(ledger: Ledger, clock: FakeClock) -> None:
    finished = []
    for _ in range(3 * MAX_FINISHED):
        begin_fast(ledger, "a", clock(), borrower_of(PAY, "1"))
        assert ledger.end("a", clock())
        finished.append(len(ledger.holds.finished))
    assert MAX_FINISHED - 1 == max(finished)


def test_holds_of_several_threads_are_all_counted(clock: FakeClock) -> None:
    ledger = ledger_of(clock, limit=math.inf)
    threads, rounds = 8, 1000
    for number in range(threads):
        ledger.adopted(number, clock(), False)
    start = threading.Barrier(threads)
    readings: list[Reading] = []

    def use_connections(number: int) -> None:
        start.wait()
        for _ in range(rounds):
            now, borrower = clock(), borrower_of(PAY, str(number))
            if ledger.begin(number, now, ALWAYS_HELD, 2, borrower) is not None:
                ledger.served(number, now, now, borrower)
            if not ledger.end(number, now):
                ledger.returned(number, now)
            if not number:
                readings.append(ledger.read())

    running = [
        threading.Thread(target=use_connections, args=(number,)) for number in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    reading = ledger.read()
    assert threads * rounds == reading.acquired == count_of(reading.hold_seconds)
    assert (0, {}) == (reading.in_use, ledger.holds.holds_by_borrower)
    acquired = [reading.acquired for reading in readings]
    assert sorted(acquired) == acquired, "no counter falls"


def test_each_return_leaves_a_borrower_with_one_connection_less(
    ledger: Ledger, clock: FakeClock
) -> None:
    borrower = borrower_of(PAY, "1")
    begin_fast(ledger, "a", clock(), borrower)
    for key in "bc":
        ledger.served(key, clock(), clock(), Borrower(*borrower))
    for key, remaining in (("a", {"1": 2}), ("b", {"1": 1}), ("c", {})):
        assert ledger.end(key, clock())
        assert remaining == ledger.holds.holds_by_borrower


def test_the_hot_path_does_not_overtake_pending_events(ledger: Ledger, clock: FakeClock) -> None:
    with ledger.reading_lock():  # another thread has the lock
        ledger.served("a", clock(), clock(), borrower_of(PAY, "1"))
        assert not ledger.end("a", clock())
        ledger.returned("a", clock())
        assert ledger.begin("a", clock(), ALWAYS_HELD, 2, borrower_of(CART, "2"))
        ledger.served("a", clock(), clock(), borrower_of(CART, "2"))
    assert ["Task-2"] == [holder.who.owner for holder in ledger.holders() if holder.who]
    clock.advance(1.0)
    with ledger.reading_lock():
        ledger.returned("a", clock())
        assert not ledger.end("a", clock())
    assert (0, 1.0) == (ledger.read().in_use, ledger.read().in_use_seconds)


def test_a_reading_without_the_lock_has_what_the_hot_path_has_ended(
    ledger: Ledger, clock: FakeClock
) -> None:
    before = ledger.read().acquired
    begin_fast(ledger, "a", clock(), borrower_of(PAY, "1"))
    with ledger.reading_lock():  # another thread has the lock
        clock.advance(1.0)
        assert ledger.end("a", clock())
        reading, sites = ledger.read(), ledger.sites()
    assert (0, before + 1, 1.0) == (reading.in_use, reading.acquired, reading.in_use_seconds)
    assert [(PAY.label, 0, 1.0)] == [site[:3] for site in sites if site.in_use_seconds]


def test_a_forked_child_uses_the_hot_path_only_after_its_first_event(clock: FakeClock) -> None:
    ledger = ledger_of(clock)
    ledger.forked()
    assert ledger.begin("a", clock(), ALWAYS_HELD, 2, borrower_of(PAY, "1"))
    ledger.served("a", clock(), clock(), borrower_of(PAY, "1"))
    ledger.returned("a", clock())
    begin_fast(ledger, "a", clock(), borrower_of(PAY, "1"))
    assert 2 == ledger.read().acquired


def ask_and_begin(ledger: Ledger) -> tuple[Borrower, Borrower]:
    """Return the borrower that an event finds, and the one that the hot path finds."""
    asked, begun = ledger.ask(), ledger.begin("no connection", 0.0, ALWAYS_HELD, 1)
    assert begun is not None
    return asked, begun


@pytest.mark.parametrize("call_sites", [True, False])
async def test_the_hot_path_and_the_events_find_the_same_borrower(
    clock: FakeClock, call_sites: bool
) -> None:
    ledger = Ledger(Limits(3, 3, 0), clock, call_sites=call_sites)

    async def ask_in_a_task() -> tuple[Borrower, Borrower]:
        return ask_and_begin(ledger)

    name = "test_hot_path:ask_and_begin" if call_sites else None
    for asked, begun in (
        await asyncio.create_task(ask_in_a_task(), name="pay"),
        await asyncio.to_thread(ask_and_begin, ledger),
    ):
        assert Borrower(*asked)[2:] == Borrower(*begun)[2:]
        assert [name, name] == [Borrower(*found).label for found in (asked, begun)]

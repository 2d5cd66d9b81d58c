"""Events of other threads and of finalizers, while an event is recorded or a reading is taken."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from poolscope.callsites.borrower import UNKNOWN_BORROWER
from poolscope.errors import ErrorLog
from poolscope.ledger import cells as c
from poolscope.ledger import recorder
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.references import COUNTS_ARE_EXACT
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from support.histograms import count_of
from support.waiting import PATIENCE


class Finalizer:
    """Returns a connection when it is finalised."""

    def __init__(self, ledger: Ledger, key: Any) -> None:
        self.ledger, self.key = ledger, key

    def __del__(self) -> None:
        self.ledger.returned(self.key, self.ledger.clock())


def test_an_event_of_a_finalizer_inside_the_recorder_is_neither_lost_nor_a_deadlock(
    clock: FakeClock,
) -> None:
    ledger = Ledger(Limits(math.inf, math.inf, 0), clock)
    to_finalize: list[Finalizer] = []

    class Key:
        """Its hash is computed inside the recorder, and runs a finalizer there."""

        def __init__(self, number: int) -> None:
            self.number = number

        def __hash__(self) -> int:
            if to_finalize:
                to_finalize.pop()
            return self.number

    total = 200
    for number in range(total):
        ledger.served(f"lost {number}", clock(), clock())
        to_finalize.append(Finalizer(ledger, f"lost {number}"))
        key = Key(number)
        ledger.served(key, clock(), clock())
        assert not to_finalize
        ledger.returned(key, clock())
    reading = ledger.read()
    assert (0, 2 * total) == (reading.in_use, reading.idle)
    assert 2 * total == count_of(reading.hold_seconds)


def test_a_holder_that_returns_while_another_thread_records_has_not_abandoned_the_connection(
    ledger: Ledger, clock: FakeClock
) -> None:
    holder: list[int] = [1]
    with ledger.reading_lock():  # another thread has the lock
        ledger.served("a", clock(), clock(), holder_ref=lambda: holder[0] if holder else None)
        ledger.returned("a", clock())
        holder.clear()
    assert (1, 0, 0) == (
        count_of(ledger.read().hold_seconds), ledger.read().leaks_abandoned, ledger.read().in_use,
    )  # fmt: skip


@pytest.mark.parametrize("served_before", [True, False], ids=["served before", "served meanwhile"])
@pytest.mark.parametrize("end", ["returned", "closed"])
def test_a_holder_collected_while_another_thread_records_has_abandoned_the_connection(
    ledger: Ledger, clock: FakeClock, served_before: bool, end: str
) -> None:
    """While another thread records, the previous holder has returned the connection."""
    holder: list[int] = [1]
    hold: tuple[Any, ...] = (
        "a",
        clock(),
        clock(),
        UNKNOWN_BORROWER,
        lambda: holder[0] if holder else None,
    )
    if served_before:
        ledger.served(*hold)
    with ledger.reading_lock():
        if not served_before:
            ledger.served("a", clock(), clock())
            ledger.returned("a", clock())
            ledger.served(*hold)
        holder.clear()
        getattr(ledger, end)("a", clock())
        if end == "returned":
            ledger.served("a", clock(), clock())
    assert 1 == ledger.read().leaks_abandoned
    assert [False] * (end == "returned") == [holder.abandoned for holder in ledger.holders()]


def test_the_next_holder_of_a_closed_connection_has_not_abandoned_it(
    ledger: Ledger, clock: FakeClock
) -> None:
    def holder_ref() -> int | None:
        if calls:
            return 1
        calls.append(1)
        ledger.returned("a", clock())
        ledger.served("a", clock(), clock())
        return None

    calls: list[int] = []
    ledger.served("a", clock(), clock(), holder_ref=holder_ref)
    with ledger.reading_lock():  # another thread has the lock
        ledger.closed("a", clock())
    assert calls
    assert (2, 0) == (count_of(ledger.read().hold_seconds), ledger.read().leaks_abandoned)


def test_a_reader_that_interrupts_the_recorder_does_not_deadlock(
    ledger: Ledger, clock: FakeClock
) -> None:
    readings: list[Any] = []

    class Key:
        def __hash__(self) -> int:
            if not readings:
                readings.append(None)
                readings[0] = ledger.read()
            return 1

    ledger.served("a", clock(), clock())
    ledger.served(Key(), clock(), clock())
    assert 1 == readings[0].in_use
    assert 2 == ledger.read().in_use


def test_events_of_several_threads_are_all_counted(clock: FakeClock) -> None:
    ledger = Ledger(Limits(math.inf, math.inf, 0), clock)
    threads, rounds = 8, 500
    start = threading.Barrier(threads)

    def use_connections(number: int) -> None:
        start.wait()
        for turn in range(rounds):
            key = (number, turn)
            ledger.served(key, clock(), clock() - 0.001, reused=False)
            ledger.waiting(key, clock())
            ledger.stopped_waiting(key, clock())
            ledger.returned(key, clock())
            ledger.closed(key, clock())

    running = [
        threading.Thread(target=use_connections, args=(number,)) for number in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    reading = ledger.read()
    total = threads * rounds
    assert (0, 0) == (reading.in_use, reading.idle)
    assert (total, total, total) == (reading.acquired, reading.opened, reading.closed)
    assert total == count_of(reading.hold_seconds) == count_of(reading.acquire_seconds)


@pytest.fixture
def stopped(ledger: Ledger) -> Iterator[None]:
    """Another thread has the lock of the ledger, and does not run."""
    has_lock, may_go_on = threading.Event(), threading.Event()

    def read() -> None:
        with ledger.reading_lock():
            has_lock.set()
            may_go_on.wait(PATIENCE)

    thread = threading.Thread(target=read)
    thread.start()
    assert has_lock.wait(PATIENCE)
    yield
    may_go_on.set()
    thread.join()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The naps of callers, which take no time; with small bounds for the queue."""
    naps: list[float] = []
    monkeypatch.setattr(recorder, "MAX_PENDING", 10)
    monkeypatch.setattr(recorder, "MOST_PENDING", 30)
    monkeypatch.setattr(recorder, "MAX_NAPS", 5)
    monkeypatch.setattr("time.sleep", naps.append)
    return naps


@pytest.mark.usefixtures("stopped")
def test_callers_wait_once_for_a_thread_that_has_stopped_in_the_ledger(
    ledger: Ledger, clock: FakeClock, naps: list[float]
) -> None:
    for number in range(10):
        ledger.finished(c.ERROR, 1.0, None)
        assert (number + 1, []) == (len(ledger.pending), naps)
    ledger.finished(c.ERROR, 1.0, None)
    assert [recorder.NAP] * 5 == naps
    for _ in range(5):
        ledger.finished(c.ERROR, 1.0, None)
    assert ([recorder.NAP] * 5, 16) == (naps, len(ledger.pending))


@pytest.mark.usefixtures("naps")
def test_the_queue_is_bounded_and_what_it_has_no_room_for_is_counted_as_an_error(
    ledger: Ledger, stopped: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = ErrorLog()
    monkeypatch.setattr("poolscope.errors.internal_errors", errors)
    for _ in range(100):
        ledger.finished(c.ERROR, 1.0, None)
    assert (30, 70) == (len(ledger.pending), errors.count)


def test_a_caller_that_waits_for_room_applies_the_events_once_the_lock_is_free(
    ledger: Ledger, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = ledger._lock
    lock[recorder.OWNER] = owner = (0.5,)

    def free_the_lock(seconds: float) -> None:
        naps.append(seconds)
        lock.pop(recorder.OWNER, None)

    monkeypatch.setattr("time.sleep", free_the_lock)
    for _ in range(11):
        ledger.finished(c.ERROR, 1.0, None)
    assert ([recorder.NAP], 0) == (naps, len(ledger.pending))
    assert (11.0, (0.5,)) == (ledger.read().failed, owner)


def test_a_finalizer_does_not_wait_for_the_thread_that_it_has_interrupted(
    ledger: Ledger, naps: list[float]
) -> None:
    with ledger.reading_lock():
        for _ in range(20):
            ledger.finished(c.ERROR, 1.0, None)
    assert ([], 20.0) == (naps, ledger.read().failed)


@pytest.mark.skipif(not COUNTS_ARE_EXACT, reason="without the GIL nobody can tell")
@pytest.mark.usefixtures("naps")
def test_a_lock_is_freed_whose_owner_was_interrupted_again_while_it_gave_it_back(
    ledger: Ledger,
) -> None:
    ledger._lock[recorder.OWNER] = (threading.get_ident() + 0.5,)  # nobody else refers to it
    ledger.finished(c.ERROR, 1.0, None)
    assert (1, {}) == (ledger.read().failed, ledger._lock)


def test_a_lock_is_freed_where_the_stack_has_no_room_to_give_it_back(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else can: a log may keep the exception, and with it what had the lock."""
    ledger = Ledger(Limits(math.inf, math.inf, 0), clock)

    def has_no_room(*_: object) -> None:
        raise RecursionError

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "_apply_pending", has_no_room)
        patched.setattr(Ledger, "_give_back", has_no_room)
        with pytest.raises(RecursionError) as kept:
            ledger.opening(1, clock())
    assert 1 == ledger.read().opening
    assert not ledger.pending
    assert kept.value


@pytest.mark.usefixtures("stopped", "naps")
def test_a_reader_reads_what_is_final_while_a_thread_has_stopped_in_the_ledger(
    ledger: Ledger, clock: FakeClock
) -> None:
    ledger.served("a", clock(), clock())
    assert (0, 1) == (ledger.read().acquired, len(ledger.pending))
    assert ([], []) == (ledger.holders(), ledger.sites())

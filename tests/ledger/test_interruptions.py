"""Events of other threads and of finalizers, while an event is recorded or a reading is taken."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from poolscope.callsites.borrower import UNKNOWN_BORROWER
from poolscope.ledger.ledger import Ledger
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from support.histograms import count_of


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

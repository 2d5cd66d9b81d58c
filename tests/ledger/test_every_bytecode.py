"""
A ledger is right whatever happens at any bytecode of poolscope: an exception of a signal handler, a
finalizer, or other threads that record and read while this one does not run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, Function
from poolscope.callsites.purposes import Block, current_block, held_on_purpose, used
from poolscope.fleet.segment_file import FileSegment
from poolscope.fleet.segment_reader import PoolFile
from poolscope.ledger import cells as c
from poolscope.ledger import recorder
from poolscope.ledger.holds import MAX_FINISHED
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.ledger.segment import Segment
from poolscope.process.pauses import Pause, Pauses
from poolscope.readings.limits import Limits
from poolscope.readings.reading import Reading
from poolscope.testing import FakeClock
from support.bytecodes import (
    STEP,
    HardInterruption,
    Interruption,
    at_bytecode,
    in_a_thread,
    interruption,
)
from support.counters import falls
from support.histograms import count_of
from support.segments import FACTS

PAY = Function(None, APPLICATION, "shop.py", "pay", "shop:pay")
CART = Function(None, APPLICATION, "shop.py", "cart", "shop:cart")

BLOCK = Block(held_on_purpose(), None)

Use = Callable[["PoolOfThree"], None]


class PoolOfThree:
    """
    A pool that records in a ledger what happens to its connections a, b and c.

    When an exception interrupts a record, it is made once more, as the hooks of an adapter do.
    """

    def __init__(self, path: Path | None) -> None:
        self.clock = FakeClock()
        self.pauses = Pauses(self.clock, self.clock)
        self.ledger = Ledger(
            Limits(3, 3, 0),
            self.clock,
            5.0,
            Segment if path is None else lambda slots: FileSegment(path, slots, FACTS),
            pauses=self.pauses,
            by_host=True,
        )
        self.file = PoolFile(path, 42) if path is not None else None
        self.open = dict.fromkeys("abc")
        self.in_use: dict[str, None] = {}
        self.interruptions = 0
        for key in "abc":
            self.ledger.adopted(key, self.clock(), False, ALWAYS_HELD, f"{key}.example:80")
        for function in (PAY, CART):
            self.use_slowly("a", function)
        self.use("b")

    def record(self, event: Callable[..., object], *args: Any, again: bool = True) -> None:
        try:
            event(*args)
        except (Interruption, HardInterruption):
            self.interruptions += 1
            if again:
                event(*args)

    def begin(self, key: str, function: Function = PAY) -> None:
        """Use a connection on the hot path; the caller does not get it if that is interrupted."""
        who: Any = Borrower(function, 7, f"task {key}", f"Task-{key}")
        try:
            refused = self.ledger.begin(key, self.clock(), ALWAYS_HELD, 1, who)
            if refused is not None:
                self.record(self.ledger.served, key, self.clock(), self.clock(), who)
            self.in_use[key] = None
        except (Interruption, HardInterruption):
            self.interruptions += 1
            self.ledger.returned(key, self.clock())

    def end(self, key: str) -> None:
        self.clock.advance(0.5)
        try:
            if not self.ledger.end(key, self.clock()):
                self.record(self.ledger.returned, key, self.clock())
        except (Interruption, HardInterruption):
            self.interruptions += 1
            self.ledger.returned(key, self.clock())
        self.in_use.pop(key, None)

    def use(self, key: str, function: Function = PAY) -> None:
        self.begin(key, function)
        self.end(key)

    def use_slowly(self, key: str, function: Function = PAY) -> None:
        who = Borrower(function, 7, f"task {key}", f"Task-{key}")
        self.record(self.ledger.taken, key, self.clock())
        self.record(
            self.ledger.served, key, self.clock(), self.clock() - 0.1, who, ALWAYS_HELD, 0.05
        )
        self.clock.advance(0.25)
        self.record(self.ledger.returned, key, self.clock())

    def faults(self) -> list[str]:
        """Return which laws do not hold, after one look."""
        reading, ledger = self.ledger.read(), self.ledger
        attempts = reading.acquired + reading.timed_out + reading.cancelled + reading.failed
        laws = {
            "the connections in use are those of the pool": set(self.in_use)
            == set(ledger.holds.in_use)
            and reading.in_use == len(self.in_use),
            "the open connections are those of the pool": set(self.open) == set(ledger._open)
            and reading.opened - reading.closed == len(self.open) == reading.in_use + reading.idle,
            "attempts have a duration": attempts == count_of(reading.acquire_seconds),
            "ended holds have a duration": reading.acquired - reading.in_use
            == count_of(reading.hold_seconds),
            "waits have a duration": reading.waited == count_of(reading.queue_seconds),
            "opened connections have a duration": reading.opened - 3 + reading.open_failed
            == count_of(reading.open_seconds),
            "nobody waits or opens": (0, 0) == (reading.waiting, reading.opening),
            "nothing is pending": not ledger.pending
            and not ledger.changes.steps
            and not ledger.holds.finished,
            "the lock is free": not ledger._lock,
            "borrowers hold what is in use": sum(ledger.holds.holds_by_borrower.values())
            == len(ledger.holds.in_use) - len(ledger.holds.abandoned_keys),
            "references are those of open holds": set(ledger.holds._holder_refs)
            <= set(ledger.holds.in_use)
            and not ledger._pending_refs,
            "hosts add up": [*reading[:4], reading.opened, reading.open_failed]
            == [sum(each) for each in zip(*(host[1:] for host in ledger.hosts()), strict=True)],
            "requests are across open holds": set(ledger.holds.across.by_key)
            <= set(ledger.holds.in_use),
            "no request is under way": 0.0
            == ledger._cells[c.ACROSS_NOW]
            == ledger._cells[c.ACROSS_NOW_SINCE],
            "purposes are those of open holds": set(ledger.holds.purposes)
            <= set(ledger.holds.in_use),
        }
        if self.file is not None:
            free = ledger._segment.free
            used = [hold[4] for hold in ledger.holds.in_use.values()]
            others = self.file.read(self.clock()).reading
            # Who read without the lock has seen holds as overdue before a pause was applied.
            overdue = max(reading.leaks_overdue, others.leaks_overdue)
            laws |= {
                "other processes read the same hosts": self.file.read(self.clock()).hosts()
                == ledger.hosts(),
                "other processes read the same": others._replace(leaks_overdue=overdue) == reading,
                # One is lost between two bytecodes: its hold was not to be.
                "each slot is free or used": len({*free, *used}) == len(free) + len(used)
                and len(ledger._segment.borrowers) - len(free) - len(used) <= 1,
            }
        return [law for law, holds in laws.items() if not holds]


def ordinary_uses(pool: PoolOfThree) -> None:
    pool.begin("a")
    pool.begin("b", CART)
    pool.end("a")
    pool.use("c")
    pool.end("b")


def a_fold(pool: PoolOfThree) -> None:
    pool.use("a")
    pool.use("b", CART)


def a_full_pool(pool: PoolOfThree) -> None:
    for _ in range(2):
        for key in "abc":
            pool.begin(key)
        for key in "abc":
            pool.end(key)


def a_new_window(pool: PoolOfThree) -> None:
    pool.clock.advance(70.0)
    pool.use("a")
    pool.clock.advance(70.0)
    pool.begin("b")
    pool.clock.advance(4.0)
    pool.end("b")


def slow_uses(pool: PoolOfThree) -> None:
    pool.use_slowly("a", CART)
    pool.use_slowly("a")


def waits(pool: PoolOfThree) -> None:
    for caller in (1, 2):
        pool.record(pool.ledger.waiting, caller, pool.clock(), f"{caller}.example:80")
    pool.clock.advance(0.5)
    for caller in (1, 2):
        pool.record(pool.ledger.stopped_waiting, caller, pool.clock())
    pool.record(pool.ledger.waited, 0.5, again=False)
    pool.record(pool.ledger.finished, c.TIMEOUT, 0.5, 0.5, again=False)
    pool.record(pool.ledger.looked_up, c.DNS_MISS, 0.25, again=False)


def opening_and_closing(pool: PoolOfThree) -> None:
    ledger, clock = pool.ledger, pool.clock
    for attempt in (1, 2):
        pool.record(ledger.opening, attempt, clock(), f"{attempt}.example:80")
    pool.record(ledger.opened, 1, "d", clock(), 0.1, True, "1.example:80")
    pool.record(ledger.served, "d", clock(), clock(), Borrower(PAY, 1, 1, ""))
    pool.record(ledger.open_failed, 2, clock(), 0.1)
    pool.record(ledger.invalidated, True, again=False)
    pool.record(ledger.closed, "d", clock())


def leaks(pool: PoolOfThree) -> None:
    ledger, clock = pool.ledger, pool.clock
    pool.begin("a")
    pool.begin("b")
    clock.advance(6.0)
    pool.record(ledger.check_overdue, clock())
    if "a" in pool.in_use:
        pool.record(ledger.abandoned, "a", clock())
    pool.end("a")
    pool.end("b")


def on_purpose(pool: PoolOfThree) -> None:
    ledger, clock = pool.ledger, pool.clock
    used.append(True)
    pool.begin("a")
    pool.record(ledger.purpose_changed, "a", clock(), True)
    current_block.set(BLOCK)
    pool.begin("b")
    current_block.set(None)
    clock.advance(6.0)
    pool.record(ledger.check_overdue, clock())
    for is_on_purpose in (False, True):
        pool.record(ledger.purpose_changed, "a", clock(), is_on_purpose)
    pool.begin("c")
    for key in "abc":
        pool.end(key)


def a_pause(pool: PoolOfThree) -> None:
    ledger, clock = pool.ledger, pool.clock
    pool.begin("a")
    pool.begin("b")
    for _ in range(4):
        clock.advance(20.0)
        pool.pauses.known = (*pool.pauses.known, Pause(clock() - 20.0, clock()))
        pool.record(ledger.follow_pauses)
        pool.record(ledger.check_overdue, clock())
    pool.end("a")
    pool.end("b")


def requests(pool: PoolOfThree) -> None:
    """Callers wait for another server while they hold connections."""
    ledger, clock = pool.ledger, pool.clock
    pool.begin("a")
    pool.begin("b")
    for request in (1, 2):
        pool.record(ledger.request_begins, "task a", request, (CART, 3))
        clock.advance(1.0)
    pool.record(ledger.request_begins, "task b", 3, (CART, 3))
    pool.record(ledger.request_ended, 1, clock())
    pool.end("b")
    for request in (2, 3):
        pool.record(ledger.request_ended, request, clock())
    pool.end("a")
    pool.use("b")


def nesting(pool: PoolOfThree) -> None:
    pool.begin("a")
    pool.record(pool.ledger.nested, Borrower(CART, 3, "task a", "Task-a"), again=False)
    pool.end("a")


def the_end(pool: PoolOfThree) -> None:
    pool.begin("a")
    pool.record(pool.ledger.emptied, pool.clock())
    pool.open.clear()
    pool.in_use.clear()
    pool.record(pool.ledger.retired, pool.clock())


def looks(pool: PoolOfThree) -> None:
    pool.begin("a")
    pool.use("b", CART)
    for look in (pool.ledger.read, pool.ledger.holders, pool.ledger.sites, pool.ledger.connections):
        pool.record(look)
    pool.end("a")


USES: Final[tuple[Use, ...]] = (
    ordinary_uses, a_fold, a_full_pool, a_new_window, slow_uses, waits, opening_and_closing, leaks,
    on_purpose, a_pause, requests, nesting, the_end, looks,
)  # fmt: skip

FEWEST: Final = 100
"""Bytecodes of a use, at least: a test that reaches none has tested nothing."""


MakePool = Callable[[Use], PoolOfThree]


@pytest.fixture(params=["private", "shared"])
def make_pool(request: pytest.FixtureRequest, tmp_path: Path) -> MakePool:
    """Make a pool whose numbers are in private memory, or in a file."""

    def make(use: Use) -> PoolOfThree:
        path = tmp_path / "1.pool"
        path.unlink(missing_ok=True)
        pool = PoolOfThree(path if request.param == "shared" else None)
        while use is a_fold and len(pool.ledger.holds.finished) < MAX_FINISHED - 1:
            pool.use("c", CART)
        return pool

    return make


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_an_exception_at_any_bytecode_leaves_the_ledger_right(
    make_pool: MakePool, use: Use
) -> None:
    wrong = []
    for number in itertools.count(1, STEP):
        pool = make_pool(use)
        with at_bytecode(number, interruption(number)) as tracer:
            use(pool)
        if tracer.is_beyond_the_last:
            break
        wrong += [(number, tracer.where, fault) for fault in pool.faults()]
        if pool.interruptions != bool(tracer.where):
            wrong.append((number, tracer.where, "the exception did not reach the application"))
    assert [] == wrong
    assert number > FEWEST


@pytest.mark.parametrize("by", ["other thread", "finalizer"])
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_others_record_and_read_at_any_bytecode(
    make_pool: MakePool, use: Use, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They record and read between any two bytecodes of a thread, and no counter falls."""
    monkeypatch.setattr(recorder, "READER_NAPS", 1)
    monkeypatch.setattr(recorder, "NAP", 0.0)
    wrong = []
    for number in itertools.count(1, STEP):
        pool = make_pool(use)
        seen: list[Reading] = []

        def others(pool: PoolOfThree = pool, seen: list[Reading] = seen) -> None:
            ledger, now = pool.ledger, pool.clock()
            seen.append(ledger.read())
            ledger.opened("other attempt", "x", now, 0.1, False)
            who: Any = Borrower(CART, 7, "other task", "Task-other")
            if (refused := ledger.begin("x", now, ALWAYS_HELD, 1, who)) is not None:
                ledger.served("x", now, now, refused)
            seen.append(ledger.read())
            ledger.sites()
            if not ledger.end("x", now):
                ledger.returned("x", now)
            ledger.closed("x", now)
            seen.append(ledger.read())

        action = others if by == "finalizer" else in_a_thread(others)
        with at_bytecode(number, action) as tracer:
            use(pool)
        if tracer.is_beyond_the_last:
            break
        seen.append(pool.ledger.read())
        pool.open.pop("x", None)
        faults = pool.faults() + falls(seen)
        wrong += [(number, tracer.where, fault) for fault in faults]
    assert [] == wrong
    assert number > FEWEST

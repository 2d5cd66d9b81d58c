"""Another process reads in which trace a hold was acquired, and which traces were the slowest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import poolscope
from poolscope.callsites.borrower import Borrower
from poolscope.callsites.owners import find_borrower
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.folder import Folder
from poolscope.fleet.pool_view import PoolView
from poolscope.fleet.segment_reader import PoolFile
from poolscope.ledger import cells as c
from poolscope.ledger.exemplars import exemplars_in
from poolscope.ledger.holds import MAX_FINISHED
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.metrics.pool_families import FAMILIES
from poolscope.metrics.samples import collected
from poolscope.readings.exemplars import LASTS, NUMBERS, Exemplar, of_histogram, slowest
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from support.segments import FACTS, file_of, unshared
from support.tracing import Tracing, id_of

View = Callable[[], PoolView]


@pytest.fixture
def shared(folder: Path) -> Folder:
    """While it is there, its process is alive."""
    return Folder(folder)


@pytest.fixture
def ledger(shared: Folder, clock: FakeClock, tracing: Tracing) -> Ledger:
    return Ledger(Limits(3, 3, 0), clock, 60.0, shared.segments(FACTS, unshared))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def view(ledger: Ledger, folder: Path, clock: FakeClock) -> View:
    reader = PoolFile(file_of(folder), 42)
    return lambda: reader.read(clock())


def take(ledger: Ledger, clock: FakeClock, key: str, how: str = "hot path") -> None:
    borrower: Borrower | None
    if how == "event":
        borrower = find_borrower(None, call_sites=False)
    else:
        borrower = ledger.begin(key, clock(), ALWAYS_HELD)
    if borrower is not None:
        ledger.served(key, clock(), clock(), borrower)


def end(ledger: Ledger, clock: FakeClock, key: str) -> None:
    if not ledger.end(key, clock()):
        ledger.returned(key, clock())


@pytest.mark.parametrize("operation", [None, "nightly report"])
@pytest.mark.parametrize("how", ["hot path", "event"])
def test_each_hold_of_a_slot_has_its_own_trace(
    ledger: Ledger,
    clock: FakeClock,
    view: View,
    tracing: Tracing,
    how: str,
    operation: str | None,
    stack: ExitStack,
) -> None:
    if operation is not None:
        stack.enter_context(poolscope.operation(operation))
    for number in range(3 * MAX_FINISHED):
        with tracing.span() as span:
            take(ledger, clock, "a", how)
        assert [id_of(span)] == [hold.trace_id for hold in view().holds()], number
        end(ledger, clock, "a")
        take(ledger, clock, "a", how)
        assert [None] == [hold.trace_id for hold in view().holds()], number
        end(ledger, clock, "a")


def test_exemplars_are_read_as_the_ledger_has_them(
    ledger: Ledger, clock: FakeClock, view: View, tracing: Tracing
) -> None:
    assert {} == view().exemplars
    with tracing.span() as span:
        for seconds in (0.001, 2.0, 0.2):
            take(ledger, clock, "a")
            clock.advance(seconds)
            end(ledger, clock, "a")
    ledger.read()
    found = view().exemplars
    assert ledger.labelled().exemplars == found
    kept = of_histogram(found, "hold_seconds")
    assert [0.001, 0.2, 2.0] == [pytest.approx(each.seconds) for each in kept if each is not None]
    assert {id_of(span)} == {f"{each.trace:032x}" for each in kept if each is not None}


def test_the_exporter_shows_traces_of_all_processes(folder: Path, workers: Any) -> None:
    several = workers(), workers()
    for number, worker in enumerate(several, 1):
        worker.tell(f"trace {number}")
    fleet = Fleet(folder)
    (report,) = fleet.scan().reports
    several[0].end()
    (later,) = fleet.scan().reports
    fleet.close()
    assert {exemplar.trace for exemplar in report.exemplars.values()} <= {1, 2}
    assert {exemplar.trace for exemplar in later.exemplars.values()} == {2}
    families = [
        each for each in FAMILIES if each.name.endswith(("_acquire_seconds", "_hold_seconds"))
    ]
    shown = [
        sample.exemplar
        for family in families
        for sample in collected(family, [report]).samples
        if sample.exemplar is not None
    ]
    assert len(report.exemplars) == len(shown) >= 2
    assert {f"{number:032x}" for number in (1, 2)} >= {each.labels["trace_id"] for each in shown}


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), float(1 << 32), 0.5])
@pytest.mark.parametrize("cell", range(c.EXEMPLAR_CELLS))
def test_damaged_exemplars_are_left_out_or_possible(value: float, cell: int) -> None:
    cells = memoryview(bytearray(8 * c.size(1))).cast("d")
    good = (1.0, 1e9, 1.0, 2.0, 3.0, 4.0)
    for at, number in enumerate(good):
        cells[c.FIRST_EXEMPLAR + at] = number
    assert {0: Exemplar((1 << 96) + (2 << 64) + (3 << 32) + 4, 1.0, 1e9)} == exemplars_in(cells)
    cells[c.FIRST_EXEMPLAR + cell] = value
    for exemplar in exemplars_in(cells).values():
        assert (cell, value) in ((0, 0.5), (1, 0.5), (1, float(1 << 32)), (0, float(1 << 32)))
        assert 0 < exemplar.trace < 1 << 128


def test_the_slowest_of_late_is_kept() -> None:
    first, slower, late = Exemplar(1, 2.0, 0.0), Exemplar(2, 3.0, 1.0), Exemplar(3, 1.0, LASTS + 2)
    assert {0: slower} == slowest([{0: first}, {0: slower}])
    assert {0: slower} == slowest([{0: slower}, {0: first}])
    assert {0: late, NUMBERS - 1: first} == slowest([{0: late}, {0: slower, NUMBERS - 1: first}])
    assert {} == slowest([])

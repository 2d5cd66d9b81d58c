"""Files of pools: of ended processes, with many callers, too large; and the order of pools."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poolscope.fleet import fleet as fleet_of
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.folder import Folder
from poolscope.fleet.folder_lock import LOCK
from poolscope.fleet.pool_view import BadFileError
from poolscope.fleet.segment_file import HEAD, MAGIC, NAME_BYTES, SEGMENT_VERSION, TEXT_BYTES
from poolscope.fleet.segment_reader import LARGEST, PoolFile
from poolscope.ledger import cells
from poolscope.ledger.ledger import Ledger
from poolscope.readings.limits import Limits
from poolscope.readings.pool_config import PoolConfig
from poolscope.testing import FakeClock
from support.segments import file_of, unshared


@pytest.fixture
def make(folder: Path, clock: FakeClock) -> Any:
    """Creates ledgers whose cells are files in the folder."""
    shared = Folder(folder)

    def make(name: str = "orders", limit: float = 3, database: bool = True) -> Ledger:
        setup = PoolConfig(limit=limit, database=database)
        facts = {
            "pool": name,
            "kind": "asyncpg",
            "info": ("Pool", "", ""),
            "setup": setup._asdict(),
        }
        return Ledger(Limits(limit, limit, 0), clock, 5.0, shared.segments(facts, unshared))

    return make


@pytest.fixture
def fleet(folder: Path, clock: FakeClock) -> Iterator[Fleet]:
    fleet = Fleet(folder, clock)
    yield fleet
    fleet.close()


def reader_of(folder: Path) -> PoolFile:
    """Return a reader of the only pool in the folder."""
    return PoolFile(file_of(folder), 42)


def test_a_hold_of_an_ended_process_is_counted_until_the_process_was_last_seen(
    make: Any, folder: Path, clock: FakeClock
) -> None:
    ledger = make()
    ledger.served("a", clock(), clock())
    start = clock()
    reading = reader_of(folder).read(start + 100.0, last_seen=start + 7.0).reading
    assert (7.0, 7.0) == (reading.in_use_seconds, reading.oldest_hold_seconds)
    assert 100.0 == reader_of(folder).read(start + 100.0).reading.in_use_seconds


def test_waits_without_a_cell_are_timed_like_others(
    make: Any, folder: Path, clock: FakeClock
) -> None:
    ledger = make()
    callers = range(cells.WAIT_SLOTS + 10)
    for number in callers:
        ledger.waiting(number, clock())
        clock.advance(1.0)
    for number in callers[-5:]:
        ledger.stopped_waiting(number, clock())
    expected = ledger.read()
    assert sum(range(1, len(callers) + 1)) == expected.waiting_seconds
    assert expected == reader_of(folder).read(clock()).reading


def test_a_file_that_is_too_large_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    slots, start = 200_000, 4096
    size = start + 8 * cells.size(slots) + NAME_BYTES * slots + TEXT_BYTES
    assert size > LARGEST
    path = folder / "1.pool"
    path.write_bytes(
        HEAD.pack(MAGIC, SEGMENT_VERSION, cells.SCALARS, slots, start, size, 2) + b"{}"
    )
    os.truncate(path, size)
    with pytest.raises(BadFileError, match="its sizes do not agree"):
        PoolFile(path, 42)


def test_pools_are_sorted_by_name(make: Any, fleet: Fleet) -> None:
    names = ("orders", "billing", "users", "audit", "mail")
    ledgers = [make(name) for name in names]
    assert sorted(names) == [report.pool for report in fleet.scan().reports]
    assert len(names) == len(ledgers)


@pytest.mark.parametrize(("database", "expected"), [(True, {"orders": 6.0}), (False, {})])
def test_only_pools_of_databases_have_commitments(
    make: Any, folder: Path, clock: FakeClock, database: bool, expected: dict[str, float]
) -> None:
    ledger = make(limit=3, database=database)
    view = reader_of(folder).read(clock())
    assert expected == fleet_of._limits_of_databases({("orders", "asyncpg"): [view, view]})
    assert 3.0 == ledger.limits.limit


def test_only_this_user_can_open_the_lock_of_the_exporter(fleet: Fleet, folder: Path) -> None:
    assert 0o600 == (folder / LOCK).stat().st_mode & 0o777

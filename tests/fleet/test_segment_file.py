"""Segment files: another process reads what the ledger knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from poolscope import Hold
from poolscope.fleet.segment_file import NAME_BYTES, TEXT_BYTES
from poolscope.fleet.segment_reader import PoolFile
from poolscope.label_values import printable
from poolscope.ledger import cells
from poolscope.ledger.ledger import Ledger
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.report import Info
from poolscope.testing import FakeClock
from support.histograms import count_of
from support.segments import file_of, who


def test_a_reader_knows_what_the_ledger_knows(busy: Ledger, folder: Path, clock: FakeClock) -> None:
    view = PoolFile(file_of(folder), 42).read(clock())
    assert ("orders", "asyncpg") == (view.pool, view.kind)
    assert (Info("Pool", "asyncpg", "0.32.0"), PoolConfig(limit=3.0, pings=False)) == (
        view.info,
        view.config,
    )
    assert busy.read() == view.reading
    assert busy.sites() == list(view.sites())
    assert {
        Hold(
            "orders",
            "asyncpg",
            "shop.py:7 in pay",
            None,
            None,
            7.5,
            "Task-with-ä",
            None,
            True,
            True,
            False,
            42,
        ),
        Hold("orders", "asyncpg", None, None, None, 1.5, None, None, False, False, False, 42),
    } == set(view.holds())
    site = "shop.py:7 in pay"
    assert {"abandoned": (site,), "never-closed": (), "nested-acquire": (site,)} == view.evidence


def test_a_reader_sees_later_changes(busy: Ledger, folder: Path, clock: FakeClock) -> None:
    reader = PoolFile(file_of(folder), 42)
    before = reader.read(clock())
    busy.returned("a", clock())
    busy.served("a", clock(), clock(), who("new"))
    clock.advance(1.0)
    after = reader.read(clock())
    assert busy.read() == after.reading != before.reading
    assert busy.sites() == list(after.sites())
    assert "shop.py:7 in new" in {hold.site for hold in after.holds()}


def test_a_reader_sees_what_is_held_on_purpose(
    ledger: Ledger, folder: Path, clock: FakeClock
) -> None:
    reader = PoolFile(file_of(folder), 42)

    def holds() -> list[tuple[bool, bool]]:
        view = reader.read(clock())
        assert ledger.read() == view.reading
        assert ledger.sites() == list(view.sites())
        return [(hold.on_purpose, hold.overdue) for hold in view.holds()]

    for on_purpose, overdue in ((True, False), (False, False)):
        ledger.served("a", clock(), clock(), who("listen"))
        ledger.purpose_changed("a", clock(), on_purpose)
        clock.advance(4.0)
        assert [(on_purpose, False)] == holds()
        clock.advance(4.0)
        assert [(on_purpose, not on_purpose)] == holds()
        ledger.purpose_changed("a", clock(), False)
        assert [(False, overdue or not on_purpose)] == holds()
        clock.advance(4.0)
        assert [(False, not on_purpose)] == holds()
        clock.advance(4.0)
        assert [(False, True)] == holds()
        # Who has the slot next has nothing of it.
        ledger.purpose_changed("a", clock(), True)
        ledger.returned("a", clock())
        assert [] == holds()


def test_a_name_with_surrogates_is_written_with_escapes(
    ledger: Ledger, folder: Path, clock: FakeClock
) -> None:
    ledger.served("a", clock(), clock(), who("f\udc80", "Task-\udc80"))
    (hold,) = PoolFile(file_of(folder), 42).read(clock()).holds()
    assert ("shop.py:7 in f\\udc80", "Task-\\udc80") == (hold.site, hold.owner)


@pytest.mark.parametrize("name", ["Task\n2", "\x1b[31mTask", "a\u202eb", "a" + "ä" * 30, "Ta\0sk"])
def test_odd_names_are_shown_as_the_process_shows_them(
    ledger: Ledger, folder: Path, clock: FakeClock, name: str
) -> None:
    ledger.served("a", clock(), clock(), who(name, name))
    ledger.add_evidence("nested-acquire", who(name).site)
    view = PoolFile(file_of(folder), 42).read(clock())
    (hold,) = view.holds()
    whole = printable(name)
    assert hold.owner
    assert whole.startswith(hold.owner)
    assert len(hold.owner.encode()) in (len(whole.encode()), NAME_BYTES - 1)
    sites = [hold.site, *view.evidence["nested-acquire"]]
    assert sites == [text for text in sites if text and text == printable(text)]


def test_a_long_name_of_a_task_is_cut_off_and_then_fully_overwritten(
    ledger: Ledger, folder: Path, clock: FakeClock
) -> None:
    for owner, shown in (("a" * (NAME_BYTES + 1), "a" * NAME_BYTES), ("Task-2", "Task-2")):
        ledger.served("a", clock(), clock(), who("pay", owner))
        (hold,) = PoolFile(file_of(folder), 42).read(clock()).holds()
        assert shown == hold.owner
        ledger.returned("a", clock())


def test_names_without_room_in_the_file_are_left_out(
    ledger: Ledger, folder: Path, clock: FakeClock
) -> None:
    for number in range(TEXT_BYTES // 100):
        ledger.served("a", clock(), clock(), who(f"{number:0100}"))
        clock.advance(1.0)
        ledger.returned("a", clock())
    ledger.served("a", clock(), clock(), who("last" * 25))
    view = PoolFile(file_of(folder), 42).read(clock())
    assert busy_seconds(view.sites()) <= busy_seconds(ledger.sites())
    assert [None] == [hold.site for hold in view.holds()]
    assert ledger.read() == view.reading


def busy_seconds(sites: Any) -> float:
    return float(sum(site.in_use_seconds for site in sites))


def test_a_file_is_read_even_if_its_writer_stopped_during_an_update(
    busy: Ledger, folder: Path, clock: FakeClock
) -> None:
    busy._segment.cells[cells.SEQUENCE] += 1
    assert busy.read() == PoolFile(file_of(folder), 42).read(clock()).reading


def test_a_live_process_in_the_middle_of_an_update_is_returned_as_last_read(
    busy: Ledger, folder: Path, clock: FakeClock
) -> None:
    reader = PoolFile(file_of(folder), 42)
    before = reader.read(clock())
    busy._segment.cells[cells.SEQUENCE] += 1
    # The hold is counted as ended, but its slot is not freed yet.
    busy._segment.cells[cells.HOLD_SECONDS.start] += 1
    clock.advance(1.0)
    held, later = before.reading, reader.read(clock()).reading
    assert (held.in_use_seconds + 2.0, held.hold_seconds) == (
        later.in_use_seconds,
        later.hold_seconds,
    )
    # A process that has ended will never complete the update.
    ended = reader.read(clock(), clock()).reading
    assert count_of(later.hold_seconds) + 1 == count_of(ended.hold_seconds)

"""Ledgers that lie in files: what another process reads is what this one knows."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolscope import Hold
from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, Function
from poolscope.exporter import api
from poolscope.exporter.exposition import expose
from poolscope.exporter.history import History
from poolscope.fleet.fleet import FleetView, ProcessView
from poolscope.fleet.folder import MAX_FILES_PER_PROCESS, Folder, FolderError, check
from poolscope.fleet.pool_view import BadFileError, PoolView
from poolscope.fleet.segment_file import HEAD, OWNER_BYTES, TEXT_BYTES
from poolscope.fleet.segment_reader import PoolFile
from poolscope.ledger import cells
from poolscope.ledger.ledger import Ledger
from poolscope.metrics.exporter_families import Scrape
from poolscope.readings.findings import PoolEvidence, findings_of
from poolscope.readings.limits import Limits
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.reading import Reading, add, count_of
from poolscope.readings.report import Info, Report
from poolscope.readings.sites import SharedSites
from poolscope.testing import FakeClock

FACTS: dict[str, Any] = {
    "pool": "orders",
    "kind": "asyncpg",
    "info": ("Pool", "asyncpg", "0.32.0"),
    "setup": PoolConfig(limit=3.0, pings=False)._asdict(),
}


START = 4096
"""Where the cells of its file begin."""


def who(name: str, owner: str = "Task-1") -> Borrower:
    return Borrower(Function(None, APPLICATION, "shop.py", name, f"shop:{name}"), 7, owner, owner)


def unshared() -> None:
    raise AssertionError("it could not be shared")


@pytest.fixture
def ledger(folder: Path, clock: FakeClock) -> Ledger:
    segments = Folder(folder).segments(FACTS, unshared)
    return Ledger(Limits(3, 3, 0), clock, 5.0, segments)


def file_of(folder: Path) -> Path:
    (path,) = folder.glob("*.pool")
    return path


@pytest.fixture
def busy(ledger: Ledger, clock: FakeClock) -> Ledger:
    """A ledger with a bit of everything."""
    ledger.opened(1, "a", clock(), 0.02, True)
    ledger.served("a", clock(), clock() - 0.03, who("pay", "Task-with-ä"), reused=False)
    ledger.opened(2, "b", clock(), 0.02, True)
    ledger.served("b", clock(), clock() - 0.03, who("cart"), reused=False)
    clock.advance(6.0)
    ledger.adopted("c", clock(), True)
    ledger.returned("b", clock())
    ledger.abandoned("a", clock())
    ledger.waiting("x", clock())
    ledger.finished(cells.TIMEOUT, 1.0, 1.0)
    ledger.evidence.add("never-closed", None)
    ledger.evidence.add("nested-acquire", who("pay").site)
    clock.advance(1.5)
    return ledger


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
        Hold("orders", "asyncpg", "shop.py:7 in pay", 7.5, "Task-with-ä", True, True, 42),
        Hold("orders", "asyncpg", None, 1.5, None, False, False, 42),
    } == set(view.holds())
    site = "shop.py:7 in pay"
    assert {"abandoned": (site,), "never-closed": (), "nested-acquire": (site,)} == view.seen


def test_it_follows_what_changes(busy: Ledger, folder: Path, clock: FakeClock) -> None:
    reader = PoolFile(file_of(folder), 42)
    before = reader.read(clock())
    busy.returned("a", clock())
    busy.served("a", clock(), clock(), who("new"))
    clock.advance(1.0)
    after = reader.read(clock())
    assert busy.read() == after.reading != before.reading
    assert busy.sites() == list(after.sites())
    assert "shop.py:7 in new" in {hold.site for hold in after.holds()}


def test_a_name_that_cannot_be_written_as_it_is(
    ledger: Ledger, folder: Path, clock: FakeClock
) -> None:
    ledger.served("a", clock(), clock(), who("f\udc80", "Task-\udc80"))
    (hold,) = PoolFile(file_of(folder), 42).read(clock()).holds()
    assert ("shop.py:7 in f\\udc80", "Task-\\udc80") == (hold.site, hold.owner)


def test_a_name_of_a_task_is_cut_off_and_nothing_is_left_of_it(
    ledger: Ledger, folder: Path, clock: FakeClock
) -> None:
    for owner, shown in (("a" * (OWNER_BYTES + 1), "a" * OWNER_BYTES), ("Task-2", "Task-2")):
        ledger.served("a", clock(), clock(), who("pay", owner))
        (hold,) = PoolFile(file_of(folder), 42).read(clock()).holds()
        assert shown == hold.owner
        ledger.returned("a", clock())


def test_more_names_than_there_is_room_for(ledger: Ledger, folder: Path, clock: FakeClock) -> None:
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


def test_an_event_in_which_the_writer_stopped_is_read_all_the_same(
    busy: Ledger, folder: Path, clock: FakeClock
) -> None:
    assert busy.changing is not None
    busy.changing[0] += 1
    assert busy.read() == PoolFile(file_of(folder), 42).read(clock()).reading


def test_a_process_that_does_not_get_to_end_an_event_is_what_it_was_before(
    busy: Ledger, folder: Path, clock: FakeClock
) -> None:
    reader = PoolFile(file_of(folder), 42)
    before = reader.read(clock())
    assert busy.changing is not None
    busy.changing[0] += 1
    busy._cells[cells.HOLD_SECONDS.start] += 1  # a hold has ended, and its slot not yet
    clock.advance(1.0)
    held, later = before.reading, reader.read(clock()).reading
    assert (held.in_use_seconds + 2.0, held.hold_seconds) == (
        later.in_use_seconds,
        later.hold_seconds,
    )
    # One that is dead will never end it.
    without = reader.read(clock(), clock()).reading
    assert count_of(later.hold_seconds) + 1 == count_of(without.hold_seconds)


class TestFilesThatAreNoPools:
    @pytest.fixture
    def path(self, busy: Ledger, folder: Path) -> Path:
        return file_of(folder)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: data[: HEAD.size - 1],
            lambda data: data[: HEAD.size],
            lambda data: data[:-1],
            lambda data: data + b"more",
            lambda data: b"x" + data[1:],
            lambda data: data[:8] + struct.pack("<I", 99) + data[12:],
            lambda data: data[: HEAD.size] + b"{]" + data[HEAD.size + 2 :],
            # A header that says that it is 4 GiB long, and one that never comes to its end.
            lambda data: data[: HEAD.size - 4] + b"\xff" * 4 + data[HEAD.size :],
            lambda data: data[: HEAD.size] + b"[" * 200 + data[HEAD.size + 200 :],
            lambda data: os.urandom(len(data)),
            lambda data: bytes(len(data)),
        ],
    )
    def test_damage(self, path: Path, damage: Any, clock: FakeClock) -> None:
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(BadFileError):
            PoolFile(path, 42).read(clock())

    def test_damage_after_it_was_known(self, path: Path, busy: Ledger, clock: FakeClock) -> None:
        known = PoolFile(path, 42)
        busy._cells[cells.OK] = float("nan")
        with pytest.raises(BadFileError):
            known.read(clock())
        os.truncate(path, 100)
        with pytest.raises(BadFileError):
            known.read(clock())
        path.unlink()
        with pytest.raises(FileNotFoundError):
            known.read(clock())

    @pytest.fixture(params=["symlink", "fifo", "directory", "foreign"])
    def other(self, request: pytest.FixtureRequest, path: Path) -> Path:
        other = path.with_name(f"1-other.1.{request.param}")
        if request.param == "symlink":
            other.symlink_to(path)
        elif request.param == "fifo":
            os.mkfifo(other)
        elif request.param == "directory":
            other.mkdir()
        else:
            other.write_text("of somebody else")
            os.chown(other, 12345, 12345)
        return other

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_what_is_no_file_of_this_user(self, other: Path) -> None:
        with pytest.raises((BadFileError, OSError)):
            PoolFile(other, 42)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    changes=st.lists(
        st.one_of(
            # Any byte; any cell, in its place; a part of the header.
            st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=1)),
            st.tuples(
                st.one_of(st.integers(0, cells.SCALARS), st.integers(0, cells.FIRST_HOLD + 8)).map(
                    lambda cell: START + 8 * cell
                ),
                st.one_of(st.floats(), st.just(math.nan), st.just(math.inf)).map(
                    lambda value: struct.pack("d", value)
                ),
            ),
            st.tuples(st.integers(HEAD.size, HEAD.size + 400), st.binary(min_size=1, max_size=4)),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_a_file_says_it_can_be_shown(
    busy: Ledger, folder: Path, clock: FakeClock, changes: list[tuple[float, bytes]]
) -> None:
    path = file_of(folder)
    whole = path.read_bytes()
    data = bytearray(whole)
    for place, change in changes:
        start = int(place * len(data)) if isinstance(place, float) else place
        data[start : start + len(change)] = change
    path.write_bytes(data[: len(whole)])
    try:
        view = PoolFile(path, 42).read(clock())
    except BadFileError:
        pass
    else:
        show(view)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "facts",
    [
        {"setup": {"limit": "10"}},
        {"setup": {"limit": None}},
        {"setup": {"pings": 3}},
        {"setup": {"recycle": True}},
        {"setup": {"recycle": -1.0}},
        {"setup": {"colour": 1.0}},
        {"info": ["QueuePool"]},
        {"info": {"a": 1, "b": 2, "c": 3}},
        {"pool": None},
        {"pool": "", "kind": 7},
    ],
)
def test_facts_that_make_no_sense(folder: Path, clock: FakeClock, facts: dict[str, Any]) -> None:
    Ledger(Limits(3, 3, 0), clock, 5.0, Folder(folder).segments({**FACTS, **facts}, unshared))
    with pytest.raises(BadFileError, match="what it says of its pool makes no sense"):
        PoolFile(file_of(folder), 42)


def test_a_name_that_is_no_text(folder: Path, clock: FakeClock) -> None:
    facts = {**FACTS, "pool": "shop\ud800"}
    Ledger(Limits(3, 3, 0), clock, 5.0, Folder(folder).segments(facts, unshared))
    view = PoolFile(file_of(folder), 42).read(clock())
    show(view)
    assert "shop?" == view.pool


def show(view: PoolView) -> None:
    """Make of it all that the exporter serves."""
    cases = [PoolEvidence(view.config, view.reading, 1, view.seen)]
    report = Report(
        view.pool,
        view.kind,
        Reading.of(add([view.values])),
        1,
        (view.info,),
        sites=SharedSites().added(view.sites()),
        findings=findings_of(view.pool, view.kind, cases),
    )
    whole = FleetView((report,), (ProcessView(42, (view,)),), {("orders", "sqlalchemy"): 0.5}, 0, 0)
    text, _ = expose(Scrape(whole, 0.0, "1.2.3"), "")
    assert b"NaN" not in text
    json.dumps(api.document(Scrape(whole, 0.0, "1.2.3"), History()), allow_nan=False).encode()


class TestTheFolder:
    def test_it_is_made_for_this_user_alone(self, ledger: Ledger, folder: Path) -> None:
        assert 0o700 == folder.stat().st_mode & 0o777
        assert {0o600} == {path.stat().st_mode & 0o777 for path in folder.iterdir()}
        assert [".pool", ".process"] == sorted(path.suffix for path in folder.iterdir())

    def test_others_may_not_write_to_it(self, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o770)
        with pytest.raises(FolderError, match=r"^others may write to .*; name a folder that"):
            check(folder)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
    def test_it_is_this_users(self, folder: Path) -> None:
        folder.mkdir()
        os.chown(folder, 12345, 12345)
        with pytest.raises(FolderError, match=r"belongs to user 12345, and this is user 0; proc"):
            check(folder)

    def test_one_that_cannot_be_made(self, folder: Path) -> None:
        folder.write_text("")
        with pytest.raises(FolderError, match=r"pools: File exists; name a folder that can be"):
            check(folder)

    @pytest.fixture
    def failures(self) -> Iterator[list[None]]:
        failures: list[None] = []
        yield failures
        assert failures

    def test_where_it_cannot_be_used_the_pool_is_private_and_the_log_says_so_once(
        self,
        folder: Path,
        failures: list[None],
        clock: FakeClock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        folder.write_text("")
        segments = Folder(folder).segments(FACTS, lambda: failures.append(None))
        for _ in range(2):
            ledger = Ledger(Limits(3, 3, 0), clock, 5.0, segments)
            ledger.served("a", clock(), clock(), who("pay"))
            assert 1 == ledger.read().in_use
        (record,) = caplog.records
        assert record.getMessage().startswith(
            "POOLSCOPE_DIR cannot be used, an exporter does not see all pools: "
        )
        assert 2 == len(failures)

    def test_a_full_disk(
        self,
        folder: Path,
        failures: list[None],
        clock: FakeClock,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def full(*args: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.posix_fallocate", full)
        segments = Folder(folder).segments(FACTS, lambda: failures.append(None))
        assert 0 == Ledger(Limits(3, 3, 0), clock, 5.0, segments).read().in_use
        assert [".process"] == [path.suffix for path in folder.iterdir()]
        assert "No space left on device" in caplog.records[0].getMessage()

    def test_a_process_that_makes_ever_more_pools(
        self, folder: Path, failures: list[None], clock: FakeClock
    ) -> None:
        segments = Folder(folder).segments(FACTS, lambda: failures.append(None))
        for _ in range(MAX_FILES_PER_PROCESS + 3):
            Ledger(Limits(3, 3, 0), clock, 5.0, segments)
        assert MAX_FILES_PER_PROCESS == len(list(folder.glob("*.pool")))
        assert 3 == len(failures)

    def test_without_one_nothing_is_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
    ) -> None:
        monkeypatch.delenv("POOLSCOPE_DIR", raising=False)
        monkeypatch.chdir(tmp_path)
        segments = Folder.of_environment().segments(FACTS, unshared)
        Ledger(Limits(3, 3, 0), clock, 5.0, segments)
        assert [] == list(tmp_path.iterdir())

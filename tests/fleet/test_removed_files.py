"""Files of a live process have the time of now, and are made again if somebody removes them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poolscope.fleet import own_files, processes
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.folder import Folder, FolderError
from poolscope.fleet.folder_lock import LOCK
from poolscope.fleet.segment_file import FileSegment
from poolscope.fleet.totals import TOTALS
from poolscope.ledger.cells import PEAK_WINDOW
from poolscope.ledger.ledger import Ledger
from poolscope.testing import FakeClock
from support.looks import Looker
from support.segments import FACTS, unshared, who

LONG_AGO = 1_000_000_000


@pytest.fixture
def looker(ledger: Ledger, folder: Path) -> Iterator[Looker]:
    looker = Looker(folder)
    yield looker
    looker.end()


def use(ledger: Ledger, clock: FakeClock) -> None:
    """Use a connection in the next window of the peaks, when the files are looked at."""
    clock.advance(PEAK_WINDOW + 1)
    ledger.opened("a", "a", clock(), 0.02, True)
    ledger.served("a", clock(), clock(), who("pay"), reused=False)
    ledger.returned("a", clock())


def names(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir() if path.name != LOCK)


REMOVED = {"the process": "*.process", "the pool": "*.pool", "all": "*"}


@pytest.mark.parametrize("what", REMOVED)
def test_what_was_removed_is_made_again(
    ledger: Ledger, clock: FakeClock, folder: Path, looker: Looker, what: str
) -> None:
    use(ledger, clock)
    ledger.opened("b", "b", clock(), 0.02, True)
    ledger.served("b", clock(), clock(), who("cart"), reused=False)
    before = looker.look()["orders"].reading
    for path in folder.glob(REMOVED[what]):
        path.unlink()
    use(ledger, clock)
    after = looker.look()["orders"].reading
    assert (1, before.acquired + 1) == (after.in_use, after.acquired)
    ledger.returned("b", clock())
    ledger.waiting("x", clock())
    use(ledger, clock)
    reading = looker.look()["orders"].reading
    assert (0, 1, after.acquired + 1) == (reading.in_use, reading.waiting, reading.acquired)
    own = ledger.read()
    assert (own.acquired, own.hold_seconds) == (reading.acquired, reading.hold_seconds)


def test_the_folder_is_made_again_with_all_files(
    ledger: Ledger, clock: FakeClock, folder: Path
) -> None:
    use(ledger, clock)
    shutil.rmtree(folder)
    use(ledger, clock)
    assert [".pool", ".process"] == names(folder)
    assert 0o700 == folder.stat().st_mode & 0o777
    looker = Looker(folder)
    assert 2 == looker.look()["orders"].reading.acquired
    looker.end()


def rename(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


GONE = pytest.mark.parametrize("go", [shutil.rmtree, rename], ids=["removed", "renamed"])


@GONE
@pytest.mark.parametrize("forks", [False, True], ids=["the same process", "a forked child"])
def test_a_new_pool_makes_a_folder_that_is_gone_again(
    tmp_path: Path, go: Callable[[Path], None], forks: bool
) -> None:
    folder = tmp_path / "pools"
    shared = Folder(folder)
    first = shared.segments(FACTS, unshared)(3)
    go(folder)
    if forks:
        child = os.fork()
        if child:
            assert 0 == os.waitpid(child, 0)[1]
        else:
            made = False
            try:
                made = shared.segments(FACTS, unshared)(3).shared
            finally:
                os._exit(not made)
    else:
        assert shared.segments(FACTS, unshared)(3).shared
    assert [".pool", ".process"] == names(folder)
    assert first.shared


KILLED = {"orders": 7.0}


@pytest.fixture
def exporter(folder: Path, workers: Any) -> Iterator[Fleet]:
    """The exporter, which has folded a process of `KILLED`."""
    fleet = Fleet(folder)
    worker = workers()
    worker.tell("use 7")
    worker.kill()
    assert KILLED == acquired(fleet)
    yield fleet
    fleet.close()


def acquired(fleet: Fleet) -> dict[str, float]:
    return {report.pool: report.reading.acquired for report in fleet.scan().reports}


def exporter_beside(folder: Path) -> str:
    """Start another exporter, and return what it says."""
    program = f"from pathlib import Path as P; Fleet(P({str(folder)!r}))"
    command = [sys.executable, "-c", f"from poolscope.fleet.fleet import Fleet; {program}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@GONE
def test_the_exporter_makes_its_folder_again_and_loses_nothing(
    exporter: Fleet, folder: Path, workers: Any, go: Callable[[Path], None]
) -> None:
    go(folder)
    assert KILLED == acquired(exporter)
    assert "another exporter" in exporter_beside(folder)
    workers("billing").tell("use 3")
    assert {**KILLED, "billing": 3.0} == acquired(exporter)
    exporter.close()
    again = Fleet(folder)
    assert {**KILLED, "billing": 3.0} == acquired(again)
    again.close()


@pytest.mark.parametrize("name", [LOCK, TOTALS])
def test_the_exporter_makes_its_files_again(exporter: Fleet, folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert KILLED == acquired(exporter)
    assert "another exporter" in exporter_beside(folder)
    exporter.close()
    again = Fleet(folder)
    assert KILLED == acquired(again)
    again.close()


def test_the_exporter_does_not_take_a_folder_from_another_one(
    exporter: Fleet, folder: Path
) -> None:
    rename(folder)
    program = f"from pathlib import Path as P; Fleet(P({str(folder)!r})); print(); input()"
    command = [sys.executable, "-c", f"from poolscope.fleet.fleet import Fleet; {program}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(FolderError, match="another exporter"):
            exporter.scan()
        other.communicate(b"\n")
    assert KILLED == acquired(exporter)


def test_no_file_is_made_in_a_folder_that_others_may_write_to(
    ledger: Ledger, clock: FakeClock, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    folder.chmod(0o777)
    use(ledger, clock)
    assert [] == names(folder)
    assert 1 == ledger.read().acquired
    folder.chmod(0o700)
    use(ledger, clock)
    assert [".pool", ".process"] == names(folder)
    assert [] == caplog.records


def test_the_file_of_a_pool_that_has_ended_is_not_made_again(
    ledger: Ledger, clock: FakeClock, folder: Path
) -> None:
    segment: Any = ledger._segment
    segment.detach()
    segment.path.unlink()
    use(ledger, clock)
    assert [".process"] == names(folder)
    assert 1 == ledger.read().acquired


def test_files_that_cannot_be_made_again_do_no_harm(
    ledger: Ledger, clock: FakeClock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(ledger, clock)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    use(ledger, clock)
    assert 2 == ledger.read().acquired
    folder.unlink()
    use(ledger, clock)
    assert [".pool", ".process"] == names(folder)


@pytest.mark.parametrize("due", [True, False])
def test_a_process_gives_its_files_the_time_of_now_once_an_hour(
    ledger: Ledger, clock: FakeClock, folder: Path, due: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_files, "TOUCHED_EVERY", 0.0 if due else 3600.0)
    for path in folder.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    use(ledger, clock)
    times = [path.stat().st_mtime for path in folder.glob("*.process")]
    assert due == (min(times) > time.time() - 3600)
    assert due == all(path.stat().st_atime > time.time() - 3600 for path in folder.iterdir())


def test_the_exporter_leaves_the_times_of_files_as_they_are_and_renews_them(
    folder: Path, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers().tell("use 1")
    fleet = Fleet(folder)
    fleet.scan()
    (process,) = folder.glob("*.process")
    assert process.stat().st_mtime > time.time() - 3600
    ended = workers()
    ended.kill()
    fleet.scan()
    monkeypatch.setattr(processes, "TOUCHED_EVERY", 0.0)
    for path in folder.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    fleet.scan()
    old = {path.name for path in folder.iterdir() if path.stat().st_mtime == LONG_AGO}
    assert set() == old - {f".{TOTALS}"}
    fleet.close()


SHORTEN = """
import os, sys
os.setgid(65534), os.setuid(int(sys.argv[2]))
os.truncate(sys.argv[1], 0)
"""


def test_no_other_program_of_the_user_can_make_a_mapped_file_shorter(
    tmp_path: Path, clock: FakeClock
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may do that; see the next test")
    segment = FileSegment(tmp_path / "1.pool", 3, {})
    with pytest.raises(PermissionError):
        os.truncate(segment.path, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_neither_can_the_same_user_if_it_is_not_root(tmp_path: Path) -> None:
    segment = FileSegment(tmp_path / "1.pool", 3, {})
    size = segment.path.stat().st_size
    os.chown(segment.path, 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    command = [sys.executable, "-c", SHORTEN, str(segment.path), "65534"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "PermissionError" in result.stderr, result.stderr
    assert size == segment.path.stat().st_size
    segment.cells[0] = 7.0

"""The exporter loses and doubles no number, whichever system call fails while it reads or folds."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poolscope.fleet.fleet import MAX_PROCESSES_PER_SCAN, Fleet, FleetView
from poolscope.fleet.folder import Folder
from poolscope.fleet.totals import TOTALS
from poolscope.ledger.ledger import Ledger
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from support.failing import ERRORS, Failing
from support.segments import FACTS, unshared, who
from support.tools import required

USES = {"orders": 7.0, "billing": 3.0}

FIRST_READ = 4
"""The call of a look that reads the folder; those before see whether it is still there."""


@pytest.fixture
def ended(tmp_path: Path, clock: FakeClock) -> Path:
    """A folder with the files of a process that has ended, with the pools of `USES`."""
    made = tmp_path / "made"
    shared = Folder(made)
    for name, uses in USES.items():
        segments = shared.segments({**FACTS, "pool": name}, unshared)
        ledger = Ledger(Limits(3, 3, 0), clock, 5.0, segments)
        for _ in range(int(uses)):
            ledger.opened(1, "a", clock(), 0.02, True)
            ledger.served("a", clock(), clock(), who("pay"), reused=False)
            ledger.returned("a", clock())
    return made


@pytest.fixture
def fleets(tmp_path: Path, ended: Path) -> Iterator[Callable[[], Fleet]]:
    """Makes the exporter's view of a new copy of the folder, which no process has locked."""
    made: list[Fleet] = []

    def make() -> Fleet:
        if made:
            made[-1].close()
        folder = shutil.copytree(ended, tmp_path / f"pools-{len(made)}")
        made.append(Fleet(folder))
        return made[-1]

    yield make
    made[-1].close()


def acquired(view: FleetView) -> dict[str, float]:
    return {report.pool: report.reading.acquired for report in view.reports}


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from there on"])
@pytest.mark.parametrize("error", ERRORS)
def test_each_call_of_a_fold_may_fail(
    fleets: Callable[[], Fleet], monkeypatch: pytest.MonkeyPatch, error: str, for_good: bool
) -> None:
    fleet = fleets()
    with monkeypatch.context() as patched:
        failing = Failing(patched)
        assert USES == acquired(fleet.scan())
        calls = failing.calls
    assert calls > 20
    for number in range(1, calls + 1):
        fleet = fleets()
        with monkeypatch.context() as patched:
            failing = Failing(patched)
            failing.let_fail(number, ERRORS[error], for_good)
            try:
                seen = acquired(fleet.scan())
            except (OSError, MemoryError):
                assert number <= FIRST_READ  # the folder could never be read
                seen = {}
        assert seen in ({}, USES)
        for _ in range(2):
            assert USES == acquired(fleet.scan())
        folder = fleet._folder
        assert [] == [*folder.glob("*.pool"), *folder.glob("*.process"), *folder.glob("*.damaged")]
        fleet.close()
        again = Fleet(folder)
        assert USES == acquired(again.scan())
        again.close()


def test_each_read_of_a_fold_may_be_short(
    fleets: Callable[[], Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 60):
        fleet = fleets()
        with monkeypatch.context() as patched:
            failing = Failing(patched)
            failing.let_fail(number, OSError, for_good=True)
            failing.short = True
            assert acquired(fleet.scan()) in ({}, USES)
        assert USES == acquired(fleet.scan())


@pytest.mark.parametrize("error", ERRORS)
def test_no_number_of_a_live_process_falls_if_a_call_fails(
    folder: Path, workers: Any, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    worker = workers()
    worker.tell("use 7", "take")
    fleet = Fleet(folder)
    with monkeypatch.context() as patched:
        failing = Failing(patched)
        (before,) = fleet.scan().reports
        calls = failing.calls
        for number in range(1, calls + 1):
            for for_good in (False, True):
                failing.let_fail(number, ERRORS[error], for_good)
                (report,) = fleet.scan().reports
                assert (1, 8) == (report.reading.in_use, report.reading.acquired)
                assert before.reading.in_use_seconds <= report.reading.in_use_seconds
    worker.kill()
    (report,) = fleet.scan().reports
    assert (0, 8) == (report.reading.in_use, report.reading.acquired)
    fleet.close()


PROGRAM = """
import resource, sys
from pathlib import Path
from poolscope.fleet.fleet import Fleet

fleet = Fleet(Path(sys.argv[1]))
few = len(list(Path("/proc/self/fd").iterdir())) + 4
resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
for _ in range(int(sys.argv[2])):
    view = fleet.scan()
print(view.gone, sum(report.reading.acquired for report in view.reports))
"""


def test_many_processes_are_folded_with_few_descriptors(ended: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(ended, tmp_path / "many")
    processes = MAX_PROCESSES_PER_SCAN + 20
    copies = [path for path in folder.iterdir() if path.suffix in (".pool", ".process")]
    for number in range(1, processes):
        for path in copies:
            _, _, rest = path.name.partition("-")
            shutil.copy2(path, folder / f"{number}-{rest}")
    program = [sys.executable, "-c", PROGRAM, str(folder), "2"]
    result = subprocess.run(program, capture_output=True, text=True, check=True)
    assert [f"{processes}", f"{processes * sum(USES.values())}"] == result.stdout.split()


def test_a_full_disk_is_logged_once_and_when_it_is_over(
    fleets: Callable[[], Fleet], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = fleets()
    path = fleet._folder / TOTALS

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        for _ in range(3):
            assert USES == acquired(fleet.scan())
    assert 2 == len(list(fleet._folder.glob("*.pool")))
    for _ in range(2):
        assert USES == acquired(fleet.scan())
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith(f"cannot write {path}: ")
    assert f"{path} can be written again" == last


def fill(path: Path) -> None:
    """Write until there is no room. Raises OSError."""
    with path.open("wb", 0) as file:
        while True:
            file.write(bytes(4096))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = [required("mount", "mount"), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield disk
    subprocess.run([required("umount", "mount"), "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("full", ["while the exporter runs", "before it starts"])
def test_totals_are_written_on_a_full_disk_and_make_room(
    small_disk: Path, ended: Path, full: str
) -> None:
    folder = shutil.copytree(ended, small_disk / "pools")
    fleet = Fleet(folder) if full == "while the exporter runs" else None
    with pytest.raises(OSError, match="No space left"):
        fill(small_disk / "rubbish")
    fleet = fleet or Fleet(folder)
    assert USES == acquired(fleet.scan())
    assert [] == list(folder.glob("*.pool"))
    fleet.close()
    again = Fleet(folder)
    assert USES == acquired(again.scan())
    again.close()


def test_what_a_killed_process_had_open_counts_as_closed(folder: Path, workers: Any) -> None:
    worker, other = workers(), workers()
    worker.tell("use 2", "take", "take")
    other.tell("take")
    fleet = Fleet(folder)

    def open_now() -> tuple[float, float]:
        (report,) = fleet.scan().reports
        reading = report.reading
        return reading.opened - reading.closed, reading.in_use + reading.idle

    assert (3, 3) == open_now()
    worker.kill()
    for _ in range(2):
        assert (1, 1) == open_now()
    fleet.close()

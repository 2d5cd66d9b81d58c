"""Many processes in one view: real processes that live, stop, fork, end and are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poolscope.fleet import totals
from poolscope.fleet.fleet import Fleet, FleetView, utilization
from poolscope.fleet.folder import FolderError
from poolscope.fleet.totals import TOTALS
from poolscope.readings.reading import Reading
from support.tools import required
from support.waiting import PATIENCE, eventually
from support.workers import WORKER


@pytest.fixture
def fleet(folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(folder)
    yield fleet
    fleet.close()


def numbers(view: FleetView) -> dict[str, tuple[float, ...]]:
    """Return for each pool: in use, idle, acquired, instances, and pools ever created."""
    return {
        report.pool: (
            report.reading.in_use,
            report.reading.idle,
            report.reading.acquired,
            report.reading.instances,
            report.created,
        )
        for report in view.reports
    }


def test_an_empty_folder_is_an_empty_view(fleet: Fleet) -> None:
    assert FleetView((), (), {}, 0, 0) == fleet.scan()


def test_processes_of_one_name_are_added_up(fleet: Fleet, workers: Any) -> None:
    first, second, other = workers(), workers(), workers("billing")
    first.tell("take", "take", "take")
    second.tell("use 5", "take")
    other.tell("use 1")
    view = fleet.scan()
    assert {"orders": (4, 0, 9, 2, 2), "billing": (0, 1, 1, 1, 1)} == numbers(view)
    assert {("orders", "sqlalchemy"): 0.75, ("billing", "sqlalchemy"): 0.0} == view.fullest
    assert {first.pid, second.pid, other.pid} == {process.pid for process in view.processes}
    assert (0, 0) == (view.gone, view.bad)


def test_holds_name_their_process_and_line(fleet: Fleet, workers: Any) -> None:
    first, second = workers(), workers()
    first.tell("take")
    second.tell("take", "lose")
    holds = fleet.scan().holds
    assert [first.pid, second.pid] == [hold.pid for hold in holds]
    assert {"MainThread"} == {hold.owner for hold in holds}
    assert all(str(hold.site).startswith("worker.py:") for hold in holds)
    (report,) = fleet.scan().reports
    assert [("worker:take", 2.0)] == [(site.label, site.in_use) for site in report.sites]
    assert ["abandoned", "nested-acquire"] == sorted(f.rule for f in report.findings)
    assert 1 == report.reading.leaks_abandoned


@pytest.mark.parametrize("how", ["end", "kill"])
def test_the_counters_of_an_ended_process_stay(
    fleet: Fleet, workers: Any, folder: Path, how: str
) -> None:
    ended, live = workers(), workers()
    ended.tell("use 7", "take")
    live.tell("use 2", "take")
    assert {"orders": (2, 0, 11, 2, 2)} == numbers(fleet.scan())
    getattr(ended, how)()
    for _ in range(2):
        view = fleet.scan()
        assert {"orders": (1, 0, 11, 1, 2)} == numbers(view)
        assert ([live.pid], 1) == ([process.pid for process in view.processes], view.gone)
    assert [str(live.pid)] == [path.name.partition("-")[0] for path in folder.glob("*.pool")]
    (report,) = view.reports
    assert [("worker:take", 1.0)] == [(site.label, site.in_use) for site in report.sites]


def test_totals_outlive_the_exporter(fleet: Fleet, workers: Any, folder: Path) -> None:
    worker = workers()
    worker.tell("use 7", "take")
    before = fleet.scan()
    worker.kill()
    fleet.scan()
    fleet.close()
    again = Fleet(folder)
    (report,) = again.scan().reports
    assert {"orders": (0, 0, 8, 0, 1)} == numbers(again.scan())
    assert report.reading.hold_seconds == before.reports[0].reading.hold_seconds
    assert report.sites[0].in_use_seconds > 0
    again.close()


STEPS = {
    "write": "poolscope.fleet.whole_files.os.fsync",
    "replace": "poolscope.fleet.whole_files.Path.replace",
    "remove": "poolscope.fleet.fleet.Path.unlink",
}
"""The steps of a fold, in their order."""


@pytest.mark.parametrize("step", STEPS)
def test_an_exporter_that_dies_while_it_folds_counts_nothing_twice(
    fleet: Fleet, workers: Any, folder: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = workers()
    worker.tell("use 7")
    worker.kill()

    def die(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(STEPS[step], die)
        with pytest.raises(KeyboardInterrupt):
            fleet.scan()
    fleet.close()
    assert (step == "remove") == (folder / TOTALS).exists()
    assert 1 == len(list(folder.glob("*.pool")))
    again = Fleet(folder)
    for _ in range(2):
        assert {"orders": (0, 0, 7, 0, 1)} == numbers(again.scan())
    assert [] == [*folder.glob("*.pool"), *folder.glob("*.damaged")]
    again.close()


def test_totals_that_cannot_be_written_are_still_served(
    fleet: Fleet, workers: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = workers()
    worker.tell("use 7", "take")
    worker.kill()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("poolscope.fleet.whole_files.os.fsync", full)
        for _ in range(2):
            assert {"orders": (0, 0, 8, 0, 1)} == numbers(fleet.scan())
    assert 1 == len(list(folder.glob("*.pool")))
    assert {"orders": (0, 0, 8, 0, 1)} == numbers(fleet.scan())
    assert [] == list(folder.glob("*.pool"))


class TestManyNames:
    """What is kept for each name is bounded, and no counter falls."""

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(totals, "MAX_ENDED_NAMES", 2)

    def acquired(self, view: FleetView) -> dict[str, float]:
        return {report.pool: report.reading.acquired for report in view.reports}

    def test_those_that_ended_first_are_added_up(
        self, fleet: Fleet, workers: Any, folder: Path
    ) -> None:
        stays = workers("stays")
        stays.tell("use 9")
        for number, name in enumerate(("a", "b", "a", "stays", "c", "d"), 1):
            worker = workers(name)
            worker.tell(f"use {number}")
            assert self.acquired(fleet.scan())[name] >= number
            worker.end()
            view = fleet.scan()
        expected = {"c": 5, "d": 6, "stays": 13, "other": 6}
        assert expected == self.acquired(view)
        sites = {report.pool: [site.label for site in report.sites] for report in view.reports}
        assert {name: ["worker:take"] for name in expected} == sites
        assert {("stays", "sqlalchemy"), ("c", "sqlalchemy")} < fleet._labels.keys()
        assert 4 == len(fleet._labels) == len(fleet._monotonic) == len(view.reports)
        (other,) = (report for report in view.reports if report.pool == "other")
        assert (3, False) == (other.created, other.reading.live)
        fleet.close()
        after = Fleet(folder)
        again = after.scan()
        after.close()
        assert expected == self.acquired(again)
        for one, two in zip(view.reports, again.reports, strict=True):
            assert (one.since, one.created) == (two.since, two.created)
            assert two.reading.in_use_seconds >= one.reading.in_use_seconds

    def test_they_are_added_up_in_the_order_of_their_ends_after_a_restart(
        self, workers: Any, folder: Path
    ) -> None:
        for name in ("a", "b", "a", "c"):
            workers(name).end()
            fleet = Fleet(folder)
            view = fleet.scan()
            fleet.close()
        assert {"a", "c", "other"} == {report.pool for report in view.reports}

    def test_functions_of_a_name_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(totals, "MAX_KNOWN_LABELS", 2)
        total = totals.Total()
        for number in range(5):
            total = total.with_total(totals.Total(seconds={f"f{number}": 1.0}))
        assert {"f0": 1.0, "f1": 1.0, "other": 3.0} == total.seconds


def test_a_process_that_is_stopped_still_shows_what_it_holds(fleet: Fleet, workers: Any) -> None:
    worker = workers()
    worker.tell("take", "take")
    os.kill(worker.pid, signal.SIGSTOP)
    view = fleet.scan()
    assert {"orders": (2, 0, 2, 1, 1)} == numbers(view)
    assert [worker.pid] * 2 == [hold.pid for hold in view.holds]
    os.kill(worker.pid, signal.SIGCONT)


def test_a_forked_child_is_a_process_of_its_own(fleet: Fleet, workers: Any) -> None:
    parent = workers()
    parent.tell("use 3", "take")
    child = parent.tell("fork")
    assert child != parent.pid
    parent.tell("use 2")
    view = fleet.scan()
    # The child inherits the record of a hold, but the connection belongs to the parent.
    pools = {process.pid: process.pools for process in view.processes}
    assert {parent.pid, child} == set(pools)
    assert [4.0, 2.0] == [pools[pid][0].reading.acquired for pid in (parent.pid, child)]
    parent.end()
    assert {"orders": (0, 0, 6, 0, 2)} == numbers(fleet.scan())


@pytest.mark.parametrize("fork", ["fork", "fork in C"])
async def test_a_parent_that_has_never_used_its_pool_counts_nowhere(
    fleet: Fleet, workers: Any, fork: str
) -> None:
    parent, other = workers(), workers()
    assert {"orders": (0, 0, 0, 2, 2)} == numbers(fleet.scan())
    child = parent.tell(fork, "take")
    view = fleet.scan()
    assert {"orders": (1, 0, 1, 2, 3)} == numbers(view)
    assert [8.0] == [report.reading.limit for report in view.reports]
    assert {child, other.pid} == {process.pid for process in view.processes}
    # Neither does it once its children have ended.
    os.kill(parent.pid, signal.SIGSTOP)
    os.kill(child, signal.SIGKILL)
    await eventually(1, lambda: fleet.scan().gone)
    view = fleet.scan()
    assert {"orders": (0, 0, 1, 1, 3)} == numbers(view)
    assert {other.pid} == {process.pid for process in view.processes}


OTHER_NAMESPACES = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")


@pytest.fixture
def unshare() -> None:
    """Skip where the kernel forbids namespaces, in CI too; fail in CI if the program is missing."""
    required(OTHER_NAMESPACES[0], "util-linux")
    attempt = subprocess.run(
        [*OTHER_NAMESPACES, "true"], capture_output=True, text=True, check=False
    )
    if attempt.returncode:
        pytest.skip(f"namespaces cannot be created here: {attempt.stderr.strip()}")


@pytest.mark.usefixtures("unshare")
async def test_processes_of_other_containers_are_seen_to_live_and_to_end(
    fleet: Fleet, workers: Any
) -> None:
    inside, other = workers(within=OTHER_NAMESPACES), workers(within=OTHER_NAMESPACES)
    # Each is the first process of its namespace.
    assert (1, 1) == (inside.tell("take"), other.tell("use 2"))
    view = fleet.scan()
    assert {"orders": (1, 1, 3, 2, 2)} == numbers(view)
    assert ([1, 1], [1]) == ([p.pid for p in view.processes], [hold.pid for hold in view.holds])
    inside.kill()
    # The test kills the parent of the process, which ends a moment later.
    expected: dict[str, tuple[float, ...]] = {"orders": (0, 1, 3, 1, 2)}
    await eventually(expected, lambda: numbers(fleet.scan()))


PROGRAM = """
import multiprocessing, sys, time
sys.path.insert(0, sys.argv[1])
import worker, sqlalchemy, poolscope

pool = None

def begin():
    global pool
    pool = sqlalchemy.pool.QueuePool(worker.connect, pool_size=4, max_overflow=0)
    poolscope.watch(pool, "jobs", registry=None)

def job(number):
    worker.take(pool).close()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    with context.Pool(3, begin) as processes:
        processes.map(job, range(60), chunksize=1)
        processes.close()
        processes.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_are_counted(
    fleet: Fleet, folder: Path, tmp_path: Path, method: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(WORKER.parent), method]
    environment = {**os.environ, "POOLSCOPE_DIR": str(folder)}
    subprocess.run(command, env=environment, check=True, timeout=PATIENCE)
    view = fleet.scan()
    assert {"jobs": (0, 0, 60, 0, 3)} == numbers(view)
    assert (3, 0, []) == (view.gone, view.bad, list(folder.glob("*.pool")))


def test_a_second_exporter_is_refused(fleet: Fleet, folder: Path) -> None:
    program = "import sys; from poolscope.fleet.fleet import *; Fleet(Path(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"InUseError: another exporter reads {folder}; one is enough" in result.stderr


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(FolderError, match=r"^others may write to"):
        Fleet(tmp_path)


def test_other_files_in_the_folder_are_counted_and_left_alone(
    fleet: Fleet, workers: Any, folder: Path
) -> None:
    worker = workers()
    worker.tell("take")
    name = next(folder.glob("*.process")).stem
    invalid = {
        f"{name}.77.pool": b"no pool",
        f"{name}.78.pool": b"",
        "1-nobody.1.pool": next(folder.glob("*.pool")).read_bytes(),
    }
    for path, data in invalid.items():
        (folder / path).write_bytes(data)
    os.mkfifo(folder / f"{name}.79.pool")
    (folder / f"{name}.80.pool").symlink_to(next(folder.glob("*.process")))
    (folder / f"{name}.81.pool").mkdir()
    (folder / "2-nobody.process").write_text("a note of somebody else")
    os.mkfifo(folder / f"2-{'0' * 32}.process")
    for _ in range(2):
        view = fleet.scan()
        assert ({"orders": (1, 0, 1, 1, 1)}, 8) == (numbers(view), view.bad)
    assert {*invalid, "2-nobody.process"} <= {path.name for path in folder.iterdir()}
    worker.kill()
    for _ in range(2):
        assert {"orders": (0, 0, 1, 0, 1)} == numbers(fleet.scan())
    # What cannot be read of an ended process is put aside.
    aside = {path.name for path in folder.glob("*.damaged")}
    assert {f"{name}.{number}.pool.damaged" for number in range(77, 82)} == aside


def test_utilization_is_between_0_and_1() -> None:
    assert 0.0 == utilization([Reading().values()])
    assert 0.0 == utilization([Reading(in_use=3, limit=float("inf")).values()])
    busy = Reading(in_use=3, opening=1, limit=4)
    assert 0.5 == utilization([busy.values(), Reading(limit=4).values()])

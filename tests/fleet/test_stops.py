"""Processes that are stopped (SIGSTOP), as they see it themselves and as the exporter does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from poolscope.fleet import stops
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.own_files import PROCESS
from poolscope.fleet.stops import Stops, is_stopped, owner_of
from poolscope.process.pauses import MISSED, Pause
from poolscope.testing import FakeClock

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="only Linux tells whether a process is stopped"
)


@pytest.fixture
def now() -> FakeClock:
    """A clock that begins at the present, as the workers have the system's."""
    return FakeClock(time.monotonic())


@pytest.fixture
def fleet(folder: Path, now: FakeClock) -> Iterator[Fleet]:
    fleet = Fleet(folder, now)
    yield fleet
    fleet.close()


def overdue(fleet: Fleet) -> tuple[float, float]:
    """Return how many holds are overdue, and have ever been."""
    view = fleet.scan()
    (report,) = view.reports
    assert report.reading.overdue == sum(hold.overdue for hold in view.holds)
    assert report.reading.overdue == sum(site.overdue for site in report.sites)
    return report.reading.overdue, report.reading.leaks_overdue


def stop(worker: Any) -> None:
    os.kill(worker.pid, signal.SIGSTOP)
    wait_until_stopped(True, worker.pid)


def go_on(worker: Any) -> None:
    os.kill(worker.pid, signal.SIGCONT)
    wait_until_stopped(False, worker.pid)


def wait_until_stopped(expected: bool, pid: int) -> None:
    while is_stopped(pid) is not expected:
        time.sleep(0.001)


def test_a_process_that_is_stopped_has_no_overdue_holds(
    fleet: Fleet, workers: Any, now: FakeClock
) -> None:
    worker = workers()
    worker.tell("take", "take")
    now.now = time.monotonic()
    assert (0, 0) == overdue(fleet)
    stop(worker)
    for _ in range(2):
        now.advance(100.0)
        assert (0, 0) == overdue(fleet)
        assert 100.0 < fleet.scan().holds[0].held_seconds
    go_on(worker)
    now.advance(30.0)
    assert (0, 0) == overdue(fleet)
    # Its holds are overdue once it has run for as long.
    now.advance(61.0)
    assert (2, 2) == overdue(fleet)


def test_a_process_that_sleeps_has_overdue_holds(
    fleet: Fleet, workers: Any, now: FakeClock
) -> None:
    sleeping, stopped = workers("sleeping"), workers("stopped")
    sleeping.tell("take")
    stopped.tell("take")
    now.now = time.monotonic()
    fleet.scan()
    stop(stopped)
    now.advance(100.0)
    assert {"sleeping": 1.0, "stopped": 0.0} == {
        report.pool: report.reading.overdue for report in fleet.scan().reports
    }
    go_on(stopped)


def test_what_was_overdue_before_a_stop_still_is(
    fleet: Fleet, workers: Any, now: FakeClock
) -> None:
    worker = workers()
    worker.tell("take")
    now.now = time.monotonic() + 61.0
    assert (1, 1) == overdue(fleet)
    stop(worker)
    now.advance(100.0)
    assert (1, 1) == overdue(fleet)
    go_on(worker)
    assert (1, 1) == overdue(fleet)


def test_stops_are_counted_from_the_last_look_to_the_first() -> None:
    known = Stops()
    assert () == known.look("a", False, 10.0)
    assert (Pause(10.0, 20.0),) == known.look("a", True, 20.0)
    assert (Pause(10.0, 30.0),) == known.look("a", True, 30.0)
    assert (Pause(10.0, 40.0),) == known.look("a", False, 40.0)
    assert (Pause(10.0, 40.0),) == known.look("a", False, 50.0)
    assert (Pause(10.0, 40.0), Pause(50.0, 60.0)) == known.look("a", True, 60.0)
    # When one that was stopped already has stopped is not known.
    assert (Pause(5.0, 5.0),) == known.look("b", True, 5.0)
    known.keep({"b"})
    assert () == known.look("a", False, 70.0)


def test_the_owner_of_a_process_file_is_known_by_its_lock(folder: Path, workers: Any) -> None:
    worker = workers()
    (path,) = folder.glob(f"*{PROCESS}")
    with path.open("rb") as file:
        assert worker.pid == owner_of(file.fileno())
        worker.kill()
        assert 0 == owner_of(file.fileno())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 (a b) S 1 1", False),
        ("7 (a ) T (b) S 1 1", False),
        ("7 (a b) T 1 1", True),
        ("7 (a b) t 1 1", True),
        ("7 (a b)", False),
        ("", False),
    ],
)
def test_the_state_of_a_process(text: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text(text)
    assert expected is is_stopped(7, tmp_path)
    assert not stops.is_stopped(8, tmp_path)
    assert not stops.is_stopped(0, tmp_path)


SERVICE: Final = """
import logging, sys
import poolscope, sqlalchemy
from poolscope.process.pauses import pauses

logging.basicConfig(stream=sys.stderr, format="%(message)s")
engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
watch = poolscope.watch(engine, leak_after=3.0)
ticks = pauses()._ticks
if sys.argv[1] == "serves":
    poolscope.start_http_server(0)
    while not ticks.is_regular:
        sys.stdin.readline(), print("not yet", flush=True)
held, returned = engine.connect(), engine.connect()
print(max(ticks._intervals, default=0.0), flush=True)
sys.stdin.readline()
returned.close()
now = watch.snapshot()
print(now.overdue, now.leaks_overdue, now.in_use, flush=True)
"""


@pytest.mark.parametrize(("serves", "expected"), [("serves", "0 0 1"), ("", "1 2 1")])
def test_a_process_that_was_stopped_notices_it(serves: str, expected: str) -> None:
    """It does if it serves its metrics; else nothing tells the stop from sleep."""
    process: Any = subprocess.Popen(
        [sys.executable, "-c", SERVICE, serves],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        while serves:
            process.stdin.write("\n")
            process.stdin.flush()
            if (answer := process.stdout.readline()) != "not yet\n":
                break
            time.sleep(0.1)
        else:
            answer = process.stdout.readline()
        stop(process)
        time.sleep(max(3.5, MISSED * float(answer) + 0.5))
        go_on(process)
        process.stdin.write("\n")
        process.stdin.flush()
        assert f"{expected}\n" == process.stdout.readline()
        log = process.communicate()[1]
    assert ("leak_after" in log) == (not serves)

"""Commands that are run by `poolscope run`, for tests."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from poolscope.fleet.fleet import Fleet
from support.application_servers import runs_in
from support.ports import ReservedPort
from support.waiting import PATIENCE

PROGRAMS: Final = Path(__file__).parent / "programs"
BIN: Final = Path(sys.executable).parent


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a user who has activated the virtual environment."""
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    left_out = ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    if "PYTHONPATH" in kept and "PYTHONPATH" in more:  # as of `scripts/mutate.py`
        more["PYTHONPATH"] += f"{os.pathsep}{kept['PYTHONPATH']}"
    return {**kept, "PATH": path, **more}


def run(
    *words: str, cwd: Path = PROGRAMS, stdin: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run `poolscope run` with these words until it ends."""
    return subprocess.run(
        [str(BIN / "poolscope"), "run", *words],
        cwd=cwd,
        env=environment(**more),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Launched:
    """A command that goes on, in a process group of its own."""

    def __init__(
        self, *words: str, cwd: Path = PROGRAMS, stderr: int | None = None, **more: str
    ) -> None:
        self.reserved = ReservedPort()
        command = [word.replace("{port}", str(self.reserved.number)) for word in words]
        self.process = subprocess.Popen(
            [str(BIN / "poolscope"), "run", *command],
            cwd=cwd,
            env=environment(**more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )

    def ask(self) -> int | None:
        """Return the id of the process that answers a request; None if none does yet."""
        address = "127.0.0.1", self.reserved.number
        connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            with connection.getresponse() as response:
                return int(response.read()) if response.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def answering(self, count: int) -> set[int]:
        """Return the ids of that many processes that have answered requests, and live."""
        pids: set[int] = set()
        deadline = time.monotonic() + PATIENCE
        while len(pids) < count:
            assert self.process.poll() is None, "the command has ended"
            assert time.monotonic() < deadline, f"only {pids} have answered"
            if (pid := self.ask()) is not None:
                pids.add(pid)
            pids = set(filter(psutil.pid_exists, pids))
        return pids

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal to the process that was started; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        group = self.process.pid
        while pids := [pid for pid in psutil.pids() if runs_in(group, pid)]:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self.reserved.give_back()


@pytest.fixture
def launch() -> Iterator[Callable[..., Launched]]:
    """Starts commands, and kills at the end what is left of them."""
    started: list[Launched] = []

    def start(*words: str, **options: Any) -> Launched:
        started.append(Launched(*words, **options))
        return started[-1]

    yield start
    for each in started:
        each.kill()


class Shared:
    """The folder that processes share, as an exporter reads it."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet(folder)

    def live(self) -> set[int]:
        """Return the ids of the live processes that have pools."""
        return {process.pid for process in self.fleet.scan().processes if process.pools}

    def operations(self) -> list[str]:
        """Return what connections were acquired for."""
        reports = self.fleet.scan().reports
        return [operation.label for report in reports for operation in report.operations]

    def acquired(self) -> dict[str, float]:
        """Return how often a connection was acquired, by the name of the pool."""
        return {report.pool: report.reading.acquired for report in self.fleet.scan().reports}


@pytest.fixture
def shared(folder: Path) -> Iterator[Shared]:
    made = Shared(folder)
    yield made
    made.fleet.close()

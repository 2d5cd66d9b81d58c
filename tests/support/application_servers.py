"""Services of several processes behind real application servers, for tests."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import pytest

from support.exporters import ExporterProcess
from support.waiting import PATIENCE

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

CLIENTS: Final = 8
"""Requests that are sent at the same time."""

GUNICORN: Final = ("gunicorn", "--no-control-socket", "--bind", "fd://{fd}", "--workers", "3")
UWSGI: Final = (
    *("uwsgi", "--http-socket", "fd://{fd}", "--home", sys.prefix),
    *("--master", "--processes", "3", "--die-on-term", "--disable-logging"),
)
UVICORN: Final = ("uvicorn", "--factory", "support.shop:asgi", "--fd", "{fd}")


def environment(folder: Path, postgres: EmbeddedPostgres) -> dict[str, str]:
    return {
        **os.environ,
        "POOLSCOPE_DIR": str(folder),
        "SHOP_DSN": postgres.dsn,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


class ApplicationServer:
    """
    A server on a free port of loopback, in a process group of its own.

    taken: how many connections its workers have acquired, by their answers.
    """

    def __init__(self, environment: dict[str, str], *command: str) -> None:
        self.taken = 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.socket.getsockname()[1]
        fd = self.socket.fileno()
        program, *arguments = (word.replace("{fd}", str(fd)) for word in command)
        # A program of its own, or a module with that name.
        script = Path(sys.executable).with_name(program)
        start = [str(script)] if program == "uwsgi" else [sys.executable, "-m", program]
        self.process = subprocess.Popen(
            [*start, *arguments],
            env=environment,
            pass_fds=[fd],
            start_new_session=True,
        )

    def ask(self, path: str) -> int:
        """Send a request; return the id of the process that has answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            with connection.getresponse() as response:
                assert 200 == response.status
                return int(response.read())
        finally:
            connection.close()

    def hold(self) -> int:
        """Let a worker acquire a connection and keep it; return the id of the worker."""
        self.taken += 1
        return self.ask("/hold")

    def use(self, times: int = 24) -> set[int]:
        """Let workers acquire a connection that many times; return the ids of these workers."""
        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = [pid for pid in clients.map(self._use, range(times)) if pid is not None]
        self.taken += len(answers)
        return set(answers)

    def _use(self, _: int) -> int | None:
        try:
            return self.ask("/use")
        except ConnectionError:
            # A uvicorn worker that shuts down closes connections whose requests it has not begun.
            return None

    def use_all(self, workers: int = 3) -> set[int]:
        """Use connections until that many workers have acquired some; return their ids."""
        answered = self.use()
        while len(answered) < workers:
            answered |= self.use()
        return answered

    def running(self) -> list[int]:
        """Return the ids of all its processes that have not ended."""
        return [pid for pid in psutil.pids() if runs_in(self.process.pid, pid)]

    def end(self) -> None:
        """End it as a service manager does."""
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.socket.close()

    def kill(self) -> None:
        while pids := self.running():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.socket.close()


def runs_in(group: int, pid: int) -> bool:
    try:
        return os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


@pytest.fixture
def serve(folder: Path, postgres: EmbeddedPostgres) -> Iterator[Callable[..., ApplicationServer]]:
    """Returns a function that runs servers; all their processes are killed at the end."""
    servers = []

    def make(*command: str) -> ApplicationServer:
        servers.append(ApplicationServer(environment(folder, postgres), *command))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


def pool_of(exporter: ExporterProcess) -> dict[str, Any]:
    """Return the one pool of the exporter's API; an empty one if there is none yet."""
    pools = json.loads(exporter.get("/api/v1/pools")[2])["pools"]
    assert ["orders"] * len(pools) == [pool["pool"] for pool in pools]
    return pools[0] if pools else {"processes": [], "holders": []}


def live_processes(exporter: ExporterProcess) -> set[int]:
    """Return the ids of the live processes that have a pool."""
    return {process["pid"] for process in pool_of(exporter)["processes"]}


def kept_and_new(exporter: ExporterProcess, before: set[int]) -> tuple[int, int]:
    """Return how many live processes were there before, and how many were not."""
    now = live_processes(exporter)
    return len(now & before), len(now - before)


def holders(exporter: ExporterProcess) -> list[tuple[int, str]]:
    """Return process, and file and function, of each held connection; without the line number."""
    pool = pool_of(exporter)
    sites = [(holder["pid"], holder["site"].split(" in ")) for holder in pool["holders"]]
    return [(pid, f"{line.split(':')[0]} {function}") for pid, (line, function) in sites]


def ended_processes(exporter: ExporterProcess) -> float:
    """Return how many processes have ended."""
    samples = exporter.scrape()
    return samples["connpool_exporter_processes", frozenset({("state", "gone")})]


def samples_of_the_pool(exporter: ExporterProcess) -> dict[str, float]:
    """Return some samples of the pool and of the exporter, by a short name."""
    wanted = {
        "connpool_acquires_total": ("outcome", "ok", "acquired"),
        "connpool_connections": ("state", "in_use", "in_use"),
        "connpool_exporter_processes": ("state", "live", "live"),
    }
    values = {}
    for (name, labels), value in exporter.scrape().items():
        label, state, short = wanted.get(name, ("", "", ""))
        if (label, state) in labels:
            values[short] = value
        elif name in ("connpool_waiting", "connpool_exporter_bad_segments"):
            values[name.removeprefix("connpool_")] = value
    return values


def expected_samples(
    server: ApplicationServer, live: int, in_use: int = 0, waiting: int = 0
) -> dict[str, float]:
    """Return the samples that the exporter must have when nothing is wrong."""
    return {
        "acquired": server.taken,
        "in_use": in_use,
        "waiting": waiting,
        "live": live,
        "exporter_bad_segments": 0,
    }

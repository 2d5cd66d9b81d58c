"""Services of several processes, run by real application servers, and the exporter beside them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import pytest

from support.exporters import ExporterProcess
from support.shop import JOBS, PROCESSES, SIZE, WAITING, WARM
from support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

CLIENTS: Final = 8
"""Requests at once."""


@dataclass(frozen=True)
class Kind:
    """
    How a server is run, with three workers.

    pools: of how many processes: that of the master, too, if it makes one before it forks.
    warm: how often the master has used it.
    """

    command: tuple[str, ...]
    pools: int = 3
    warm: int = 0


GUNICORN: Final = ("gunicorn", "--no-control-socket", "--bind", "fd://{fd}", "--workers", "3")
UVICORN: Final = ("uvicorn", "--factory", "support.shop:asgi", "--fd", "{fd}")
ASGI: Final = ("support.shop:asgi()", "--worker-class")

KINDS: Final = {
    "sync": Kind((*GUNICORN, "support.shop:wsgi()")),
    "preload": Kind((*GUNICORN, "support.shop:warm()", "--preload"), 4, WARM),
    "gthread": Kind((*GUNICORN, "support.shop:wsgi()", "--threads", "4")),
    "asgi": Kind((*GUNICORN, *ASGI, "asgi")),
    "uvicorn-worker": Kind((*GUNICORN, *ASGI, "uvicorn.workers.UvicornWorker")),
    "uvicorn": Kind((*UVICORN, "--workers", "3")),
}


def environment(folder: Path, postgres: EmbeddedPostgres) -> dict[str, str]:
    return {
        **os.environ,
        "POOLSCOPE_DIR": str(folder),
        "SHOP_DSN": postgres.dsn,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


class ApplicationServer:
    """
    A server on a free port of loopback, in a group of processes of its own.

    taken: how many connections its workers say to have taken.
    """

    def __init__(self, environment: dict[str, str], *command: str) -> None:
        self.taken = 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.socket.getsockname()[1]
        fd = self.socket.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *(word.replace("{fd}", str(fd)) for word in command)],
            env=environment,
            pass_fds=[fd],
            start_new_session=True,
        )

    def ask(self, path: str) -> int:
        """Return the id of the process that has answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            with connection.getresponse() as response:
                assert 200 == response.status
                return int(response.read())
        finally:
            connection.close()

    def hold(self) -> int:
        """Let a worker take a connection and keep it; return the worker's id."""
        self.taken += 1
        return self.ask("/hold")

    def use(self, times: int = 24) -> set[int]:
        """Let workers take a connection that often; return the ids of those that did."""
        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = [pid for pid in clients.map(self._use, range(times)) if pid is not None]
        self.taken += len(answers)
        return set(answers)

    def _use(self, _: int) -> int | None:
        try:
            return self.ask("/use")
        except ConnectionError:
            # A worker of uvicorn that is told to end hangs up on what it has not begun to serve.
            return None

    def use_all(self, workers: int = 3) -> set[int]:
        """Go on until so many workers have taken connections; return their ids."""
        answered = self.use()
        while len(answered) < workers:
            answered |= self.use()
        return answered

    def left(self) -> list[int]:
        """Return the ids of all its processes that run."""
        return [pid for pid in psutil.pids() if runs_in(self.process.pid, pid)]

    def end(self) -> None:
        """End it as a service manager does."""
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.socket.close()

    def kill(self) -> None:
        while pids := self.left():
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
def exporter(folder: Path) -> Iterator[ExporterProcess]:
    exporter = ExporterProcess(folder)
    yield exporter
    exporter.kill()


@pytest.fixture
def serve(folder: Path, postgres: EmbeddedPostgres) -> Iterator[Callable[..., ApplicationServer]]:
    """Runs servers, and ends all of their processes."""
    made = []

    def make(*command: str) -> ApplicationServer:
        made.append(ApplicationServer(environment(folder, postgres), *command))
        return made[-1]

    yield make
    for server in made:
        server.kill()


def pool_of(exporter: ExporterProcess) -> dict[str, Any]:
    """Return what the exporter says of the one pool; nothing if there is none yet."""
    pools = json.loads(exporter.get("/api/v1/pools")[2])["pools"]
    assert ["orders"] * len(pools) == [pool["pool"] for pool in pools]
    return pools[0] if pools else {"processes": [], "holders": []}


def live(exporter: ExporterProcess) -> set[int]:
    """Return the ids of processes that have a pool."""
    return {process["pid"] for process in pool_of(exporter)["processes"]}


def kept_and_new(exporter: ExporterProcess, before: set[int]) -> tuple[int, int]:
    now = live(exporter)
    return len(now & before), len(now - before)


def holders(exporter: ExporterProcess) -> list[tuple[int, str]]:
    """Return who has a connection: process, and file and function without the line."""
    pool = pool_of(exporter)
    sites = [(holder["pid"], holder["site"].split(" in ")) for holder in pool["holders"]]
    return [(pid, f"{line.split(':')[0]} {function}") for pid, (line, function) in sites]


def gone(exporter: ExporterProcess) -> float:
    """Return how many processes there were."""
    samples = exporter.scrape()
    return samples["connpool_exporter_processes", frozenset({("state", "gone")})]


def numbers(exporter: ExporterProcess) -> dict[str, float]:
    """Return the samples of some families and states, those that are there."""
    wanted = {
        "connpool_acquires_total": ("outcome", "ok", "acquired"),
        "connpool_connections": ("state", "in_use", "in_use"),
        "connpool_exporter_processes": ("state", "live", "live"),
    }
    found = {}
    for (name, labels), value in exporter.scrape().items():
        label, state, short = wanted.get(name, ("", "", ""))
        if (label, state) in labels:
            found[short] = value
        elif name in ("connpool_waiting", "connpool_exporter_bad_segments"):
            found[name.removeprefix("connpool_")] = value
    return found


def expected(
    server: ApplicationServer, live: int, in_use: int = 0, waiting: int = 0
) -> dict[str, float]:
    """Return what the exporter is to say, when nothing is wrong."""
    return {
        "acquired": server.taken,
        "in_use": in_use,
        "waiting": waiting,
        "live": live,
        "exporter_bad_segments": 0,
    }


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_counters_are_exact_whatever_becomes_of_workers(
    exporter: Any, serve: Any, kind: Kind
) -> None:
    server = serve(*kind.command)
    server.taken = kind.warm
    workers = server.use_all()
    first = live(exporter)
    assert (3, kind.pools) == (len(workers), len(first | workers))
    assert expected(server, kind.pools) == numbers(exporter)

    # One is killed that holds a connection, and replaced.
    victim = server.hold()
    assert expected(server, kind.pools, in_use=1) == numbers(exporter)
    assert [victim] == [pid for pid, _ in holders(exporter)]
    os.kill(victim, signal.SIGKILL)
    await eventually((kind.pools - 1, 1), lambda: kept_and_new(exporter, first))
    workers = server.use_all()
    assert victim not in workers
    assert expected(server, kind.pools) == numbers(exporter)

    # All are replaced, with requests coming in.
    def reloaded() -> tuple[int, int]:
        server.use(CLIENTS)
        return kept_and_new(exporter, workers)

    server.process.send_signal(signal.SIGHUP)
    await eventually((0, kind.pools), reloaded)
    assert not workers & server.use_all()
    assert expected(server, kind.pools) == numbers(exporter)

    # The server ends, and only counters stay.
    server.end()
    await eventually([], server.left)
    assert {"acquired": server.taken, "live": 0, "exporter_bad_segments": 0} == numbers(exporter)


def test_counters_are_exact_when_workers_are_recycled(exporter: Any, serve: Any) -> None:
    server = serve(*KINDS["sync"].command, "--max-requests", "20")
    answered = server.use(100)
    assert len(answered) >= 5
    server.end()
    assert {"acquired": 100, "live": 0, "exporter_bad_segments": 0} == numbers(exporter)
    # Those that have come last may have served nobody.
    assert gone(exporter) == pool_of(exporter)["instances_created"] >= len(answered)


async def test_threads_of_a_worker_hold_and_wait(exporter: Any, serve: Any) -> None:
    server = serve(*KINDS["gthread"].command, "--workers", "1")
    worker = server.hold()
    assert {worker} == {server.hold() for _ in range(SIZE - 1)}
    with ThreadPoolExecutor() as clients:
        waiting = clients.submit(server.use, WAITING)
        full = expected(server, 1, in_use=SIZE, waiting=WAITING)
        await eventually(full, lambda: numbers(exporter))
        assert [(worker, "support/shop.py Shop.hold")] * SIZE == holders(exporter)
        assert worker == server.ask("/release")
        assert {worker} == waiting.result()
    assert expected(server, 1) == numbers(exporter)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """What a worker waits for that blocks its event loop."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@contextmanager
def blocked(server: ApplicationServer, fifo: Path) -> Iterator[Future[int]]:
    """Have a worker whose event loop does nothing; what it answers afterwards is yielded."""
    with ThreadPoolExecutor() as clients:
        answer = clients.submit(server.ask, f"/block?{fifo}")
        with fifo.open("wb"):  # waits for the worker to open it, and then the worker waits
            server.taken += SIZE
            yield answer


def test_who_holds_and_waits_in_a_loop_that_is_blocked(
    exporter: Any, serve: Any, fifo: Path
) -> None:
    server = serve(*UVICORN)
    worker = server.ask("/pid")
    with blocked(server, fifo) as answer:
        assert expected(server, 1, in_use=SIZE, waiting=WAITING) == numbers(exporter)
        assert [(worker, "support/shop.py AsyncShop.hold")] * SIZE == holders(exporter)
        assert not answer.done()
    assert worker == answer.result()
    server.taken += WAITING
    assert expected(server, 1) == numbers(exporter)


async def test_a_worker_whose_loop_is_blocked_is_killed(
    exporter: Any, serve: Any, fifo: Path
) -> None:
    server = serve(*KINDS["uvicorn"].command)
    workers = server.use_all()
    with blocked(server, fifo) as answer:
        ((worker, site),) = set(holders(exporter))
        assert "support/shop.py AsyncShop.hold" == site
        assert workers - {worker} == server.use_all(2)
        assert expected(server, 3, in_use=SIZE, waiting=WAITING) == numbers(exporter)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(ConnectionError):
            answer.result()
    await eventually((2, 1), lambda: kept_and_new(exporter, workers))
    server.use_all()
    assert expected(server, 3) == numbers(exporter)


@pytest.fixture
def parents(folder: Path, postgres: EmbeddedPostgres) -> Iterator[Callable[..., Any]]:
    """Runs programs that have children, until these are gone; and ends them."""
    made = []

    def make(*arguments: str) -> Any:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment(folder, postgres),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        made.append(process)
        assert process.stdout is not None
        assert b"done\n" == process.stdout.readline()
        return process

    yield make
    for process in made:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_begin_anew_whose_parent_has_used_its_pool(
    exporter: Any, parents: Any, method: str
) -> None:
    parent = parents("-m", "support.shop", method)
    taken = {"acquired": WARM + 1 + JOBS, "exporter_bad_segments": 0}
    assert {**taken, "in_use": 1, "waiting": 0, "live": 1} == numbers(exporter)
    assert [(parent.pid, "support/shop.py Shop.hold")] == holders(exporter)
    assert PROCESSES == gone(exporter)
    parent.communicate()
    assert 0 == parent.returncode
    assert {**taken, "live": 0} == numbers(exporter)


# What a child does before poolscope's own hook for forks has run, as hooks run in the order in
# which they are registered, must not go into the file of its parent.
def test_children_that_dispose_before_poolscope_knows_of_the_fork(
    exporter: Any, serve: Any
) -> None:
    server = serve(*GUNICORN, "support.shop:hooked()", "--preload")
    server.use_all()
    limits = {process["pid"]: 0.0 for process in pool_of(exporter)["processes"]}
    for process in pool_of(exporter)["processes"]:
        limits[process["pid"]] += process["limit"]
    assert [SIZE] * 4 == list(limits.values())


CHILDREN: Final = """
import subprocess, sys
from support.shop import Shop
shop = Shop()
for _ in range(30):
    shop.use()
    subprocess.run(["true"], check=True, preexec_fn=lambda: None)
print("done", flush=True)
sys.stdin.read()
"""


# A child that does nothing but run another program has made no pool.
def test_children_that_never_use_the_pool(exporter: Any, parents: Any) -> None:
    parents("-c", CHILDREN)
    assert "pool-per-request" not in [found["rule"] for found in pool_of(exporter)["findings"]]

"""`poolscope demo` as users run it: as a process, tested from outside."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support.waiting import PATIENCE, until

POOLS = {
    ("orders", "sqlalchemy"),
    ("billing", "sqlalchemy"),
    ("reports", "asyncpg"),
    ("upstream", "aiohttp"),
}

# The two of the service, as pool and rule.
MISTAKES = {("billing", "held-across-request"), ("reports", "abandoned")}

TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}


@dataclass
class Demo:
    """The process of the demo, with the folder of its temporary files."""

    process: subprocess.Popen[str]
    folder: Path
    lines: list[str] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    def line(self, start: str) -> str:
        """Read its output up to a line that starts with `start`; return the rest of that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise AssertionError(f"no line {start!r} in {self.lines}")

    def started(self) -> None:
        """Wait until it serves, and note all of its processes."""
        self.line("stop")
        (file,) = self.folder.glob("poolscope-*/postgres/postmaster.pid")
        server = int(file.read_text().splitlines()[0])
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.seen = {
            server,
            *(pid for pid, parent, *_ in processes() if parent == server),
            *(child.pid for child in children),
        }

    def pids_of(self, word: str) -> list[int]:
        """Return the ids of its processes that have this word in their command line."""
        return [pid for pid, _, command in processes() if pid in self.seen and word in command]

    def end(self, code: int = 0) -> tuple[str, str]:
        """
        Wait until it has ended and left nothing behind.

        Return its output since the last line that was read, and its errors.
        """
        out, err = self.process.communicate(timeout=PATIENCE)
        assert code == self.process.returncode, err
        until(lambda: self.left_behind() == ([], []), f"nothing is left: {self.left_behind()}")
        return out, err

    def rest(self) -> str:
        """As `end`, where there is no error."""
        out, err = self.end()
        assert "" == err
        return out

    def left_behind(self) -> tuple[list[Path], list[str]]:
        """Return the files that are still there, and the command lines of its running processes."""
        return list(self.folder.iterdir()), [
            command
            for pid, _, command in processes()
            if pid in self.seen or str(self.folder) in command
        ]


def processes() -> list[tuple[int, int, str]]:
    """Return id, parent and command line of each process that has not ended."""
    running = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            # A zombie has ended, but its parent has not collected its exit status.
            if process.status() != psutil.STATUS_ZOMBIE:
                running.append((process.pid, process.ppid(), " ".join(process.cmdline())))
    return running


# What a process inherits from a terminal; with `make test &` and nohup, some are ignored.
FROM_A_TERMINAL = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_DFL)


@contextlib.contextmanager
def signal_handlers(signals: Mapping[signal.Signals, signal.Handlers]) -> Iterator[None]:
    """Set these handlers; processes that are started meanwhile inherit what is ignored."""
    before: dict[signal.Signals, Any] = {}
    try:
        for number, disposition in signals.items():
            before[number] = signal.signal(number, disposition)
        yield
    finally:
        for number, disposition in before.items():
            signal.signal(number, disposition)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo makes its temporary files. The path is short: that of a socket must be."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Demo]]:
    """Returns a function that starts the demo; if that hangs, it is killed, and the test fails."""
    with contextlib.ExitStack() as stack:

        def start(
            *options: str,
            stdout: int = subprocess.PIPE,
            ignored: signal.Signals | None = None,
        ) -> Demo:
            signals = {**FROM_A_TERMINAL, **({ignored: signal.SIG_IGN} if ignored else {})}
            with signal_handlers(signals):
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-W", "always::ResourceWarning"),
                        *("-m", "poolscope", "demo", "--port", "0", *options),
                    ],
                    stdout=stdout,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, **TERMINAL, "TMPDIR": str(folder)},
                    start_new_session=True,
                )
            stack.enter_context(process)
            killer = threading.Timer(3 * PATIENCE, process.kill)
            killer.start()
            stack.callback(killer.cancel)
            stack.callback(process.kill)
            return Demo(process, folder)

        yield start


def pools_of(live_page: str) -> list[dict[str, Any]]:
    """Return what the exporter says of the pools."""
    answer = httpx.get(live_page.replace("/pools", "/api/v1/pools"), timeout=PATIENCE)
    pools: list[dict[str, Any]] = answer.raise_for_status().json()["pools"]
    return pools


def test_two_workers_have_pools_of_every_kind_that_are_full_at_times_and_two_mistakes(
    start: Callable[..., Demo],
) -> None:
    demo = start()
    service = demo.line("service")
    metrics = demo.line("metrics")
    live_page = demo.line("live page")
    demo.started()

    def has_happened() -> bool:
        pools = pools_of(live_page)
        found = {(p["pool"], finding["rule"]) for p in pools for finding in p["findings"]}
        return (
            all(pool["acquired"] > 0 for pool in pools)
            and sum(pool["timed_out"] for pool in pools) > 0
            and sum(pool["abandoned"] for pool in pools) > 0
            and found >= MISTAKES
        )

    until(has_happened, "all pools serve, some callers time out, and the mistakes are found")
    pools = pools_of(live_page)
    assert {(pool["pool"], pool["kind"]) for pool in pools} == POOLS
    workers = set(demo.pids_of("poolscope.demo.worker"))
    assert 2 == len(workers)
    for pool in pools:
        assert workers == {process["pid"] for process in pool["processes"]}
    served = httpx.get(metrics, timeout=PATIENCE).raise_for_status().text
    (leaked,) = (
        line
        for line in served.splitlines()
        if line.startswith("connpool_leaked{")
        and {"reports", "abandoned"} <= set(re.findall(r'"(\w+)"', line))
    )
    assert leaked.endswith(" 1.0")
    assert "poolscope" in httpx.get(live_page, timeout=PATIENCE).raise_for_status().text
    assert "POST /orders" in httpx.get(service, timeout=PATIENCE).raise_for_status().text

    demo.process.send_signal(signal.SIGINT)
    summary = demo.rest()
    assert "\x1b" not in "".join(demo.lines) + summary
    assert {name for name, _ in POOLS} <= set(summary.split())
    for _, rule in MISTAKES:
        assert f"\n{rule} (" in summary
    assert "an attempt to get a connection timed out" in summary
    assert "poolscope/demo/service.py:" in summary


def test_it_says_each_step_and_where_everything_is(start: Callable[..., Demo]) -> None:
    demo = start("--seconds", "0.1")
    out = demo.rest()
    words = [line.split("  ")[0] for line in out.partition("\n\n")[0].splitlines()]
    assert words == [
        "Starting the exporter ...",
        "Starting an embedded PostgreSQL ...",
        "Starting 2 workers of the web service ...",
        "service",
        "metrics",
        "live page",
        "stop",
        "Stopping ...",
    ]


@pytest.mark.parametrize(
    ("word", "name"),
    [("poolscope.demo.worker", "a worker"), ("poolscope exporter", "the exporter")],
    ids=["worker", "exporter"],
)
def test_if_one_of_its_processes_dies_it_says_so_and_ends(
    start: Callable[..., Demo], word: str, name: str
) -> None:
    demo = start()
    demo.started()
    pid = demo.pids_of(word)[0]
    os.kill(pid, signal.SIGKILL)
    _, err = demo.end(code=1)
    assert f"poolscope demo: {name} (process {pid}) was killed by SIGKILL\n" == err


def test_if_it_is_killed_itself_nothing_outlives_it(start: Callable[..., Demo]) -> None:
    demo = start()
    demo.started()
    demo.process.kill()
    demo.end(code=-signal.SIGKILL)


def test_a_port_in_use_is_one_line_and_postgres_is_not_started(start: Callable[..., Demo]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        out, err = start("--port", str(port)).end(code=1)
    assert "Starting the exporter ...\n" == out
    assert f"poolscope demo: cannot listen at 127.0.0.1:{port}: Address already in use\n" == err


def test_a_server_that_exists_is_used_instead_of_an_embedded_one(
    start: Callable[..., Demo], postgres: Any
) -> None:
    out = start("--postgres", postgres.dsn, "--seconds", "0.1").rest()
    assert "Starting 2 workers of the web service ...\nservice" in out
    assert "embedded" not in out
    assert "billing" in out.split()


def test_a_server_that_cannot_be_reached_is_one_line(
    start: Callable[..., Demo], folder: Path
) -> None:
    _, err = start("--postgres", f"postgresql:///shop?host={folder}").end(code=1)
    assert err.startswith("poolscope demo: PostgreSQL: ")
    assert 1 == err.count("\n")


def test_it_stops_when_its_terminal_is_closed(start: Callable[..., Demo]) -> None:
    assert_stops(start(), signal.SIGHUP)


def test_ctrl_c_stops_it_too_if_its_parent_ignores_that(start: Callable[..., Demo]) -> None:
    """A script starts a command in the background with SIGINT ignored."""
    assert_stops(start(ignored=signal.SIGINT), signal.SIGINT)


def test_with_nohup_it_keeps_running_then_and_sigterm_stops_it(
    start: Callable[..., Demo],
) -> None:
    demo = start(ignored=signal.SIGHUP)
    live_page = demo.line("live page")

    def acquired() -> float:
        return sum(float(pool["acquired"]) for pool in pools_of(live_page))

    os.killpg(demo.process.pid, signal.SIGHUP)
    before = acquired()
    until(lambda: acquired() > before + 100, "it serves a hundred more")
    assert_stops(demo, signal.SIGTERM)


def assert_stops(demo: Demo, number: signal.Signals) -> None:
    """Send a signal to its process group; it must end, and leave nothing behind."""
    demo.started()
    # The workers, the exporter, the keeper, PostgreSQL and its processes.
    assert len(demo.seen) > 5
    os.killpg(demo.process.pid, number)
    assert "orders" in demo.rest()


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("poolscope-*/pools", id="before-postgres"),
        pytest.param("poolscope-*/postgres/PG_VERSION", id="in-initdb"),
        pytest.param("poolscope-*/postgres/postmaster.pid", id="while-postgres-starts"),
    ],
)
def test_ctrl_c_during_its_start_stops_all_of_it(start: Callable[..., Demo], moment: str) -> None:
    for _ in range(10):
        output = interrupt(start(), moment)
        if "metrics" not in output:
            break
        # The demo had already started when this test got to run; try again.
    assert output == ""


def interrupt(demo: Demo, moment: str) -> str:
    """Send Ctrl-C as soon as a file matches; return the output until the demo has ended."""
    demo.line("Starting an embedded")
    until(lambda: any(demo.folder.glob(moment)), moment)
    # Twice, as an impatient user does, and to the process group, as a terminal does.
    os.killpg(demo.process.pid, signal.SIGINT)
    os.killpg(demo.process.pid, signal.SIGINT)
    return demo.rest()


def test_in_a_terminal_it_draws_the_screen_and_restores_it_at_the_end(
    start: Callable[..., Demo],
) -> None:
    terminal, inner = pty.openpty()
    demo = start("--seconds", "1", stdout=inner)
    os.close(inner)
    output = b""
    # At the end of a terminal's output, Linux raises an error, and other systems return nothing.
    with contextlib.suppress(OSError):
        while chunk := os.read(terminal, 65536):
            output += chunk
    os.close(terminal)
    demo.rest()
    before, drawn = output.decode().split("\x1b[?1049h")
    drawn, after = drawn.split("\x1b[?1049l")
    assert "Starting" in before
    assert "/metrics" in drawn
    assert "Ctrl-C, or automatically in" in drawn
    assert "upstream" in after


def test_a_postgres_whose_socket_path_would_be_too_long_is_put_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from poolscope.demo.postgres import embedded_postgres

    long = folder / ("a" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with embedded_postgres() as postgres:
        assert (postgres.socket_dir / ".s.PGSQL.5432").is_socket()
        assert len(str(postgres.socket_dir)) < len(str(long))
    assert not postgres.socket_dir.parent.exists()
    assert list(long.iterdir()) == []

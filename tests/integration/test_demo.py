"""`poolscope demo` as users run it: as a process, tested from outside."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
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
from prometheus_client.parser import text_string_to_metric_families

from support.waiting import PATIENCE, until

POOLS = {
    ("orders", "sqlalchemy"),
    ("billing", "sqlalchemy"),
    ("reports", "asyncpg"),
    ("upstream", "aiohttp"),
}

TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}


@dataclass
class Demo:
    """The process of the demo, with the folder of its temporary files."""

    process: subprocess.Popen[str]
    folder: Path
    lines: list[str] = field(default_factory=list)

    def line(self, start: str) -> str:
        """Read its output up to a line that starts with `start`; return the rest of that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise AssertionError(f"no line {start!r} in {self.lines}")

    def rest(self) -> str:
        """Wait until it has ended; return its output since the last line that was read."""
        out, err = self.process.communicate(timeout=PATIENCE)
        assert (self.process.returncode, err) == (0, "")
        return out

    def postgres(self) -> set[int]:
        """Return the process ids of its PostgreSQL server."""
        (file,) = self.folder.glob("poolscope-*/data/postmaster.pid")
        server = int(file.read_text().splitlines()[0])
        return {server, *(pid for pid, parent, *_ in processes() if parent == server)}

    def left_behind(self, postgres: set[int]) -> tuple[list[Path], list[str]]:
        """Return the files that are still there, and the command lines of its running processes."""
        return list(self.folder.iterdir()), [
            command
            for pid, _, command in processes()
            if pid in postgres or str(self.folder) in command
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


def scrape(address: str) -> dict[tuple[str, str, str, str], float]:
    """Return all samples by name, pool, kind and outcome; labels that are missing are empty."""
    families = text_string_to_metric_families(
        httpx.get(address, timeout=PATIENCE).raise_for_status().text
    )
    return {
        (
            sample.name,
            sample.labels.get("pool", ""),
            sample.labels.get("kind", ""),
            sample.labels.get("outcome", ""),
        ): sample.value
        for family in families
        for sample in family.samples
    }


def test_pools_of_every_kind_serve_callers_and_some_wait_and_time_out(
    start: Callable[..., Demo],
) -> None:
    demo = start()
    address = demo.line("metrics")
    demo.line("stop")
    postgres = demo.postgres()
    acquires, waits = "connpool_acquires_total", "connpool_waits_total"

    def has_happened() -> bool:
        samples = scrape(address)
        return (
            all(samples[acquires, *pool, "ok"] > 0 for pool in POOLS)
            and sum(samples[acquires, *pool, "timeout"] for pool in POOLS) > 0
            and sum(samples[waits, *pool, ""] for pool in POOLS) > 0
        )

    until(has_happened, "all pools serve, some callers wait and time out")
    assert {(name, kind) for _, name, kind, _ in scrape(address) if name} == POOLS
    demo.process.send_signal(signal.SIGINT)
    summary = demo.rest()
    assert "\x1b" not in "".join(demo.lines) + summary
    assert {name for name, _ in POOLS} <= set(summary.split())
    assert "an attempt to get a connection timed out" in summary
    assert "poolscope/demo/service.py:" in summary
    until(lambda: demo.left_behind(postgres) == ([], []), "nothing is left behind")


def test_the_service_answers_other_clients_too(start: Callable[..., Demo]) -> None:
    demo = start()
    service = demo.line("service")
    demo.line("stop")
    assert "POST /orders" in httpx.get(service, timeout=PATIENCE).raise_for_status().text
    demo.process.send_signal(signal.SIGINT)
    demo.rest()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_demo_and_its_postgres(
    start: Callable[..., Demo], number: signal.Signals
) -> None:
    assert_stops(start(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_was_ignored_by_its_parent_stops_it_too(
    start: Callable[..., Demo], number: signal.Signals
) -> None:
    """A script starts a command in the background with SIGINT ignored."""
    assert_stops(start(ignored=number), number)


def test_with_nohup_it_keeps_running_when_the_terminal_is_closed(
    start: Callable[..., Demo],
) -> None:
    demo = start(ignored=signal.SIGHUP)
    address = demo.line("metrics")

    def acquired() -> float:
        samples = scrape(address)
        return sum(samples["connpool_acquires_total", *pool, "ok"] for pool in POOLS)

    os.killpg(demo.process.pid, signal.SIGHUP)
    before = acquired()
    until(lambda: acquired() > before + 200, "it serves a few hundred more")
    assert_stops(demo, signal.SIGTERM)


def assert_stops(demo: Demo, number: signal.Signals) -> None:
    """Send a signal to its process group; it must end, and leave nothing behind."""
    demo.line("stop")
    postgres = demo.postgres()
    assert len(postgres) > 1
    os.killpg(demo.process.pid, number)
    assert "orders" in demo.rest()
    until(lambda: demo.left_behind(postgres) == ([], []), "nothing is left behind")


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("poolscope-*", id="before-postgres"),
        pytest.param("poolscope-*/data/PG_VERSION", id="in-initdb"),
        pytest.param("poolscope-*/data/postmaster.pid", id="while-postgres-starts"),
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
    demo.line("Starting")
    until(lambda: any(demo.folder.glob(moment)), moment)
    # Twice, as an impatient user does, and to the process group, as a terminal does.
    os.killpg(demo.process.pid, signal.SIGINT)
    os.killpg(demo.process.pid, signal.SIGINT)
    output = demo.rest()
    until(lambda: demo.left_behind(set()) == ([], []), "nothing is left behind")
    return output


def test_in_a_terminal_it_draws_the_screen_and_restores_it_at_the_end(
    start: Callable[..., Demo],
) -> None:
    terminal, inner = pty.openpty()
    demo = start("--seconds", "2", stdout=inner)
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

"""`poolscope top` in a real terminal, on real processes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from support.exporters import ExporterProcess
from support.ports import ReservedPort
from support.tools import required
from support.waiting import PATIENCE
from support.workers import Worker

TOP: Final = (sys.executable, "-m", "poolscope", "top", "--interval", "0.5")


class Terminal:
    """A terminal of tmux, with a server of its own, in which a command runs."""

    def __init__(self, tmux: str, socket: Path, width: int, height: int, *command: str) -> None:
        self._tmux = [tmux, "-S", str(socket), "-f", "/dev/null"]
        size = ("-x", str(width), "-y", str(height))
        line = f"{shlex.join(command)}; echo ended with $?; exec cat"
        variables = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        subprocess.run(
            [*self._tmux, "-u", "new-session", "-d", *size, line], env=variables, check=True
        )

    def screen(self) -> str:
        shown = subprocess.run(
            [*self._tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True
        )
        return shown.stdout

    def press(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    def wait_for(self, *texts: str) -> str:
        """Wait until the screen has all of the texts; return it."""
        deadline = time.monotonic() + PATIENCE
        while not all(text in (screen := self.screen()) for text in texts):
            assert time.monotonic() < deadline, f"{texts} never on this screen:\n{screen}"
        return screen

    def kill(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def terminal(short_path: Path) -> Iterator[Callable[..., Terminal]]:
    tmux = required("tmux", "tmux")
    started: list[Terminal] = []

    def start(width: int, height: int, *command: str) -> Terminal:
        socket = short_path / f"tmux{len(started)}"
        started.append(Terminal(tmux, socket, width, height, *command))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def workers(folder: Path) -> Iterator[list[Worker]]:
    started = [Worker(folder, "orders") for _ in range(2)]
    yield started
    for each in started:
        os.kill(each.pid, signal.SIGCONT)
        each.kill()


def test_a_folder_with_a_stopped_worker(
    folder: Path, workers: list[Worker], terminal: Callable[..., Terminal]
) -> None:
    for each in workers:
        each.tell("take")
    os.kill(workers[0].pid, signal.SIGSTOP)
    shown = terminal(60, 15, *TOP, "--dir", str(folder))
    shown.wait_for("1 pool in 2 processes", "2/")
    shown.press("p")
    shown.wait_for(f"{workers[0].pid}  1 of", f"{workers[1].pid}  1 of")
    shown.press("h")
    shown.wait_for("2 x ", "worker.py:")
    shown.press("q")
    shown.wait_for("ended with 0")


def test_an_exporter_that_is_killed_and_comes_back(
    folder: Path, workers: list[Worker], terminal: Callable[..., Terminal]
) -> None:
    workers[0].tell("take")
    reserved = ReservedPort()
    address = f"127.0.0.1:{reserved.number}"
    exporter = ExporterProcess(folder, address=address)
    try:
        shown = terminal(100, 24, *TOP, "--url", f"http://{address}")
        shown.wait_for("1 pool in 2 processes", "orders", "1/")
        exporter.process.kill()
        exporter.process.communicate()
        screen = shown.wait_for("cannot reach", "these numbers are")
        assert "1/" in screen
        exporter = ExporterProcess(folder, address=address)
        shown.wait_for("by fullest, every 0.5 s")
        shown.press("q")
        shown.wait_for("ended with 0")
    finally:
        exporter.process.kill()
        exporter.process.communicate()
        reserved.give_back()

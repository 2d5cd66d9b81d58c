"""`poolscope top` in a real terminal, on the demo and on its service."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import psutil
import pytest

from poolscope.demo.postgres import EmbeddedPostgres
from support.live_demo import DemoWorker
from support.ports import ReservedPort
from support.terminals import Terminal, terminal
from support.waiting import until

__all__ = ["terminal"]

PROGRAM: Final = (sys.executable, "-m", "poolscope")
TOP: Final = (*PROGRAM, "top", "--interval", "0.5")
POOLS: Final = ("orders", "billing", "reports", "upstream")


class Demo:
    """`poolscope demo`, on a PostgreSQL server that runs already."""

    def __init__(self, port: int, postgres: EmbeddedPostgres) -> None:
        options = ("--port", str(port), "--postgres", postgres.dsn)
        self._started = subprocess.Popen(
            [*PROGRAM, "demo", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: len(self.workers()) == 2, "two workers run")

    def workers(self) -> list[psutil.Process]:
        return self._children("poolscope.demo.worker")

    def exporter(self) -> psutil.Process:
        (exporter,) = self._children("exporter")
        return exporter

    def _children(self, word: str) -> list[psutil.Process]:
        children = psutil.Process(self._started.pid).children()
        return [child for child in children if word in child.cmdline()]

    def end(self) -> None:
        """End it unless it has ended, with all that it has started."""
        for each in self._children("poolscope.demo.worker") if self._started.poll() is None else ():
            each.resume()
        self._started.terminate()
        self._started.wait()


@pytest.fixture
def demo(postgres: EmbeddedPostgres) -> Iterator[Callable[[int], Demo]]:
    with ExitStack() as stack:

        def start(port: int) -> Demo:
            demo = Demo(port, postgres)
            stack.callback(demo.end)
            return demo

        yield start


def test_the_demo_with_a_stopped_worker_and_without_its_exporter(
    demo: Callable[[int], Demo], terminal: Callable[..., Terminal]
) -> None:
    reserved = ReservedPort()
    url = f"http://127.0.0.1:{reserved.number}"
    running = demo(reserved.number)
    shown = terminal(120, 30, *TOP, "--url", url)
    shown.wait_for("4 pools in 2 processes", *POOLS)
    stopped, other = running.workers()
    stopped.suspend()
    shown.press("p")
    shown.wait_for(*(f"{each.pid}  " for each in (stopped, other)))
    stopped.resume()
    running.exporter().kill()
    # The demo ends with its exporter.
    screen = shown.wait_for(f"cannot reach {url}", "these numbers are", "s old")
    assert [] == [pool for pool in POOLS if pool not in screen]
    running.end()
    demo(reserved.number)
    shown.wait_for("4 pools in 2 processes", "by fullest, every 0.5 s", *POOLS)
    shown.press("q")
    shown.wait_for("ended with 0")
    reserved.give_back()


def test_the_folder_of_the_service_with_a_stopped_worker(
    tmp_path: Path, postgres: EmbeddedPostgres, terminal: Callable[..., Terminal]
) -> None:
    folder = tmp_path / "pools"
    with ExitStack() as stack:
        workers = [DemoWorker(folder, postgres, "--rate=orders=20") for _ in range(2)]
        for each in workers:
            stack.callback(each.stop)
        shown = terminal(100, 24, *TOP, "--dir", str(folder))
        shown.wait_for("4 pools in 2 processes", *POOLS)
        pid = workers[0].process.pid
        os.kill(pid, signal.SIGSTOP)
        stack.callback(os.kill, pid, signal.SIGCONT)
        shown.press("p")
        shown.wait_for(*(f"{each.process.pid}  " for each in workers))
        shown.press("q")
        shown.wait_for("ended with 0")

"""`poolscope top` in a real terminal, on real processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from support.exporters import ExporterProcess
from support.ports import ReservedPort
from support.terminals import Terminal, terminal
from support.workers import Worker

__all__ = ["terminal"]

TOP: Final = (sys.executable, "-m", "poolscope", "top", "--interval", "0.5")


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

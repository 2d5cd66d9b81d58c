"""Counters stay right when processes under full load, and the exporter itself, are killed."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from support.exporters import ExporterProcess
from support.workers import Worker

WORKERS: Final = 8
KILLS: Final = int(os.environ.get("POOLSCOPE_KILLS", "9"))
"""How many processes are killed."""
SCRAPES: Final = 10
"""The least number of scrapes between two kills."""
ACQUIRED_BETWEEN: Final = 1000
"""How many connections the next victim acquires at least between two kills."""
RESTARTS: Final = 3
"""How many times the exporter is killed and restarted."""

# `load` acquires one connection at a time. One that is acquired in the moment of the kill may be
# counted or not.


class LoadedWorker:
    """A worker under load, and the file in which it counts its own connections."""

    def __init__(self, folder: Path, tally: Path) -> None:
        tally.write_bytes(bytes(16))
        self.tally = tally
        self.process = Worker(folder)
        self.process.tell(f"load {tally}")

    def acquired(self) -> tuple[float, float]:
        """Return how many connections it has acquired, and how many it has begun to acquire."""
        begun, acquired = struct.unpack("2d", self.tally.read_bytes())
        return acquired, begun


@pytest.fixture
def exporters(tmp_path: Path) -> Iterator[list[ExporterProcess]]:
    """An exporter, to which a test adds its successors; the last one is killed at the end."""
    exporters = [ExporterProcess(tmp_path / "pools")]
    yield exporters
    exporters[-1].kill()


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[list[LoadedWorker]]:
    loaded = [LoadedWorker(tmp_path / "pools", tmp_path / f"tally-{n}") for n in range(WORKERS)]
    yield loaded
    for worker in loaded:
        worker.process.kill()


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def decreased_counters(before: Samples, after: Samples) -> list[Any]:
    """Return the counters that have decreased or disappeared, with both values."""
    return [
        (key, value, after.get(key))
        for key, value in before.items()
        if key[0].endswith(("_total", "_bucket", "_count", "_sum")) and after.get(key, -1.0) < value
    ]


ACQUIRED: Final = (
    "connpool_acquires_total",
    frozenset({("pool", "orders"), ("kind", "sqlalchemy"), ("outcome", "ok")}),
)


@pytest.mark.timeout(120 + 10 * KILLS)
def test_no_connection_is_lost_or_counted_twice(
    tmp_path: Path, loaded: list[LoadedWorker], exporters: list[ExporterProcess]
) -> None:
    folder = tmp_path / "pools"
    killed: list[LoadedWorker] = []
    samples: Samples = {}
    scrapes = 0
    restarts = [KILLS * (n + 1) // (RESTARTS + 1) for n in range(RESTARTS)]
    for number in range(KILLS):
        victim = loaded.pop(0)
        enough, acquired = scrapes + SCRAPES, victim.acquired()[0] + ACQUIRED_BETWEEN
        while scrapes < enough or victim.acquired()[0] < acquired:
            after = exporters[-1].scrape()
            scrapes += 1
            assert [] == decreased_counters(samples, after)
            samples = after
        victim.process.kill()
        killed.append(victim)
        loaded.append(LoadedWorker(folder, tmp_path / f"tally-{WORKERS + number}"))
        if number in restarts:
            exporters[-1].kill()
            exporters.append(ExporterProcess(folder))

    for worker in loaded:
        worker.process.kill()
    after = exporters[-1].scrape()
    assert [] == decreased_counters(samples, after)
    tallies = [worker.acquired() for worker in killed + loaded]
    least, most = (sum(tally) for tally in zip(*tallies, strict=True))
    assert least <= after[ACQUIRED] <= most
    assert most - least <= len(tallies)
    gauges = {key: value for key, value in after.items() if key[0] == "connpool_connections"}
    assert {} == gauges
    assert after["connpool_exporter_processes", frozenset({("state", "gone")})] == len(tallies)
    assert [] == list(folder.glob("*.pool"))
    sys.stdout.write(
        f"\n{scrapes} scrapes, {len(tallies)} processes killed, {after[ACQUIRED]:.0f} acquired, "
        f"{least:.0f} to {most:.0f} by their own accounts\n"
    )

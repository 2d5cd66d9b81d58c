"""Processes at full load that are killed one after the other, and an exporter that is, too."""

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
"""At least so many between two kills..."""
TAKEN: Final = 1000
"""...while the next one takes so many connections more."""
RESTARTS: Final = 3
"""How often the exporter is killed meanwhile."""

# `load` takes one connection at a time; what is killed while it takes one may be counted or not.


class Loaded:
    """A process under load, and what it writes down itself."""

    def __init__(self, folder: Path, tally: Path) -> None:
        tally.write_bytes(bytes(16))
        self.tally = tally
        self.worker = Worker(folder)
        self.worker.tell(f"load {tally}")

    def taken(self) -> tuple[float, float]:
        """Return how many it has taken for sure, and how many it has begun to take."""
        begun, taken = struct.unpack("2d", self.tally.read_bytes())
        return taken, begun


@pytest.fixture
def exporters(tmp_path: Path) -> Iterator[list[ExporterProcess]]:
    """One exporter, and those that take its place; the last one is ended."""
    exporters = [ExporterProcess(tmp_path / "pools")]
    yield exporters
    exporters[-1].kill()


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[list[Loaded]]:
    loaded = [Loaded(tmp_path / "pools", tmp_path / f"tally-{n}") for n in range(WORKERS)]
    yield loaded
    for one in loaded:
        one.worker.kill()


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def fallen(before: Samples, after: Samples) -> list[Any]:
    """Return counters that have fallen, or are gone."""
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
def test_nothing_is_lost_or_counted_twice(
    tmp_path: Path, loaded: list[Loaded], exporters: list[ExporterProcess]
) -> None:
    folder = tmp_path / "pools"
    dead: list[Loaded] = []
    samples: Samples = {}
    scrapes = 0
    restarts = [KILLS * (n + 1) // (RESTARTS + 1) for n in range(RESTARTS)]
    for number in range(KILLS):
        victim = loaded.pop(0)
        enough, taken = scrapes + SCRAPES, victim.taken()[0] + TAKEN
        while scrapes < enough or victim.taken()[0] < taken:
            after = exporters[-1].scrape()
            scrapes += 1
            assert [] == fallen(samples, after)
            samples = after
        victim.worker.kill()
        dead.append(victim)
        loaded.append(Loaded(folder, tmp_path / f"tally-{WORKERS + number}"))
        if number in restarts:
            exporters[-1].kill()
            exporters.append(ExporterProcess(folder))

    for one in loaded:
        one.worker.kill()
    after = exporters[-1].scrape()
    assert [] == fallen(samples, after)
    tallies = [one.taken() for one in dead + loaded]
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

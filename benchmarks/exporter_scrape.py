"""
The CPU time of a scrape of the exporter, and how it grows with the number of processes.

    exporter_scrape.py [PROCESSES ...]    default: 16 32 64; each with 20 pools

Each process is a fork that holds a few connections of each of its pools. A scrape scans the folder
and writes the text. It is measured twice: with pools that nobody uses between two scrapes, and with
pools that are all used.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import APPLICATION, Function
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.folder import Folder
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.metrics.exporter_families import Scrape
from poolscope.metrics.exposition import expose
from poolscope.readings.limits import Limits
from poolscope.readings.pool_config import PoolConfig

POOLS: Final = 20
SCRAPES: Final = 20


def make_ledgers(folder: Path) -> list[Ledger]:
    """Return the ledgers of pools with connections in use and idle."""
    shared = Folder(folder)
    ledgers = []
    for number in range(POOLS):
        facts = {
            "pool": f"pool-{number}",
            "kind": "sqlalchemy",
            "info": ("QueuePool", "psycopg", "2.1.9"),
            "setup": PoolConfig(limit=10.0)._asdict(),
        }
        segments = shared.segments(facts, lambda: sys.exit("the pool cannot write a segment"))
        ledger = Ledger(Limits(10, 5, 0), time.monotonic, 60.0, segments)
        for key in range(5):
            function = Function(None, APPLICATION, "shop.py", f"f{key}", f"shop:f{key}")
            borrower, now = Borrower(function, key, key, f"Task-{key}"), time.monotonic()
            ledger.served(key, now, now - 0.001, borrower, reused=False)
        ledger.returned(0, time.monotonic())
        ledgers.append(ledger)
    return ledgers


def fork(folder: Path) -> Child:
    """Start a process that has pools; return it once it has created them."""
    command, answer = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        ledgers = make_ledgers(folder)
        while True:
            os.write(answer[1], b"!")
            os.read(command[0], 1)
            for ledger in ledgers:
                for _ in range(3):
                    asked = time.monotonic()
                    ledger.begin(0, asked, ALWAYS_HELD, 2, Borrower(None, 0, "task", "Task-0"))
                    ledger.end(0, time.monotonic())
    # Only the child keeps its ends of the pipes, so that a read ends when the child has failed.
    os.close(command[0])
    os.close(answer[1])
    forked = Child(child, command[1], answer[0])
    forked.wait()
    return forked


class Child(NamedTuple):
    """A process that uses its pools when it is told to."""

    pid: int
    command: int
    answer: int

    def use(self) -> None:
        """Let the process use each of its pools; return when it has done so."""
        os.write(self.command, b"!")
        self.wait()

    def wait(self) -> None:
        if not os.read(self.answer, 1):
            sys.exit("a process has failed")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.command)
        os.close(self.answer)


def scrape_seconds(processes: int, busy: bool) -> float:
    """Return the CPU seconds of the fastest scrape of that many processes."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "pools"
        fleet = Fleet(folder)
        children = [fork(folder) for _ in range(processes)]
        try:
            times = []
            for _ in range(SCRAPES):
                for child in children if busy else ():
                    child.use()
                started = time.process_time()
                view = fleet.scan()
                expose(Scrape(view, 0.0, "1.2.3"), "")
                times.append(time.process_time() - started)
            if sum(report.reading.in_use for report in view.reports) != processes * POOLS * 4:
                sys.exit("the scrape is not complete")
            return min(times)
        finally:
            for child in children:
                child.kill()
            fleet.close()


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:]] or [16, 32, 64]
    for busy in (False, True):
        first = None
        sys.stdout.write(f"All pools {'are' if busy else 'are not'} used between two scrapes:\n")
        for number in numbers:
            seconds = scrape_seconds(number, busy)
            per_process = seconds / number
            first = first or per_process
            sys.stdout.write(
                f"{number:4} processes with {POOLS} pools: {seconds * 1000:7.1f} ms of CPU per "
                f"scrape, {per_process * 1e6:6.0f} us per process, "
                f"{per_process / first:.2f} times that of the first line\n"
            )


if __name__ == "__main__":
    main()

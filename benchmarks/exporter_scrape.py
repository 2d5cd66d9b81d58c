"""
What a scrape of the exporter costs, by the number of processes: CPU time, and its growth.

    exporter_scrape.py [PROCESSES ...]    default: 16 32 64; each with 20 pools

Each process is a fork that holds a few connections of each of its pools. A scrape is a look at the
folder, and the text that comes of it: once while nothing happens between two scrapes, as with pools
that are not used, and once while every pool of every process is.
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
from poolscope.exporter.exposition import expose
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.folder import Folder
from poolscope.ledger.holds import ALWAYS_HELD
from poolscope.ledger.ledger import Ledger
from poolscope.metrics.exporter_families import Scrape
from poolscope.readings.limits import Limits
from poolscope.readings.pool_config import PoolConfig

POOLS: Final = 20
SCRAPES: Final = 20


def use(folder: Path) -> list[Ledger]:
    """Have pools, each with connections in use and idle."""
    shared = Folder(folder)
    ledgers = []
    for number in range(POOLS):
        facts = {
            "pool": f"pool-{number}",
            "kind": "sqlalchemy",
            "info": ("QueuePool", "psycopg", "2.1.9"),
            "setup": PoolConfig(limit=10.0)._asdict(),
        }
        segments = shared.segments(facts, lambda: sys.exit("it cannot be shared"))
        ledger = Ledger(Limits(10, 5, 0), time.monotonic, 60.0, segments)
        for key in range(5):
            function = Function(None, APPLICATION, "shop.py", f"f{key}", f"shop:f{key}")
            who, now = Borrower(function, key, key, f"Task-{key}"), time.monotonic()
            ledger.served(key, now, now - 0.001, who, reused=False)
        ledger.returned(0, time.monotonic())
        ledgers.append(ledger)
    return ledgers


def fork(folder: Path) -> Child:
    """Begin a process that has pools; return it once it has them."""
    told, answered = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        ledgers = use(folder)
        while True:
            os.write(answered[1], b"!")
            os.read(told[0], 1)
            for ledger in ledgers:
                for _ in range(3):
                    asked = time.monotonic()
                    ledger.begin(0, asked, ALWAYS_HELD, 2, Borrower(None, 0, "task", "Task-0"))
                    ledger.end(0, time.monotonic())
    # What the child has, so that nobody waits for one that has failed.
    os.close(told[0])
    os.close(answered[1])
    forked = Child(child, told[1], answered[0])
    forked.wait()
    return forked


class Child(NamedTuple):
    """A process with pools, which it uses when it is told to."""

    pid: int
    tell: int
    answer: int

    def use(self) -> None:
        os.write(self.tell, b"!")
        self.wait()

    def wait(self) -> None:
        if not os.read(self.answer, 1):
            sys.exit("a process has failed")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.tell)
        os.close(self.answer)


def seconds_of_a_scrape(processes: int, busy: bool) -> float:
    """Return the CPU seconds of the quickest scrape of that many processes."""
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
            seconds = seconds_of_a_scrape(number, busy)
            each = seconds / number
            first = first or each
            sys.stdout.write(
                f"{number:4} processes with {POOLS} pools: {seconds * 1000:7.1f} ms of CPU a "
                f"scrape, {each * 1e6:6.0f} us each process, {each / first:.2f} of the first\n"
            )


if __name__ == "__main__":
    main()

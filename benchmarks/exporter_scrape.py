"""
What a scrape of the exporter costs, by the number of processes: CPU time, and its growth.

    exporter_scrape.py [PROCESSES ...]    default: 16 32 64; each with 20 pools

Each process is a fork that holds a few connections of each of its pools. A scrape is a look at the
folder, and the text that comes of it.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from poolscope.exporter_metrics import Scrape
from poolscope.findings import Setup
from poolscope.fleet import Fleet
from poolscope.folder import Folder
from poolscope.holders import Who
from poolscope.ledger import Ledger
from poolscope.server.exposition import expose
from poolscope.sites import APPLICATION, Function
from poolscope.tally import Limits

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
            "setup": Setup(limit=10.0)._asdict(),
        }
        segments = shared.segments(facts, lambda: sys.exit("it cannot be shared"))
        ledger = Ledger(Limits(10, 5, 0), time.monotonic, 60.0, segments)
        for key in range(5):
            function = Function(None, APPLICATION, "shop.py", f"f{key}", f"shop:f{key}")
            who, now = Who(function, key, key, f"Task-{key}"), time.monotonic()
            ledger.served(key, now, now - 0.001, who, reused=False)
        ledger.returned(0, time.monotonic())
        ledgers.append(ledger)
    return ledgers


def fork(folder: Path) -> int:
    """Begin a process that has pools; return its id once it has them."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        ledgers = use(folder)
        os.write(writing, b"!")
        signal.pause()
        os._exit(len(ledgers))
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    return child


def seconds_of_a_scrape(processes: int) -> float:
    """Return the CPU seconds of the quickest scrape of that many processes."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "pools"
        fleet = Fleet(folder)
        children = [fork(folder) for _ in range(processes)]
        try:
            times = []
            for _ in range(SCRAPES):
                started = time.process_time()
                view = fleet.look()
                expose(Scrape(view, 0.0), "")
                times.append(time.process_time() - started)
            if sum(report.reading.in_use for report in view.reports) != processes * POOLS * 4:
                sys.exit("the scrape is not complete")
            return min(times)
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            fleet.close()


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:]] or [16, 32, 64]
    first = None
    for number in numbers:
        seconds = seconds_of_a_scrape(number)
        each = seconds / number
        first = first or each
        sys.stdout.write(
            f"{number:4} processes with {POOLS} pools: {seconds * 1000:7.1f} ms of CPU a scrape, "
            f"{each * 1e6:6.0f} us each process, {each / first:.2f} of the first row's\n"
        )


if __name__ == "__main__":
    main()

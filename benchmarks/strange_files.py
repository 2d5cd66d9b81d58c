"""
How long a scan of a folder takes that has many files with random content.

    strange_files.py [FILES]    default: 10000

First the files belong to no process, then to processes that have ended. Each scan deals with some
of the latter.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Final

from poolscope.fleet.fleet import Fleet

SCANS: Final = 5
SIZE: Final = 5000


def fill(folder: Path, files: int, *, processes: bool) -> None:
    """Write segments with random content; with `processes`, each has a file of its process."""
    for number in range(1, files + 1):
        name = f"{number}-{uuid.uuid4().hex}"
        (folder / f"{name}.1.pool").write_bytes(os.urandom(SIZE))
        if processes:
            (folder / f"{name}.process").touch()


def slowest_scan(files: int, *, processes: bool) -> float:
    """Return the wall time of the slowest scan, in seconds."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "pools"
        fleet = Fleet(folder)
        fill(folder, files, processes=processes)
        slowest = 0.0
        for _ in range(SCANS):
            started = time.perf_counter()
            view = fleet.scan()
            slowest = max(slowest, time.perf_counter() - started)
            if view.bad + view.gone < files:
                sys.exit("the scan has missed some files")
        fleet.close()
        return slowest


def main() -> None:
    # Each file that is put aside is logged.
    logging.getLogger("poolscope").addHandler(logging.NullHandler())
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for owner, processes in (("no process", False), ("processes that have ended", True)):
        seconds = slowest_scan(files, processes=processes)
        sys.stdout.write(
            f"{files} strange files of {owner}: {seconds:.2f} s for the slowest scan\n"
        )


if __name__ == "__main__":
    main()

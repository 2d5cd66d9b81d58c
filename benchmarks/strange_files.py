"""
What a look at a folder costs in which there are many files that are not what they should be.

    strange_files.py [FILES]    default: 10000

First of no process, then of processes that are gone; each look takes care of some of the latter.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Final

from poolscope.fleet.fleet import Fleet

LOOKS: Final = 5
SIZE: Final = 5000


def fill(folder: Path, files: int, *, processes: bool) -> None:
    for number in range(1, files + 1):
        name = f"{number}-{uuid.uuid4().hex}"
        (folder / f"{name}.1.pool").write_bytes(os.urandom(SIZE))
        if processes:
            (folder / f"{name}.process").touch()


def slowest_look(files: int, *, processes: bool) -> float:
    """Return the seconds that the slowest of some looks has taken."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "pools"
        fleet = Fleet(folder)
        fill(folder, files, processes=processes)
        slowest = 0.0
        for _ in range(LOOKS):
            started = time.perf_counter()
            view = fleet.scan()
            slowest = max(slowest, time.perf_counter() - started)
            if view.bad + view.gone < files:
                sys.exit("not all of them were seen")
        fleet.close()
        return slowest


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    for what, processes in (("no process", False), ("processes that are gone", True)):
        seconds = slowest_look(files, processes=processes)
        sys.stdout.write(f"{files} strange files of {what}: {seconds:.2f} s the slowest look\n")


if __name__ == "__main__":
    main()

"""
Looks at a folder as the exporter does, in a process of its own.

The process of a test must not do that itself while it has pools in the folder: to close the file
that it has locked would release the lock.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from poolscope.fleet.fleet import Fleet
from poolscope.readings.reading import Reading


class Look(NamedTuple):
    """The sums of one name: its reading, and how many pools there ever were."""

    reading: Reading
    created: int


class Looker:
    """Another process that looks at the folder whenever it is asked."""

    def __init__(self, folder: Path) -> None:
        started = subprocess.Popen(
            [sys.executable, "-m", "support.looks", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        self._process: Any = started  # Any: the types of its pipes are optional
        self._before: dict[str, list[float]] = {}

    def look(self) -> dict[str, Look]:
        """Return what the exporter sees, by name; fail if a counter has fallen."""
        self._process.stdin.write("look\n")
        self._process.stdin.flush()
        rows: dict[str, list[Any]] = json.loads(self._process.stdout.readline())
        looks = {}
        for name, (values, created) in rows.items():
            reading = Reading.of(values)
            counters = reading.counters_only()._replace(closed=reading.closed).values()
            before = self._before.get(name, counters)
            fallen = [pair for pair in zip(before, counters, strict=True) if pair[0] > pair[1]]
            assert [] == fallen
            self._before[name] = counters
            looks[name] = Look(reading, created)
        assert self._before.keys() == looks.keys()
        return looks

    def end(self) -> None:
        self._process.communicate()


def main(folder: Path) -> None:
    fleet = Fleet(folder)
    for _ in sys.stdin:
        reports = fleet.scan().reports
        rows = {report.pool: (report.reading.values(), report.created) for report in reports}
        sys.stdout.write(json.dumps(rows) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

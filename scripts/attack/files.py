"""
Attacks on the files that processes share: is a number lost, counted twice, or does anything grow?

Workers use pools, dispose of them and fork. Meanwhile workers and the exporter are killed, their
descriptors run out, and the disk is full for a while, which takes root. Each worker writes down
what it does. In the end the exporter must have counted the same, within one for each kill.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

WORKERS: Final = 4
LONG: Final = 900.0
"""Seconds of the long form."""
DISK: Final = "6m"
"""The size of the disk: enough for the files of live processes, and little more."""
STEP: Final = 0.5
"""Seconds between two attacks."""
MOST_DESCRIPTORS: Final = 30
"""By how many descriptors the exporter may have more than at its start: scrapes take some."""
MOST_MEMORY: Final = 30 * 2**20
"""Bytes by which an exporter may grow after its first ten scrapes."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

ACQUIRED: Final = (
    "connpool_acquires_total",
    frozenset({("pool", "orders"), ("kind", "sqlalchemy"), ("outcome", "ok")}),
)


class EndedError(Exception):
    """A process has ended that nobody has killed."""


class Exporter:
    """The exporter on a free port, with its log in a file."""

    def __init__(self, folder: Path, log: Path) -> None:
        command = [sys.executable, "-m", "poolscope", "exporter", "--dir", str(folder)]
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, "--web.listen-address", "127.0.0.1:0"], stderr=file
            )
        self._url = ""
        self.first: tuple[int, int] | None = None
        self.scrapes = 0

    @property
    def url(self) -> str:
        """The address of its metrics, by its log. Raises OSError if it is not there yet."""
        if not self._url:
            served = re.search(r"serving (\S+)\n", self._log.read_text())
            if served is None:
                raise ConnectionRefusedError
            self._url = served[1]
        return self._url

    def scrape(self, patience: float = 30.0) -> Samples:
        """Return all samples; wait until the exporter answers."""
        until = time.monotonic() + patience
        while True:
            try:
                with urllib.request.urlopen(self.url, timeout=5.0) as answer:
                    text = answer.read().decode()
                break
            except OSError:
                if self.process.poll() is not None:
                    lines = "; ".join(self._log.read_text().splitlines()[-5:])
                    code = self.process.returncode
                    raise EndedError(
                        f"the exporter has ended by itself, with {code}: {lines}"
                    ) from None
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        self.scrapes += 1
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def grown(self) -> tuple[int, int]:
        """Return by how many descriptors and bytes it has grown since its tenth scrape."""
        process = Path("/proc", str(self.process.pid))
        descriptors = len(list((process / "fd").iterdir()))
        memory = int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        if self.scrapes < 10:
            return 0, 0
        self.first = self.first or (descriptors, memory)
        return descriptors - self.first[0], memory - self.first[1]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Attack:
    """The folder with its processes, and what was done to them."""

    def __init__(self, folder: Path, disk: Path | None) -> None:
        self.folder = folder / "pools" if disk is None else disk / "pools"
        self.tallies = folder
        self.disk = disk
        self.log = folder / "exporter.log"
        self.done: Counter[str] = Counter()
        self.harm: list[str] = []
        self.samples: Samples = {}
        self.grown = (0, 0)
        self.first = 0
        self._numbers = itertools.count()
        self.exporter = Exporter(self.folder, self.log)
        self.workers = [self.start() for _ in range(WORKERS)]

    def start(self) -> subprocess.Popen[bytes]:
        self.done["processes"] += 1
        with self.log.with_name("workers.log").open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, str(Path(__file__).with_name("churn.py"))),
                    str(self.tallies / f"{next(self._numbers)}.tally"),
                ],
                env={**os.environ, "POOLSCOPE_DIR": str(self.folder)},
                stderr=log,
            )

    def look(self) -> None:
        """Scrape, and note what has fallen or grown."""
        samples = self.exporter.scrape()
        counters = ("_total", "_bucket", "_count", "_sum")
        for key, value in self.samples.items():
            if key[0].endswith(counters) and samples.get(key, -1.0) < value:
                self.harm.append(f"{key[0]} fell from {value} to {samples.get(key)}")
        self.samples = samples
        descriptors, memory = self.exporter.grown()
        self.grown = max(self.grown[0], descriptors), max(self.grown[1], memory)

    def kill_worker(self) -> None:
        worker = self.workers.pop(0)
        if worker.poll() is not None:
            error = self.log.with_name("workers.log").read_text().strip().splitlines()[-1:]
            self.harm.append(f"a worker has ended by itself, with {worker.returncode}: {error}")
        worker.kill()
        worker.wait()
        self.first += 1
        self.workers.append(self.start())

    def kill_exporter(self) -> None:
        self.exporter.kill()
        self.exporter = Exporter(self.folder, self.log)

    def starve(self, process: subprocess.Popen[bytes]) -> None:
        """Let a process have no further descriptor for a moment."""
        limits = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        used = len(list(Path("/proc", str(process.pid), "fd").iterdir()))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (used, limits[1]))
        time.sleep(STEP)
        if process is self.exporter.process:
            with contextlib.suppress(OSError):
                self.exporter.scrape(patience=0.0)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)

    def starve_worker(self) -> None:
        """Starve one that has begun to work: before that it imports modules, which fails."""
        begun = (self.tallies / f"{self.first}.tally").exists()
        if begun:
            self.starve(self.workers[0])

    def starve_exporter(self) -> None:
        self.starve(self.exporter.process)

    def fill_disk(self) -> None:
        """Fill the disk for a moment, in which processes end."""
        if self.disk is None:
            return
        rubbish = self.disk / "rubbish"
        with contextlib.suppress(OSError), rubbish.open("wb", 0) as file:
            while True:
                file.write(bytes(4096))
        try:
            self.kill_worker()
            self.look()
            time.sleep(STEP)
            self.look()
        finally:
            rubbish.unlink()

    def attacks(self) -> Iterator[Callable[[], None]]:
        """Yield attacks at random; each comes, and most often those that kill workers."""
        every = [self.kill_worker, self.starve_worker, self.starve_exporter, self.fill_disk]
        yield from (*every, self.kill_exporter)
        while True:
            yield random.choice([*every, *[self.kill_worker] * 6, self.kill_exporter])

    def kill_all(self) -> None:
        for process in (*self.workers, self.exporter.process):
            process.kill()
            process.wait()

    def end(self) -> None:
        """Kill the workers, and compare what was counted with what they wrote down."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        until = time.monotonic() + 30.0
        self.look()
        while list(self.folder.glob("*.pool")) and time.monotonic() < until:
            time.sleep(STEP)
            self.look()
        rows = [struct.unpack("2d", path.read_bytes()) for path in self.tallies.glob("*.tally*")]
        most, least = (sum(column) for column in zip(*rows, strict=True))
        counted = self.samples.get(ACQUIRED, 0.0)
        print(
            f"   {dict(self.done)}, {len(rows)} processes with forked ones; {counted:.0f} counted, "
            f"{least:.0f} to {most:.0f} written down; the exporter grew by {self.grown[0]} "
            f"descriptors and {self.grown[1] / 2**20:.1f} MiB at most"
        )
        if not least <= counted <= most or most - least > len(rows):
            self.harm.append(f"{counted} were counted, and {least} to {most} written down")
        if self.grown[0] > MOST_DESCRIPTORS or self.grown[1] > MOST_MEMORY:
            self.harm.append(f"the exporter grew by {self.grown} descriptors and bytes")
        left = [path.name for path in self.folder.iterdir() if path.suffix != ".json"]
        if left != ["exporter.lock"]:
            self.harm.append(f"files are left: {left}")


@contextlib.contextmanager
def small_disk(parent: Path) -> Iterator[Path | None]:
    """Yield a disk of a few MB, or None if this user cannot have one."""
    disk = parent / "disk"
    disk.mkdir()
    mount: Any = shutil.which("mount"), "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)
    if not mount[0] or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run([str(shutil.which("umount")), "-l", str(disk)], check=False)


def attack(seconds: float) -> list[str]:
    """Attack for that long; return what went wrong, a line each."""
    with tempfile.TemporaryDirectory() as parent, small_disk(Path(parent)) as disk:
        tried = Attack(Path(parent), disk)
        until = time.monotonic() + seconds
        try:
            for step in tried.attacks():
                if time.monotonic() > until:
                    break
                tried.look()
                step()
                tried.done[step.__name__] += 1
                time.sleep(STEP)
            tried.end()
        except EndedError as error:
            tried.harm.append(str(error))
        finally:
            tried.kill_all()
        return tried.harm


def run() -> list[str]:
    """Run the long form; return what went wrong, a line each."""
    return attack(LONG)

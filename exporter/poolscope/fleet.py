"""
Many processes -> one view: those that live, and what those had that are gone.

A process that is gone is folded into totals, which lie in the folder too: first the totals are
replaced, with its name in them, then its files are removed. Whatever happens in between, its name
tells that it was counted.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Final

import poolscope
from poolscope.findings import Case, findings_of
from poolscope.folder import POOL, PROCESS, FolderError, check
from poolscope.holders import Hold, SharedSites, longest_first
from poolscope.ledger import Clock
from poolscope.mapped import BadFileError, PoolFile, PoolView, opened
from poolscope.reading import Reading
from poolscope.report import Report
from poolscope.totals import TOTALS, Totals

LOCK: Final = "exporter.lock"

logger = logging.getLogger("poolscope.exporter")

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ProcessView:
    """A process that lives, and its pools."""

    pid: int
    pools: tuple[PoolView, ...]


@dataclass(frozen=True, slots=True)
class View:
    """
    What there is at one moment.

    reports: of each name and kind, the sum of all processes, those that are gone included.
    fullest: of each name and kind, the share of its connections that is in use or being opened in
        the fullest single process; 0 to 1.
    gone: how many processes there were and are no more.
    bad: files that are not what they should be.
    version: that of the exporter.
    """

    reports: tuple[Report, ...]
    processes: tuple[ProcessView, ...]
    fullest: dict[Key, float]
    gone: int
    bad: int
    version: str = poolscope.__version__

    @property
    def holds(self) -> list[Hold]:
        """Who has a connection in any process, the longest hold first."""
        pools = [pool for process in self.processes for pool in process.pools]
        return longest_first(hold for pool in pools for hold in pool.holds)


class Fleet:
    """
    The folder, as its one exporter sees it.

    Raises FolderError if it cannot be used, or another exporter uses it.
    """

    def __init__(self, folder: Path, clock: Clock = time.monotonic) -> None:
        check(folder)
        self._folder = folder
        self._clock = clock
        self._lock: int | None = _be_the_only_one(folder / LOCK)
        self._totals = Totals.load(folder / TOTALS)
        self._known: dict[str, PoolFile] = {}
        self._sites: defaultdict[Key, SharedSites] = defaultdict(SharedSites)
        for key, total in self._totals.pools.items():
            self._sites[key].ended(total.sites())

    def close(self) -> None:
        """Let another exporter have the folder."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def look(self) -> View:
        """Read all processes, and fold those that are gone."""
        processes, pools = self._list()
        self._known = {name: file for name, file in self._known.items() if name in pools}
        now, bad = self._clock(), 0
        live: list[ProcessView] = []
        unfolded: list[PoolView] = []
        for name in processes:
            try:
                with _last_seen(self._folder / f"{name}{PROCESS}", now) as seen:
                    own = [pool for pool in pools if pool.startswith(f"{name}.")]
                    read, wrong = self._read(own, now, seen)
                    bad += wrong
                    if seen is None:
                        live.append(ProcessView(_pid_of(name), tuple(read)))
                    elif not self._fold(name, read, own):
                        unfolded += read
            except FileNotFoundError:
                continue
            except (BadFileError, OSError):
                bad += 1
        bad += sum(pool.rpartition(".")[0].rpartition(".")[0] not in processes for pool in pools)
        return self._view(live, unfolded, bad)

    def _list(self) -> tuple[set[str], list[str]]:
        """Return the names of the processes, and those of the files of their pools."""
        names = [entry.name for entry in os.scandir(self._folder)]
        shown = [name for name in names if not name.startswith(".")]
        processes = {name.removesuffix(PROCESS) for name in shown if name.endswith(PROCESS)}
        return processes, [name for name in shown if name.endswith(POOL)]

    def _read(
        self, names: Iterable[str], now: float, seen: float | None
    ) -> tuple[list[PoolView], int]:
        """Return what is in files of one process, and how many of them are bad."""
        views, bad = [], 0
        for name in names:
            try:
                file = self._known.get(name)
                if file is None:
                    file = self._known[name] = PoolFile(self._folder / name, _pid_of(name))
                views.append(file.read(now, seen))
            except FileNotFoundError:
                continue
            except (BadFileError, OSError):
                bad += 1
        return views, bad

    def _fold(self, name: str, views: list[PoolView], files: Iterable[str]) -> bool:
        """Add what a process had to the totals, once; return False if they cannot be written."""
        if name not in self._totals.folded:
            left = [n for n in self._totals.folded if (self._folder / f"{n}{PROCESS}").exists()]
            totals = self._totals.with_process(name, views, left)
            try:
                totals.save(self._folder / TOTALS)
            except OSError as error:
                logger.warning("cannot write %s: %s", self._folder / TOTALS, error)
                return False
            self._totals = totals
            for view in views:
                self._sites[view.pool, view.kind].ended(view.sites)
        for file in files:
            (self._folder / file).unlink(missing_ok=True)
        (self._folder / f"{name}{PROCESS}").unlink(missing_ok=True)
        return True

    def _view(self, live: list[ProcessView], unfolded: list[PoolView], bad: int) -> View:
        pools: defaultdict[Key, list[PoolView]] = defaultdict(list)
        fullest: dict[Key, float] = {}
        for process in live:
            shares: defaultdict[Key, list[Reading]] = defaultdict(list)
            for view in process.pools:
                pools[view.pool, view.kind].append(view)
                shares[view.pool, view.kind].append(view.reading)
            for key, readings in shares.items():
                fullest[key] = max(fullest.get(key, 0.0), utilisation(readings))
        gone: defaultdict[Key, list[Reading]] = defaultdict(list)
        for view in unfolded:
            gone[view.pool, view.kind].append(view.reading.ended())
        keys = sorted({*pools, *gone, *self._totals.pools})
        return View(
            reports=tuple(self._report(key, pools[key], gone[key]) for key in keys),
            processes=tuple(live),
            fullest=fullest,
            gone=self._totals.processes,
            bad=bad,
        )

    def _report(self, key: Key, views: list[PoolView], gone: list[Reading]) -> Report:
        total = self._totals.pools.get(key)
        readings = [view.reading for view in views] + gone
        created = len(readings)
        if total is not None:
            readings.append(total.reading)
            created += total.created
        reading = reduce(add, readings)
        cases = [Case(view.setup, reading, created, view.seen) for view in views]
        return Report(
            pool=key[0],
            kind=key[1],
            reading=reading,
            created=created,
            infos=tuple(sorted({view.info for view in views})),
            sites=self._sites[key].added(site for view in views for site in view.sites),
            findings=findings_of(*key, cases),
        )


def utilisation(readings: Iterable[Reading]) -> float:
    """Return which share of the connections that pools allow is in use or being opened; 0 to 1."""
    reading = reduce(add, readings)
    return (reading.in_use + reading.opening) / reading.limit if reading.limit else 0.0


def _pid_of(name: str) -> int:
    """Return the process id in the name of a file; 0 if there is none."""
    pid = name.partition("-")[0]
    return int(pid) if pid.isascii() and pid.isdigit() else 0


@contextmanager
def _last_seen(path: Path, now: float) -> Iterator[float | None]:
    """
    Yield when the process of the file was last seen alive, or None if it lives.

    One that has ended is ours meanwhile. The time of the file tells, in seconds of
    `time.monotonic`, so that an exporter that begins anew knows it too; 0 stands for never.
    """
    with opened(path, os.O_RDWR) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.utime(file, ns=(int(now * 1e9), int(now * 1e9)))
            yield None
        else:
            seen = os.fstat(file).st_mtime_ns / 1e9
            # Nobody has looked since it began, or since the machine did.
            yield seen if seen <= now else 0.0


def _be_the_only_one(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise FolderError(f"{path}: {error.strerror}; the exporter must write there") from error
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise FolderError(f"another exporter reads {path.parent}; one is enough") from error
    return file

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
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from poolscope.fleet.commitments import commitments
from poolscope.fleet.folder import POOL, PROCESS, FolderError, check
from poolscope.fleet.pool_view import BadFileError, PoolView
from poolscope.fleet.segment_reader import OwnRegularFile, PoolFile
from poolscope.fleet.totals import TOTALS, Totals
from poolscope.readings.database_servers import ServerReading
from poolscope.readings.findings import Commitment, PoolEvidence, findings_of
from poolscope.readings.holders import Hold, longest_first
from poolscope.readings.limits import Clock
from poolscope.readings.reading import IN_USE, LIMIT, OPENING, Monotonic, Reading, add
from poolscope.readings.report import Report
from poolscope.readings.sites import SharedSites

LOCK: Final = "exporter.lock"

MAX_PROCESSES_PER_SCAN: Final = 100
"""Processes that are folded in one look, with a descriptor each; the next ones in the next."""

logger = logging.getLogger("poolscope.exporter")

_IS_PROCESS: Final = re.compile(rf"\d+-[0-9a-f]{{32}}{re.escape(PROCESS)}", re.ASCII)

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ProcessView:
    """A process that lives, and its pools."""

    pid: int
    pools: tuple[PoolView, ...]


@dataclass(frozen=True, slots=True)
class FleetView:
    """
    What there is at one moment.

    reports: of each name and kind, the sum of all processes, those that are gone included.
    fullest: of each name and kind, the share of its connections that is in use or being opened in
        the fullest single process; 0 to 1.
    gone: how many processes there were and are no more.
    bad: files that are not what they should be.
    """

    reports: tuple[Report, ...]
    processes: tuple[ProcessView, ...]
    fullest: dict[Key, float]
    gone: int
    bad: int

    @property
    def holds(self) -> list[Hold]:
        """Who has a connection in any process, the longest hold first."""
        pools = [pool for process in self.processes for pool in process.pools]
        return longest_first(hold for pool in pools for hold in pool.holds())


class Fleet:
    """
    The folder, as its one exporter sees it.

    Raises FolderError if it cannot be used, or another exporter uses it.
    """

    def __init__(self, folder: Path, clock: Clock = time.monotonic) -> None:
        check(folder)
        self._folder = folder
        self._clock = clock
        self._lock: int | None = _lock_folder(folder / LOCK)
        self._totals = Totals.load(folder / TOTALS)
        self._known: dict[str, PoolFile] = {}
        self._sites: defaultdict[Key, SharedSites] = defaultdict(SharedSites)
        self._monotonic: defaultdict[Key, Monotonic] = defaultdict(Monotonic)
        for key, total in self._totals.pools.items():
            self._sites[key].ended(total.sites())

    def close(self) -> None:
        """Let another exporter have the folder."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def scan(self, servers: Sequence[ServerReading] = ()) -> FleetView:
        """
        Read all processes, and fold those that are gone, at most `MAX_PROCESSES_PER_SCAN` of them.

        servers: what database servers said last, for what is promised to them.
        """
        processes, pools, bad = self._list()
        now = self._clock()
        live: list[ProcessView] = []
        gone: dict[str, list[PoolView]] = {}
        unfolded: list[PoolView] = []
        with ExitStack() as claims:
            for name in processes:
                try:
                    with ExitStack() as claim:
                        seen = claim.enter_context(_last_seen(self._folder / name, now))
                        read, wrong = self._read(pools[name], now, seen)
                        bad += wrong
                        if seen is None:
                            live.append(ProcessView(_pid_of(name), tuple(read)))
                        elif len(gone) < MAX_PROCESSES_PER_SCAN:
                            gone[name] = read
                            claims.push(claim.pop_all())
                        elif name not in self._totals.folded:
                            unfolded += read
                except FileNotFoundError:
                    continue
                except (BadFileError, OSError):
                    bad += 1
            if gone and not self._fold(gone, pools):
                unfolded += [view for read in gone.values() for view in read]
        return self._view(live, unfolded, bad, servers)

    def _list(self) -> tuple[list[str], dict[str, list[str]], int]:
        """Return the files of processes, those of the pools of each, and how many are of none."""
        names = [entry.name for entry in os.scandir(self._folder)]
        names = [name for name in names if not name.startswith(".")]
        processes = [name for name in names if _IS_PROCESS.fullmatch(name)]
        pools: dict[str, list[str]] = {name: [] for name in processes}
        # What has another name is of others, and is never removed.
        bad = sum(name.endswith(PROCESS) for name in names) - len(processes)
        for name in names:
            if name.endswith(POOL):
                # NAME.1.pool is of the process of NAME.process.
                process = name.removesuffix(POOL).rpartition(".")[0] + PROCESS
                if process in pools:
                    pools[process].append(name)
                else:
                    bad += 1
        known = {pool for own in pools.values() for pool in own}
        self._known = {name: file for name, file in self._known.items() if name in known}
        return processes, pools, bad

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

    def _fold(self, gone: dict[str, list[PoolView]], pools: dict[str, list[str]]) -> bool:
        """Add what processes had to the totals, once; return False if they cannot be written."""
        new = {name: views for name, views in gone.items() if name not in self._totals.folded}
        if new:
            left = [name for name in self._totals.folded if (self._folder / name).exists()]
            totals = self._totals.with_processes(new, left)
            try:
                totals.save(self._folder / TOTALS)
            except OSError as error:
                logger.warning("cannot write %s: %s", self._folder / TOTALS, error)
                return False
            self._totals = totals
            for view in (view for views in new.values() for view in views):
                self._sites[view.pool, view.kind].ended(view.sites())
        for name in gone:
            for file in (*pools[name], name):
                # What cannot be removed was counted, and must not stop the look.
                with suppress(OSError):
                    (self._folder / file).unlink()
        return True

    def _view(
        self,
        live: list[ProcessView],
        unfolded: list[PoolView],
        bad: int,
        servers: Sequence[ServerReading],
    ) -> FleetView:
        pools: defaultdict[Key, list[PoolView]] = defaultdict(list)
        fullest: dict[Key, float] = {}
        for process in live:
            shares: dict[Key, list[list[float]]] = {}
            for view in process.pools:
                key = view.pool, view.kind
                pools[key].append(view)
                shares.setdefault(key, []).append(view.values)
            for key, rows in shares.items():
                fullest[key] = max(fullest.get(key, 0.0), utilization(rows))
        gone: defaultdict[Key, list[list[float]]] = defaultdict(list)
        for view in unfolded:
            gone[view.pool, view.kind].append(view.reading.ended().values())
        keys = sorted({*pools, *gone, *self._totals.pools})
        sums = {key: self._sum(key, pools[key], gone[key]) for key in keys}
        promised = commitments(servers, _limits_of_databases(pools))
        return FleetView(
            reports=tuple(
                self._report(key, pools[key], *sums[key], promised.get(key[0], ())) for key in keys
            ),
            processes=tuple(live),
            fullest=fullest,
            gone=self._totals.processes,
            bad=bad,
        )

    def _sum(self, key: Key, views: list[PoolView], gone: list[list[float]]) -> tuple[Reading, int]:
        """Return the sum of all pools of one name and kind, and how many there ever were."""
        rows = [view.values for view in views] + gone
        created = len(rows)
        total = self._totals.pools.get(key)
        if total is not None:
            rows.append(total.reading.values())
            created += total.created
        return Reading.of(self._monotonic[key].clamp(add(rows))), created

    def _report(
        self,
        key: Key,
        views: list[PoolView],
        reading: Reading,
        created: int,
        promised: Sequence[Commitment],
    ) -> Report:
        # Most processes are alike, and would only be found to be so again.
        by_config = {view.config_id: view for view in views}.values()
        cases = [
            PoolEvidence(view.config, reading, created, view.seen, promised) for view in by_config
        ]
        return Report(
            pool=key[0],
            kind=key[1],
            reading=reading,
            created=created,
            infos=tuple(sorted({view.info for view in by_config})),
            sites=self._sites[key].added(chain.from_iterable(view.each_site() for view in views)),
            findings=findings_of(*key, cases),
        )


def _limits_of_databases(pools: Mapping[Key, list[PoolView]]) -> dict[str, float]:
    """Return by name how many connections to a database all processes may have."""
    limits: defaultdict[str, float] = defaultdict(float)
    for (name, _), views in pools.items():
        for view in views:
            if view.config.database:
                limits[name] += view.values[LIMIT]
    return dict(limits)


def utilization(rows: Sequence[Sequence[float]]) -> float:
    """
    Return which share of the connections that pools allow is in use or being opened; 0 to 1.

    rows: the values of their readings.
    """
    limit = used = 0.0
    for row in rows:
        limit += row[LIMIT]
        used += row[IN_USE] + row[OPENING]
    return used / limit if limit else 0.0


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
    with OwnRegularFile(str(path), os.O_RDWR) as (file, _):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.utime(file, ns=(int(now * 1e9), int(now * 1e9)))
            yield None
        else:
            seen = os.fstat(file).st_mtime_ns / 1e9
            # Nobody has looked since it began, or since the machine did.
            yield seen if seen <= now else 0.0


def _lock_folder(path: Path) -> int:
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

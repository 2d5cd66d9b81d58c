"""
The view of many processes: those that live, and the counters of those that have ended.

A process that has ended is folded into the totals, a file in the same folder: first the totals are
replaced, with the name of the process in them, then its files are removed. If the exporter dies in
between, the name in the totals tells that the process was counted.
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
from poolscope.fleet.stops import Stops, is_stopped, owner_of
from poolscope.fleet.totals import TOTALS, Total, Totals
from poolscope.process.pauses import Pause
from poolscope.readings.database_servers import ServerReading
from poolscope.readings.findings import Commitment, PoolEvidence, findings_of
from poolscope.readings.holders import Hold, longest_first
from poolscope.readings.labels import OTHER_POOLS
from poolscope.readings.limits import Clock
from poolscope.readings.reading import IN_USE, LIMIT, OPENING, Monotonic, Reading, sum_values
from poolscope.readings.report import Report
from poolscope.readings.saturation import too_small
from poolscope.readings.sites import SharedSites

LOCK: Final = "exporter.lock"

MAX_PROCESSES_PER_SCAN: Final = 100
"""How many processes one scan folds, because each keeps a descriptor open meanwhile."""

logger = logging.getLogger("poolscope.exporter")

_IS_PROCESS: Final = re.compile(rf"\d+-[0-9a-f]{{32}}{re.escape(PROCESS)}", re.ASCII)

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ProcessView:
    """A live process, and its pools."""

    pid: int
    pools: tuple[PoolView, ...]


@dataclass(frozen=True, slots=True)
class FleetView:
    """
    All processes at one moment.

    processes: those that live, without those that only fork others which use their pools.
    reports: for each name and kind, the sum of all processes, including those that have ended.
    fullest: for each name and kind, the utilization in the process where it is highest, 0 to 1.
    gone: how many processes have ended and were folded into the totals.
    bad: how many files are not what their names say, and were skipped.
    """

    reports: tuple[Report, ...]
    processes: tuple[ProcessView, ...]
    fullest: dict[Key, float]
    gone: int
    bad: int

    @property
    def holds(self) -> list[Hold]:
        """The connections in use in all live processes, the oldest hold first."""
        pools = [pool for process in self.processes for pool in process.pools]
        return longest_first(hold for pool in pools for hold in pool.holds())


class Fleet:
    """
    Reads the folder for its only exporter.

    Raises FolderError if the folder cannot be used, or if another exporter uses it.
    """

    def __init__(self, folder: Path, clock: Clock = time.monotonic) -> None:
        check(folder)
        self._folder = folder
        self._clock = clock
        self._lock: int | None = _lock_folder(folder / LOCK)
        self._totals = Totals.load(folder / TOTALS)
        self._known: dict[str, PoolFile] = {}
        self._stops = Stops()
        # The processes that others were forked from after they had watched a pool.
        self._parents: set[str] = set()
        self._sites: defaultdict[Key, SharedSites] = defaultdict(SharedSites)
        self._monotonic: defaultdict[Key, Monotonic] = defaultdict(Monotonic)
        for key, total in self._totals.pools.items():
            self._sites[key].add_ended(total.sites())

    def close(self) -> None:
        """Release the folder, so that another exporter can use it."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def scan(self, servers: Sequence[ServerReading] = ()) -> FleetView:
        """
        Read all processes, and fold up to `MAX_PROCESSES_PER_SCAN` of those that have ended.

        servers: the last readings of database servers, for the commitments of the pools.
        """
        bad: list[str] = []
        files = self._list(bad)
        now = self._clock()
        live: dict[str, list[PoolView]] = {}
        ended: dict[str, list[PoolView]] = {}
        unfolded: list[PoolView] = []
        with ExitStack() as locks:
            for name, last_seen, lock in self._processes(files, now, bad):
                stops = self._stops_of(name, now) if last_seen is None else ()
                views = self._read(files[name], now, last_seen, bad, stops)
                if last_seen is None:
                    live[name] = views
                elif len(ended) < MAX_PROCESSES_PER_SCAN:
                    ended[name] = views
                    locks.push(lock.pop_all())  # until its files are removed
                elif name not in self._totals.folded:
                    unfolded += views
            others = chain(unfolded, *live.values())
            if ended and not self._fold(ended, files, {(pool.pool, pool.kind) for pool in others}):
                unfolded += chain.from_iterable(ended.values())
        for name in self._parents & live.keys():
            for view in live[name]:
                if view.unused:
                    view.rest()
        return self._view(live, unfolded, len(bad), servers)

    def _list(self, bad: list[str]) -> dict[str, list[str]]:
        """Return the files of pools by the file of their process; add other files to `bad`."""
        names = [entry.name for entry in os.scandir(self._folder)]
        names = [name for name in names if not name.startswith(".")]
        files: dict[str, list[str]] = {name: [] for name in names if _IS_PROCESS.fullmatch(name)}
        # A file with a name of another form is not ours, and is never removed.
        bad += [name for name in names if name.endswith(PROCESS) and name not in files]
        for name in names:
            if name.endswith(POOL):
                # NAME.1.pool belongs to the process of NAME.process.
                process = name.removesuffix(POOL).rpartition(".")[0] + PROCESS
                files.get(process, bad).append(name)
        existing = set(chain.from_iterable(files.values()))
        self._known = {name: file for name, file in self._known.items() if name in existing}
        self._parents &= files.keys()
        self._stops.keep(files.keys())
        return files

    def _processes(
        self, names: Iterable[str], now: float, bad: list[str]
    ) -> Iterator[tuple[str, float | None, ExitStack]]:
        """
        Yield each process with the time when it was last seen alive, or None if it lives.

        The third value holds the lock of a process that has ended. It is released when the next
        process is asked for, unless the caller takes it over. Files that cannot be used go to
        `bad`.
        """
        for name in names:
            with ExitStack() as lock:
                try:
                    last_seen = lock.enter_context(_last_seen(self._folder / name, now))
                except FileNotFoundError:
                    continue
                except (BadFileError, OSError):
                    bad.append(name)
                    continue
                yield name, last_seen, lock

    def _stops_of(self, name: str, now: float) -> tuple[Pause, ...]:
        """Return the stops of a live process."""
        pid = 0
        with suppress(BadFileError, OSError), OwnRegularFile(str(self._folder / name)) as (file, _):
            pid = owner_of(file)
        return self._stops.look(name, is_stopped(pid), now)

    def _read(
        self,
        names: Iterable[str],
        now: float,
        last_seen: float | None,
        bad: list[str],
        stops: Sequence[Pause] = (),
    ) -> list[PoolView]:
        """Return the pools in the files of one process; add files that cannot be used to `bad`."""
        views = []
        for name in names:
            try:
                file = self._known.get(name)
                if file is None:
                    file = self._known[name] = PoolFile(self._folder / name, _pid_of(name))
                    if file.parent:
                        self._parents.add(file.parent + PROCESS)
                views.append(file.read(now, last_seen, stops))
            except FileNotFoundError:
                continue
            except (BadFileError, OSError):
                bad.append(name)
        return views

    def _fold(
        self, ended: dict[str, list[PoolView]], files: dict[str, list[str]], live: set[Key]
    ) -> bool:
        """
        Add processes to the totals once; return False if the totals cannot be written.

        live: the names and kinds of all other pools.
        """
        new = {name: views for name, views in ended.items() if name not in self._totals.folded}
        if new:
            remaining = [name for name in self._totals.folded if (self._folder / name).exists()]
            totals = self._totals.with_processes(new, remaining, live)
            try:
                totals.save(self._folder / TOTALS)
            except OSError as error:
                logger.warning("cannot write %s: %s", self._folder / TOTALS, error)
                return False
            self._totals = totals
            for view in chain.from_iterable(new.values()):
                self._sites[view.pool, view.kind].add_ended(view.sites())
            for key in self._sites.keys() - totals.pools.keys() - live:
                # Its counters are in the totals of all other names now.
                self._monotonic.pop(key, None)
                self._sites[OTHER_POOLS, key[1]].add_ended(self._sites.pop(key).sums(()))
        for name in ended:
            for file in (*files[name], name):
                # A file that cannot be removed is counted already, and must not stop the scan.
                with suppress(OSError):
                    (self._folder / file).unlink()
        return True

    def _view(
        self,
        live: dict[str, list[PoolView]],
        unfolded: list[PoolView],
        bad: int,
        servers: Sequence[ServerReading],
    ) -> FleetView:
        pools: defaultdict[Key, list[PoolView]] = defaultdict(list)
        fullest: dict[Key, float] = {}
        for views in live.values():
            shares: dict[Key, list[list[float]]] = {}
            for view in views:
                key = view.pool, view.kind
                pools[key].append(view)
                shares.setdefault(key, []).append(view.values)
            for key, rows in shares.items():
                fullest[key] = max(fullest.get(key, 0.0), utilization(rows))
        ended: defaultdict[Key, list[PoolView]] = defaultdict(list)
        for view in unfolded:
            ended[view.pool, view.kind].append(view)
        keys = sorted({*pools, *ended, *self._totals.pools})
        sums = {key: self._sum(key, pools[key], ended[key]) for key in keys}
        promised = commitments(servers, _limits_of_databases(pools))
        return FleetView(
            reports=tuple(
                self._report(key, pools[key], *sums[key], promised.get(key[0], ())) for key in keys
            ),
            processes=tuple(_in_use(live)),
            fullest=fullest,
            gone=self._totals.processes,
            bad=bad,
        )

    def _sum(
        self, key: Key, views: list[PoolView], ended: list[PoolView]
    ) -> tuple[Reading, int, float]:
        """
        Return the sum of all pools of one name and kind, how many pools there ever were, and the
        Unix time since when they count.
        """
        rows = [view.values for view in views]
        rows += [view.reading.counters_only().values() for view in ended]
        total = self._totals.pools.get(key, Total())
        created = len(rows) + total.created
        since = min([total.since, *(view.since for view in (*views, *ended))])
        if total.created:
            rows.append(total.reading.values())
        return Reading.of(self._monotonic[key].clamp(sum_values(rows))), created, since

    def _report(
        self,
        key: Key,
        views: list[PoolView],
        reading: Reading,
        created: int,
        since: float,
        promised: Sequence[Commitment],
    ) -> Report:
        # Check the rules once for each distinct configuration: most processes share one.
        by_config = {view.config_id: view for view in views}.values()
        small = too_small((view.address, view.values) for view in views)
        cases = [
            PoolEvidence(view.config, reading, view.evidence, promised, small) for view in by_config
        ]
        return Report(
            pool=key[0],
            kind=key[1],
            reading=reading,
            created=created,
            infos=tuple(sorted({view.info for view in by_config})),
            sites=self._sites[key].sums(chain.from_iterable(view.each_site() for view in views)),
            findings=findings_of(*key, cases),
            since=since,
        )


def _in_use(live: Mapping[str, list[PoolView]]) -> Iterator[ProcessView]:
    """Yield the processes with the pools that do not rest; not one all of whose pools do."""
    for name, views in live.items():
        pools = tuple(view for view in views if not view.resting)
        if pools or not views:
            yield ProcessView(_pid_of(name), pools)


def _limits_of_databases(pools: Mapping[Key, list[PoolView]]) -> dict[str, float]:
    """Return for each pool of a database how many connections all processes may open."""
    limits: defaultdict[str, float] = defaultdict(float)
    for (name, _), views in pools.items():
        for view in views:
            if view.config.database:
                limits[name] += view.values[LIMIT]
    return dict(limits)


def utilization(rows: Sequence[Sequence[float]]) -> float:
    """
    Return connections in use or being opened, divided by the limit, 0 to 1; 0 without a limit.

    rows: the values of the readings of the pools, which are added up.
    """
    limit = used = 0.0
    for row in rows:
        limit += row[LIMIT]
        used += row[IN_USE] + row[OPENING]
    return used / limit if limit else 0.0


def _pid_of(name: str) -> int:
    """Return the process id in the name of a file; 0 if the name has none."""
    pid = name.partition("-")[0]
    return int(pid) if pid.isascii() and pid.isdigit() else 0


@contextmanager
def _last_seen(path: Path, now: float) -> Iterator[float | None]:
    """
    Yield when the process of the file was last seen alive, or None if it lives.

    The file of a process that has ended stays locked until the block ends. The time is kept as the
    file's modification time, in seconds of `time.monotonic`, so that it survives a restart of the
    exporter; 0 means never.
    """
    with OwnRegularFile(str(path), os.O_RDWR) as (file, _):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.utime(file, ns=(int(now * 1e9), int(now * 1e9)))
            yield None
        else:
            last_seen = os.fstat(file).st_mtime_ns / 1e9
            # A time after `now` is that of an earlier boot, or the time of day when the file was
            # created: no exporter has seen the process alive.
            yield last_seen if last_seen <= now else 0.0


def _lock_folder(path: Path) -> int:
    """Return a descriptor of the file at `path`, which it locks for this exporter."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise FolderError(
            f"cannot write {path}: {error.strerror}; the exporter must write there"
        ) from error
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise FolderError(f"another exporter reads {path.parent}; one is enough") from error
    return file

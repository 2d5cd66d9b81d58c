"""
The view of many processes: those that live, and the counters of those that have ended.

A process that has ended is folded into the totals, a file in the same folder: first the totals are
replaced, with the name of the process in them, then its files are removed. If the exporter dies in
between, the name in the totals tells that the process was counted.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from poolscope.callsites.frames import SHOWN_SITES
from poolscope.callsites.operations import SHOWN_OPERATIONS
from poolscope.fleet.commitments import commitments
from poolscope.fleet.folder import FolderError
from poolscope.fleet.folder_lock import LOCK, FolderLock
from poolscope.fleet.pool_view import BadFileError, PoolView
from poolscope.fleet.processes import Processes, ProcessFiles
from poolscope.fleet.removal import remove
from poolscope.fleet.room import DISK_FULL, make_room
from poolscope.fleet.segment_reader import UNREADABLE
from poolscope.fleet.totals import TOTALS, Total, Totals
from poolscope.fleet.whole_files import is_gone, put_aside, reserve_next
from poolscope.readings.by_label import HOLDS, HOSTS, LabelReading, SharedLabels
from poolscope.readings.database_servers import ServerReading
from poolscope.readings.exemplars import slowest
from poolscope.readings.findings import Commitment, PoolEvidence, findings_of
from poolscope.readings.holders import Hold, longest_first
from poolscope.readings.hosts import SHOWN_HOSTS, HostReading
from poolscope.readings.limits import Clock
from poolscope.readings.reading import IN_USE, LIMIT, OPENING, Monotonic, Reading, sum_values
from poolscope.readings.report import Report
from poolscope.readings.saturation import too_small

MAX_PROCESSES_PER_SCAN: Final = 100
"""How many processes one scan folds, so that it does not take too long."""

logger = logging.getLogger("poolscope.exporter")

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


class LabelsOfName:
    """The labels of one name and kind."""

    def __init__(self) -> None:
        self.sites = SharedLabels[LabelReading](SHOWN_SITES, HOLDS)
        self.operations = SharedLabels[LabelReading](SHOWN_OPERATIONS, HOLDS)
        self.hosts = SharedLabels[HostReading](SHOWN_HOSTS, HOSTS)


class Fleet:
    """
    Reads the folder for its only exporter.

    Raises FolderError if the folder cannot be used, or if another exporter uses it.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock = time.monotonic,
        ended: Callable[[int, Sequence[PoolView]], object] | None = None,
        patience: float = 0.0,
    ) -> None:
        """
        ended: is called with the process id and the pools of each process that has ended, before
            only their counters are kept.
        patience: for how many seconds to try to lock the folder.
        """
        self._folder = folder
        self._ended = ended
        self._clock = clock
        self._lock = FolderLock(folder, patience)
        try:
            self._totals = load_totals(folder / TOTALS)
        except BaseException:
            self.close()
            raise
        self._can_write = True
        self._processes = Processes(folder, (LOCK, TOTALS))
        self._labels: defaultdict[Key, LabelsOfName] = defaultdict(LabelsOfName)
        self._monotonic: defaultdict[Key, Monotonic] = defaultdict(Monotonic)

    def close(self) -> None:
        """Release the folder, so that another exporter can use it; the next scan locks it again."""
        self._lock.close()

    def scan(self, servers: Sequence[ServerReading] = ()) -> FleetView:
        """
        Read all processes, and fold up to `MAX_PROCESSES_PER_SCAN` of those that have ended.

        servers: the last readings of database servers, for the commitments of the pools.

        Raises FolderError if the folder is gone and cannot be made again, and OSError if it could
        never be read.
        """
        self._renew()
        live: list[ProcessFiles] = []
        ended: list[ProcessFiles] = []
        others: list[ProcessFiles] = []
        for process in self._processes.look(self._clock(), self._totals.folded):
            if process.last_seen is None:
                live.append(process)
            elif process.complete and len(ended) < MAX_PROCESSES_PER_SCAN:
                ended.append(process)
            elif process.name not in self._totals.folded:
                others.append(process)
        alive = {
            key
            for process in (*live, *others)
            for key in (*process.ended.pools, *((view.pool, view.kind) for view in process.pools))
        }
        if ended and not self._fold(ended, alive):
            others += ended
        for process in live:
            if process.name in self._processes.parents:
                for view in process.pools:
                    if view.unused:
                        view.rest()
        unfolded = Totals()
        for process in others:
            unfolded = unfolded.with_pools(process.pools, [process.ended])
        unfolded = unfolded.with_pools((), [process.ended for process in live])
        return self._view(live, unfolded, servers)

    def _renew(self) -> None:
        """Make again what somebody has removed: the folder, the lock in it, and the totals."""
        path = self._folder / TOTALS
        is_other = self._lock.renew()
        if is_gone(path):
            if self._totals.processes:
                self._write(self._totals)
        elif is_other:
            self._totals = load_totals(path)  # another exporter may have written them

    def _fold(self, ended: Sequence[ProcessFiles], live: Collection[Key]) -> bool:
        """
        Add processes to the totals once; return False if the totals cannot be written.

        live: the names and kinds of all pools of other processes.
        """
        new = {
            process.name: (process.pools, process.ended)
            for process in ended
            if process.name not in self._totals.folded
        }
        if new:
            remaining = self._totals.folded.intersection(self._processes.names)
            totals = self._totals.with_processes(new, remaining, live)
            if not self._write(totals, ended):
                return False
            self._totals = totals
            if self._ended is not None:
                for process in ended:
                    if process.name in new:
                        self._ended(process.pid, process.pools)
        remove(self._folder, ended)
        if new:
            # The room that this has made is there for the next time.
            reserve_next(self._folder / TOTALS)
        return True

    def _write(self, totals: Totals, ended: Sequence[ProcessFiles] = ()) -> bool:
        """
        Write the totals; log once when that begins to fail, and when it is over.

        ended: the processes whose files may make room on a full disk.
        """
        path = self._folder / TOTALS
        try:
            try:
                totals.save(path)
            except OSError as error:
                if error.errno not in DISK_FULL or not ended:
                    raise
                make_room(self._folder / name for process in ended for name in process.files)
                totals.save(path)
        except UNREADABLE as error:
            if self._can_write:
                logger.warning(
                    "cannot write %s: %s; no number is lost, but the files of processes that have "
                    "ended stay until it can be written",
                    path,
                    error,
                )
            self._can_write = False
            return False
        if not self._can_write:
            logger.warning("%s can be written again", path)
        self._can_write = True
        return True

    def _view(
        self, live: list[ProcessFiles], unfolded: Totals, servers: Sequence[ServerReading]
    ) -> FleetView:
        """
        Return the view.

        unfolded: the totals of pools that have ended, and are not in the totals of the exporter.
        """
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
        keys = sorted({*pools, *unfolded.pools, *self._totals.pools})
        self._forget_all_but(set(keys))
        promised = commitments(servers, _limits_of_databases(pools))
        return FleetView(
            reports=tuple(
                self._report(key, pools[key], unfolded.pools.get(key), promised.get(key[0], ()))
                for key in keys
            ),
            processes=tuple(_in_use(live)),
            fullest=fullest,
            gone=self._totals.processes,
            bad=len(self._processes.bad),
        )

    def _forget_all_but(self, keys: Collection[Key]) -> None:
        """Forget names that are not kept apart any more; see `Totals.bounded`."""
        for known in (self._labels, self._monotonic):
            for key in known.keys() - keys:
                del known[key]

    def _sum(
        self, key: Key, views: list[PoolView], ended: Sequence[Total]
    ) -> tuple[Reading, int, float]:
        """
        Return the sum of all pools of one name and kind, how many pools there ever were, and the
        Unix time since when they count.
        """
        rows = [view.values for view in views]
        created, since = len(rows), [view.since for view in views]
        for total in ended:
            rows.append(total.reading.values())
            created += total.created
            since.append(total.since)
        return Reading.of(self._monotonic[key].clamp(sum_values(rows))), created, min(since)

    def _report(
        self,
        key: Key,
        views: list[PoolView],
        unfolded: Total | None,
        promised: Sequence[Commitment],
    ) -> Report:
        totals = self._totals.pools.get(key), unfolded
        ended = [total for total in totals if total is not None]
        reading, created, since = self._sum(key, views, ended)
        # Those of the totals come first, so that they have the same labels after a restart.
        of_ended = chain.from_iterable(total.sites() for total in ended)
        sites = chain(of_ended, *(view.each_site() for view in views))
        of_ended = chain.from_iterable(total.operations() for total in ended)
        operations = chain(of_ended, *(view.each_operation() for view in views))
        of_hosts = chain.from_iterable(total.hosts() for total in ended)
        hosts = chain(of_hosts, *(view.hosts() for view in views))
        labels = self._labels[key]
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
            hosts=labels.hosts.sums(hosts),
            sites=labels.sites.sums(sites),
            operations=labels.operations.sums(operations),
            findings=findings_of(*key, cases),
            since=since,
            exemplars=slowest(view.exemplars for view in views),
        )


def _in_use(live: Iterable[ProcessFiles]) -> Iterator[ProcessView]:
    """Yield the processes with the pools that do not rest; not one all of whose pools do."""
    for process in live:
        pools = tuple(view for view in process.pools if not view.resting)
        if pools or not process.pools:
            yield ProcessView(process.pid, pools)


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


def load_totals(path: Path) -> Totals:
    """
    Return the totals in the file, and reserve room for the next ones.

    If the file is damaged, it is put aside, and the totals start at 0. Raises FolderError if it
    cannot be read now, because totals that are not known must not be replaced.
    """
    try:
        totals = Totals.load(path)
    except BadFileError as error:
        logger.warning("%s cannot be used, so totals start at 0: %s", path, _aside(path, error))
        totals = Totals()
    except UNREADABLE as error:
        raise FolderError(f"cannot read {path}: {error}; repair it, or move it away") from error
    reserve_next(path)
    return totals


def _aside(path: Path, error: BadFileError) -> str:
    """Put a damaged file aside; return what to log about it."""
    try:
        return f"{error}; it is now {put_aside(path)}"
    except OSError as second:
        return f"{error}; it stays, because it cannot be renamed: {second}"

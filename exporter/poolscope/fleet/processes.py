"""
Reads the files of all processes in the folder, one process after the other.

Only a file that does not exist is gone. One that cannot be read at the moment, for whatever reason,
says nothing: then its process is shown as it was read last, and none of its files may be removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from poolscope.fleet.ended_pools import ENDED, EndedPools
from poolscope.fleet.own_files import POOL, PROCESS, TOUCHED_EVERY, is_of_this_process
from poolscope.fleet.pool_view import BadFileError, PoolView
from poolscope.fleet.segment_reader import UNREADABLE, OwnRegularFile, PoolFile
from poolscope.fleet.stops import Stops, is_stopped, owner_of
from poolscope.fleet.totals import Totals
from poolscope.process.pauses import Pause

ABANDONED_AFTER: Final = 3600.0
"""Seconds; a file without a name yet that is older was left by a process that was killed."""

LAST_SEEN: Final = struct.Struct("<d")
"""What the file of a process contains: when it was last seen alive, in seconds of the clock."""

_NAME: Final = re.compile(r"\.?(\d+-[0-9a-f]{32})(?:\..*)?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ProcessFiles:
    """
    What a look has found of one process.

    name: the name of its file.
    last_seen: when it was last seen alive, in seconds of the clock; None if it lives.
    pools, ended: the pools that have files, and the totals of those that have ended within it.
    files: the names of all its files, but for its own.
    damaged: which of them are damaged.
    complete: whether all could be read; only then may they be removed.
    """

    name: str
    last_seen: float | None
    pools: list[PoolView]
    ended: Totals
    files: list[str]
    damaged: list[str]
    complete: bool = True

    @property
    def pid(self) -> int:
        return pid_of(self.name)


@dataclass
class Listing:
    """
    The names of the files in the folder.

    processes: the files of each process, by the name of its own file.
    bad: files that belong to no process.
    complete: whether there are no others.
    """

    processes: dict[str, list[str]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    complete: bool = True


class Processes:
    """
    All processes of the folder.

    bad: the files that are not what their names say, or could not be read, at the last look.
    parents: the processes that others were forked from after they had watched a pool.
    """

    def __init__(self, folder: Path, others: Sequence[str] = ()) -> None:
        """`others` are files of the exporter itself that get the time of now, too."""
        self._others: Final = others
        self.bad: list[str] = []
        self.parents: set[str] = set()
        self._folder = folder
        self._listing: Listing | None = None
        self._known: dict[str, PoolFile] = {}
        self._ended: defaultdict[str, EndedPools] = defaultdict(EndedPools)
        self._last: dict[str, ProcessFiles] = {}
        self._stops = Stops()
        self._touched_at = time.monotonic()

    @property
    def names(self) -> Collection[str]:
        """The processes that had any file at the last look."""
        return self._listing.processes.keys() if self._listing is not None else ()

    def look(self, now: float, folded: Collection[str]) -> Iterator[ProcessFiles]:
        """
        Yield each process that has files.

        folded: names of processes that were counted already, and are not read once they have ended.

        Raises OSError if the folder itself could never be read.
        """
        listing = self._list()
        self.bad = []
        seen = self._see(listing, now)
        if not all(last_seen is None or name in folded for name, last_seen in seen.items()):
            # A process may have made files between the listing and its end.
            listing = self._list()
        self.bad += listing.bad
        for name, files in listing.processes.items():
            if name in seen:
                process = self._look_at(name, files, now, seen[name], folded)
            else:
                process = self._again(name)
            if process is not None:
                yield process
        self._touch(listing)

    def _see(self, listing: Listing, now: float) -> dict[str, float | None]:
        """Return what `last_seen_of` says of each process for which that can be told."""
        seen: dict[str, float | None] = {}
        for name in listing.processes:
            if is_of_this_process(self._folder / name):
                seen[name] = None  # it lives
                continue
            try:
                seen[name] = last_seen_of(self._folder / name, now)
            except FileNotFoundError:
                continue
            except BadFileError:
                self.bad.append(name)
                self._last.pop(name, None)
            except UNREADABLE:
                self.bad.append(name)
        return seen

    def _again(self, name: str) -> ProcessFiles | None:
        """Return a process as it was read last, if it was."""
        last = self._last.get(name)
        return replace(last, complete=False) if last is not None else None

    def _list(self) -> Listing:
        try:
            names = [entry.name for entry in os.scandir(self._folder)]
        except FileNotFoundError:
            raise
        except UNREADABLE:
            if self._listing is None:
                raise
            self._listing.complete = False
            return self._listing
        listing = self._listing = Listing()
        files: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            match = _NAME.fullmatch(name)
            if match is not None and name == f"{match[1]}{PROCESS}":
                listing.processes[name] = files[name]
            elif match is not None and (name[0] == "." or name.endswith((POOL, ENDED))):
                files[f"{match[1]}{PROCESS}"].append(name)
            elif name[0] != "." and name.endswith((PROCESS, POOL)):
                # A file with a name of another form is not ours, and is never removed.
                listing.bad.append(name)
        for process in files.keys() - listing.processes.keys():
            listing.bad += [name for name in files[process] if name[0] != "."]
            self._remove_abandoned([name for name in files[process] if name[0] == "."])
        self._forget_others(listing)
        return listing

    def _forget_others(self, listing: Listing) -> None:
        existing = {name for files in listing.processes.values() for name in files}
        self._known = {name: file for name, file in self._known.items() if name in existing}
        for known in (self._last, self._ended):
            for name in known.keys() - listing.processes.keys():
                del known[name]
        self.parents &= listing.processes.keys()
        self._stops.keep(listing.processes.keys())

    def _remove_abandoned(self, names: list[str]) -> None:
        """Remove files that a process was making when it was killed."""
        for name in names:
            with suppress(*UNREADABLE):
                path = self._folder / name
                if path.lstat().st_mtime < time.time() - ABANDONED_AFTER:
                    path.unlink()

    def _look_at(
        self,
        name: str,
        files: list[str],
        now: float,
        last_seen: float | None,
        folded: Collection[str],
    ) -> ProcessFiles | None:
        if last_seen is not None and name in folded:
            return ProcessFiles(name, last_seen, [], Totals(), files, [])
        try:
            process = self._read(name, files, now, last_seen)
        except UNREADABLE:
            self.bad.append(name)
            return self._again(name)
        self._last[name] = process
        self.bad += process.damaged
        complete = self._listing is not None and self._listing.complete
        return replace(process, complete=complete)

    def _read(
        self, name: str, files: list[str], now: float, last_seen: float | None
    ) -> ProcessFiles:
        stops = self._stops_of(name, now) if last_seen is None else ()
        views: dict[str, PoolView] = {}
        damaged = []
        for file in files:
            if file.endswith(POOL) and file[0] != ".":
                try:
                    views[file] = self._read_pool(file, now, last_seen, stops)
                except FileNotFoundError:
                    continue
                except BadFileError:
                    damaged.append(file)
        # After the pools: what the process has counted as ended meanwhile must not count twice.
        ended = self._ended[name]
        path = self._folder / f"{name.removesuffix(PROCESS)}{ENDED}"
        try:
            ended.read(path)
        except BadFileError:
            damaged.append(path.name)
        pools = [view for file, view in views.items() if not ended.has(file)]
        return ProcessFiles(name, last_seen, pools, ended.totals, files, damaged)

    def _read_pool(
        self, name: str, now: float, last_seen: float | None, stops: tuple[Pause, ...]
    ) -> PoolView:
        file = self._known.get(name)
        if file is None:
            file = self._known[name] = PoolFile(self._folder / name, pid_of(name))
            if file.parent:
                self.parents.add(file.parent + PROCESS)
        return file.read(now, last_seen, stops)

    def _stops_of(self, name: str, now: float) -> tuple[Pause, ...]:
        """Return the stops of a live process."""
        if is_of_this_process(self._folder / name):
            return ()
        pid = 0
        with (
            suppress(BadFileError, *UNREADABLE),
            OwnRegularFile(str(self._folder / name)) as (file, _),
        ):
            pid = owner_of(file)
        return self._stops.look(name, is_stopped(pid), now)

    def _touch(self, listing: Listing) -> None:
        """Give files of live processes the time of now, so that no clean-up by age takes them."""
        if time.monotonic() - self._touched_at < TOUCHED_EVERY:
            return
        self._touched_at = time.monotonic()
        names = [*self._others]
        for name, process in self._last.items():
            if process.last_seen is None:
                names += [name, *listing.processes.get(name, ())]
        for name in names:
            with suppress(*UNREADABLE):
                os.utime(self._folder / name, follow_symlinks=False)


def pid_of(name: str) -> int:
    """Return the process id in the name of a file; 0 if the name has none."""
    pid = name.partition("-")[0]
    return int(pid) if pid.isascii() and pid.isdigit() else 0


def last_seen_of(path: Path, now: float) -> float | None:
    """
    Return when the process of the file was last seen alive, or None if it lives.

    The file contains the time, so that it survives a restart of the exporter; 0 means never.

    Raises BadFileError, or OSError if that cannot be told now.
    """
    with OwnRegularFile(str(path), os.O_RDWR) as (file, _):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            with suppress(*UNREADABLE):  # a full disk
                os.pwrite(file, LAST_SEEN.pack(now), 0)
            return None
        data = os.pread(file, LAST_SEEN.size, 0)
        last_seen = LAST_SEEN.unpack(data)[0] if len(data) == LAST_SEEN.size else 0.0
        # A time after `now` is that of an earlier boot.
        return last_seen if 0.0 <= last_seen <= now else 0.0

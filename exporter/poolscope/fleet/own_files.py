"""
The files of this process in the folder.

NAME.process stays locked until the process ends or is killed. NAME.1.pool, NAME.2.pool and so on
are of its pools. The lock is a POSIX record lock: a forked child does not inherit it, and processes
in other containers see it.

When pools have ended, their counters are added to NAME.ended, and their files are removed. So only
pools that live count against the number of files.
"""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from poolscope.fleet.segment_file import FileSegment
from poolscope.fleet.whole_files import is_gone
from poolscope.ledger.changes import perform

if TYPE_CHECKING:
    from poolscope.fleet.ended_pools import EndedPools

PROCESS: Final = ".process"
POOL: Final = ".pool"

MAX_FILES_PER_PROCESS: Final = 100
"""The map of each file costs a descriptor; more live pools than this mean a pool per request."""

ENDED_AT_ONCE: Final = 20
"""How many files of pools that have ended are left until they are removed together."""

TOUCHED_EVERY: Final = 3600.0
"""Seconds after which the files get the time of now: a clean-up by age takes what looks old."""


_own: Final[dict[tuple[int, str], tuple[int, int]]] = {}
"""
The device and inode of the files that processes have locked, by their ids and the files' names. A
child knows its parent's. They stay open, so no other file gets their inode.
"""


def is_of_this_process(path: Path) -> bool:
    """
    Whether a file is the locked one of this process; one that cannot be told from it is.

    It must not be opened to read it: closing it would release the lock.
    """
    own = _own.get((os.getpid(), path.name))
    if own is None:
        return False
    try:
        found = path.lstat()
    except (OSError, MemoryError):
        return True
    return own == (found.st_dev, found.st_ino)


class TooManyPoolsError(Exception):
    """This process has a file for each of `MAX_FILES_PER_PROCESS` live pools already."""


class BeingMade:
    """In the place of a segment that is being made."""

    over = spent = False


class OwnFiles:
    """
    Creates and locks the file of this process; all methods are called with a lock of the caller.

    Raises OSError.

    name: the name of the process in the folder.
    parent: the name of the process that this one was forked from, if that had files.
    """

    def __init__(self, folder: Path, parent: str) -> None:
        self.pid: Final = os.getpid()
        self.name: Final = f"{self.pid}-{os.urandom(16).hex()}"
        self.parent: Final = parent
        self._folder = folder
        self._made = 0
        self._segments: dict[int, Callable[[], FileSegment | BeingMade | None]] = {}
        self._ended: EndedPools | None = None
        self._folding = False
        self._touched_at = time.monotonic()
        self._register()

    @contextmanager
    def new_path(self) -> Iterator[tuple[Path, Callable[[FileSegment], None]]]:
        """
        Yield the path of the next pool, and what to call with its segment.

        Raises TooManyPoolsError.
        """
        self._make_room()
        if len(self._segments) >= MAX_FILES_PER_PROCESS:
            raise TooManyPoolsError
        self._made += 1
        number = self._made
        # Before the file is there: a finalizer may make another one, and remove files, meanwhile.
        self._segments[number] = BeingMade

        def made(segment: FileSegment) -> None:
            self._segments[number] = weakref.ref(segment)

        try:
            yield self._path(number), made
        except BaseException:
            self._segments.pop(number, None)
            raise

    def look(self, segment: FileSegment) -> None:
        """Make what was removed again, and give the files the time of now if that is due."""
        if self.pid != os.getpid():
            return
        with suppress(OSError):
            self.renew()
        if not segment.over and is_gone(segment.path):
            with suppress(OSError):
                segment.remake()
        if self._ended is not None and is_gone(self._ended_path):
            with suppress(OSError):
                self._ended.save(self._ended_path, self._made, self._segments)
        if time.monotonic() - self._touched_at >= TOUCHED_EVERY:
            self._touched_at = time.monotonic()
            for path in (
                self._process_path,
                self._ended_path,
                *map(self._path, list(self._segments)),
            ):
                with suppress(OSError):
                    os.utime(path)

    def renew(self) -> None:
        """Make the file of the process again if somebody has removed it."""
        if is_gone(self._process_path):
            self._register()

    @property
    def _process_path(self) -> Path:
        return self._folder / f"{self.name}{PROCESS}"

    def _path(self, number: int) -> Path:
        return self._folder / f"{self.name}.{number}{POOL}"

    @property
    def _ended_path(self) -> Path:
        from poolscope.fleet.ended_pools import ENDED

        return self._folder / f"{self.name}{ENDED}"

    def _register(self) -> None:
        hidden = self._folder / f".{self.name}"
        # Never closed: closing any descriptor of the file in this process would release the lock.
        file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(file, bytes(8), 0)  # room for when the exporter has last seen it alive
            made = os.fstat(file)
            # Before another thread can read it.
            _own[self.pid, self._process_path.name] = made.st_dev, made.st_ino
            hidden.rename(self._process_path)
        except BaseException:
            hidden.unlink(missing_ok=True)
            os.close(file)
            raise

    def _make_room(self) -> None:
        """Remove the files of pools that have ended, if they are many, or in the way."""
        is_full = len(self._segments) >= MAX_FILES_PER_PROCESS
        over = []
        for number, reference in list(self._segments.items()):
            segment = reference()
            if segment is None or segment.over or (is_full and segment.spent):
                over.append(number)
        if over and (is_full or len(over) >= ENDED_AT_ONCE) and not self._folding:
            self._folding = True
            try:
                self._fold(over)
            finally:
                self._folding = False

    def _fold(self, over: Collection[int]) -> None:
        from poolscope.fleet.ended_pools import EndedPools

        ended = self._ended = self._ended or EndedPools()
        pools = [(number, self._path(number)) for number in over]
        totals, numbers = ended.with_pools(self.pid, pools, self._live(over))
        try:
            ended.save(self._ended_path, self._made, self._segments.keys() - numbers, totals)
        except (OSError, MemoryError):
            return  # such as a full disk: the next time
        found = [self._segments[number]() for number in numbers]
        segments = [segment for segment in found if isinstance(segment, FileSegment)]
        # Together, because an exception may interrupt this, and no pool may be added twice.
        perform(
            (
                (setattr, ended, "totals", totals),
                *((self._segments.pop, number, None) for number in numbers),
            )
        )
        for number in numbers:
            with suppress(OSError):
                self._path(number).unlink()
        for segment in segments:
            # The garbage collector may come late, and descriptors are few.
            segment.detach()

    def _live(self, over: Collection[int]) -> set[tuple[str, str]]:
        """Return the names and kinds of the pools that have not ended."""
        segments = (self._segments[number]() for number in self._segments.keys() - set(over))
        return {segment.key for segment in segments if isinstance(segment, FileSegment)}

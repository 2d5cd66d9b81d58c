"""
The folder that POOLSCOPE_DIR names, where the exporter reads the numbers of this process.

It belongs to one user, and nobody else may write there. If it cannot be used, that is logged once,
and the numbers are kept in private memory, as without POOLSCOPE_DIR.

`own_files` says which files a process has there.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from poolscope.errors import logger
from poolscope.fleet.segment_file import FileSegment
from poolscope.ledger.segment import Segment, Segments
from poolscope.process.off_loop import off_loop

try:
    from poolscope.fleet.own_files import MAX_FILES_PER_PROCESS, OwnFiles, TooManyPoolsError
except ImportError:  # Windows has no `fcntl`
    MISSING: str | None = "POSIX record locks"
else:
    MISSING = None if hasattr(os, "posix_fallocate") else "posix_fallocate"  # macOS
"""What sharing needs and this system lacks, or None."""

DIR_VARIABLE: Final = "POOLSCOPE_DIR"


class FolderError(Exception):
    """The folder cannot be used. The message names the cause and the cure."""


def check(folder: Path) -> None:
    """
    Create the folder if it does not exist; its parent must exist.

    Raises FolderError if that fails, or if another user owns the folder or may write to it.
    """
    if MISSING is not None:
        raise FolderError(
            f"this system has no {MISSING}, which sharing needs; unset {DIR_VARIABLE} and scrape "
            "each process"
        )
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except FileNotFoundError as error:
        raise FolderError(f"{folder.parent} does not exist; create it first") from error
    except FileExistsError as error:
        raise FolderError(f"{folder} is not a folder; name a folder") from error
    except OSError as error:
        raise FolderError(
            f"cannot create or read {folder}: {error.strerror}; name a folder that this user may "
            "create"
        ) from error
    inside = f"name a folder inside it, such as {DIR_VARIABLE}={folder / 'poolscope'}"
    if status.st_uid != os.geteuid():
        # Such as the volume of a container, which belongs to root.
        usable = f", or {inside}" if os.access(folder, os.W_OK | os.X_OK) else ""
        raise FolderError(
            f"{folder} belongs to user {status.st_uid}, but this process runs as user "
            f"{os.geteuid()}; run the service and the exporter as the same user{usable}"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise FolderError(
            f"others may write to {folder}; chmod it to 0700, or {inside}, which is then made for "
            "this user only"
        )


class Folder:
    """Creates segments in the folder, or in private memory if there is no usable folder."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._own: OwnFiles | None = None
        # By process, because a lock that is inherited may be locked for ever.
        self._locks: dict[int, threading.RLock] = {}
        self._failed = False
        if path is not None:
            try:
                off_loop(partial(check, path))
            except Exception as error:
                self._path = None
                self._fail(path, error)

    @classmethod
    def of_environment(cls) -> Folder:
        """Return the folder that POOLSCOPE_DIR names, if it is set."""
        path = os.environ.get(DIR_VARIABLE)
        return cls(Path(path) if path else None)

    @property
    def path(self) -> Path | None:
        """The folder; None if there is none, or it cannot be used."""
        return self._path

    @property
    def shares(self) -> bool:
        """Whether there is a folder that can be used."""
        return self._path is not None

    def segments(
        self,
        facts: Mapping[str, Any],
        failed: Callable[[], None],
        made: Callable[[FileSegment], object] = id,
    ) -> Segments:
        """
        Return a factory of segments for a pool.

        It calls `made` with each that is shared, and `failed` if one cannot be shared.
        """
        if self._path is None and not self._failed:
            return Segment

        def make(slots: int) -> Segment:
            if self._path is not None:
                try:
                    return off_loop(partial(self._make, self._path, slots, facts, made))
                except Exception as error:
                    self._fail(self._path, error)
            if self._failed:
                failed()
            return Segment(slots)

        return make

    def _make(
        self,
        folder: Path,
        slots: int,
        facts: Mapping[str, Any],
        made: Callable[[FileSegment], object],
    ) -> FileSegment:
        with self._lock:
            check(folder)  # it may be gone, or another one, by now
            own = self._own_files(folder)
            own.renew()
            try:
                with own.new_path() as (path, add):
                    facts = {**facts, "parent": own.parent, "since": time.time()}
                    segment = FileSegment(path, slots, facts, self._look)
                    try:
                        made(segment)
                        add(segment)
                    except BaseException:
                        segment.discard()
                        raise
            except TooManyPoolsError:
                raise FolderError(
                    f"this process already has {MAX_FILES_PER_PROCESS} pools there"
                ) from None
        return segment

    @property
    def _lock(self) -> threading.RLock:
        return self._locks.setdefault(os.getpid(), threading.RLock())

    def _own_files(self, folder: Path) -> OwnFiles:
        """Return the files of this process, after registering it if need be."""
        own = self._own
        if own is None or own.pid != os.getpid():  # its first pool, or that of a forked child
            own = self._own = OwnFiles(folder, own.name if own is not None else "")
            self._locks = {own.pid: self._locks[own.pid]}
        return own

    def _look(self, segment: FileSegment) -> None:
        """See whether the files of this process are still there; see `OwnFiles.look`."""
        if self._own is not None and self._path is not None:
            off_loop(partial(self._renew, self._path, self._own, segment))

    def _renew(self, folder: Path, own: OwnFiles, segment: FileSegment) -> None:
        with suppress(FolderError):  # another user's, for example; perhaps not the next time
            check(folder)
            own.look(segment)

    def _fail(self, folder: Path, error: Exception) -> None:
        """Log once that pools, or further ones, cannot be shared."""
        if not self._failed:
            logger().warning(
                "%s cannot be used, so the exporter does not see all pools: %s",
                DIR_VARIABLE,
                error,
                extra={"poolscope": {"event": "not-shared", "folder": str(folder)}},
            )
        self._failed = True

"""
The folder that POOLSCOPE_DIR names, where the exporter reads the numbers of this process.

It belongs to one user, and nobody else may write there. If it cannot be used, that is logged once,
and the numbers are kept in private memory, as without POOLSCOPE_DIR.

Each process has a file NAME.process, which stays locked until the process ends or is killed, and
files NAME.1.pool, NAME.2.pool and so on for its pools. The lock is a POSIX record lock: a forked
child does not inherit it, and processes in other containers see it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from poolscope.errors import logger
from poolscope.fleet.segment_file import FileSegment
from poolscope.ledger.segment import Segment, Segments
from poolscope.process.off_loop import off_loop

try:
    import fcntl
except ImportError:  # Windows
    MISSING: str | None = "POSIX record locks"
else:
    MISSING = None if hasattr(os, "posix_fallocate") else "posix_fallocate"  # macOS
"""What sharing needs and this system lacks, or None."""

DIR_VARIABLE: Final = "POOLSCOPE_DIR"

PROCESS: Final = ".process"
POOL: Final = ".pool"

MAX_FILES_PER_PROCESS: Final = 100
"""The map of each file costs a descriptor; more pools than this mean a pool per request."""


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
        self._process = 0
        self._name = self._parent = ""
        self._made = 0
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
        segment = FileSegment(self._next(folder), slots, {**facts, "parent": self._parent})
        try:
            made(segment)
        except BaseException:
            segment.discard()
            raise
        return segment

    def _next(self, folder: Path) -> Path:
        """Return the path of the next pool, after registering this process if need be."""
        if self._process != os.getpid():  # the first pool of the process, or of a forked child
            self._parent, self._name = self._name, _register(folder)
            self._process, self._made = os.getpid(), 0
        if self._made == MAX_FILES_PER_PROCESS:
            raise FolderError(f"this process already has {self._made} pools there")
        self._made += 1
        return folder / f"{self._name}.{self._made}{POOL}"

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


def _register(folder: Path) -> str:
    """Create and lock the file of this process; return the process's name in the folder."""
    name = f"{os.getpid()}-{os.urandom(16).hex()}"
    hidden = folder / f".{name}"
    # Never closed: closing any descriptor of the file in this process would release the lock.
    file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(file, bytes(8), 0)  # room for when the exporter has last seen it alive
        hidden.rename(folder / f"{name}{PROCESS}")
    except BaseException:
        hidden.unlink()
        os.close(file)
        raise
    return name

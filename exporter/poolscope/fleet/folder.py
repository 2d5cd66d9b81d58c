"""
The folder that POOLSCOPE_DIR names, where other processes read what this one holds.

It belongs to one user, and nobody else may write there. Where it cannot be used, that is logged
once, and ledgers lie in private memory: the application goes on as without it.

Each process has a file there, NAME.process, that it has locked for as long as it lives, whatever
ends it; and NAME.1.pool, NAME.2.pool and so on for its pools. It is a record lock, which is the
process's own: a child does not inherit it, and it is seen from other containers too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from poolscope.errors import logger
from poolscope.fleet.segment_file import FileSegment
from poolscope.ledger.segment import Segment, Segments

try:
    import fcntl
except ImportError:  # Windows
    CAN_MAP = False
else:
    CAN_MAP = hasattr(os, "posix_fallocate")

DIR_VARIABLE: Final = "POOLSCOPE_DIR"

PROCESS: Final = ".process"
POOL: Final = ".pool"

MAX_FILES_PER_PROCESS: Final = 100
"""Of one process, each with a descriptor. One that makes more makes a pool for each request."""


class FolderError(Exception):
    """The folder cannot be used; the message names it, and says what would be right."""


def check(folder: Path) -> None:
    """Make the folder if it is missing; raise FolderError if it is not this user's alone."""
    if not CAN_MAP:
        raise FolderError("this system has no file locks or mapped files; leave it out here")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise FolderError(f"{folder}: {error.strerror}; name a folder that can be made") from error
    if found.st_uid != os.geteuid():
        raise FolderError(
            f"{folder} belongs to user {found.st_uid}, and this is user {os.geteuid()}; "
            "processes and exporter must be one user"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise FolderError(
            f"others may write to {folder}; name a folder that only this user may write to"
        )


class Folder:
    """Makes segments in the folder, or in private memory if there is none that can be used."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._process = 0
        self._name = ""
        self._made = 0
        self._failed = False
        if path is not None:
            try:
                check(path)
            except FolderError as error:
                self._path = None
                self._fail(path, error)

    @classmethod
    def of_environment(cls) -> Folder:
        given = os.environ.get(DIR_VARIABLE)
        return cls(Path(given) if given else None)

    @property
    def shares(self) -> bool:
        """Whether there is a folder."""
        return self._path is not None

    def segments(self, facts: Mapping[str, Any], failed: Callable[[], None]) -> Segments:
        """Return what makes segments of a pool; `failed` is called if one cannot be shared."""
        if self._path is None and not self._failed:
            return Segment

        def make(slots: int) -> Segment:
            if self._path is not None:
                try:
                    return FileSegment(self._next(self._path), slots, facts)
                except (OSError, FolderError) as error:
                    self._fail(self._path, error)
            if self._failed:
                failed()
            return Segment(slots)

        return make

    def _next(self, folder: Path) -> Path:
        """Return the path of the next pool, of a process that is there."""
        if self._process != os.getpid():  # it has begun, or it is the child of a fork
            self._name = _enter(folder)
            self._process, self._made = os.getpid(), 0
        if self._made == MAX_FILES_PER_PROCESS:
            raise FolderError(f"{self._made} pools of this process are there already")
        self._made += 1
        return folder / f"{self._name}.{self._made}{POOL}"

    def _fail(self, folder: Path, error: Exception) -> None:
        """Say once that pools cannot be shared, or no more of them."""
        if not self._failed:
            logger().warning(
                "%s cannot be used, an exporter does not see all pools: %s",
                DIR_VARIABLE,
                error,
                extra={"poolscope": {"event": "not-shared", "folder": str(folder)}},
            )
        self._failed = True


def _enter(folder: Path) -> str:
    """Let others know that this process is there, until it ends; return the name that it has."""
    name = f"{os.getpid()}-{os.urandom(16).hex()}"
    hidden = folder / f".{name}"
    # Never closed: any descriptor of the file that this process closes would end the lock.
    file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(folder / f"{name}{PROCESS}")
    except BaseException:
        hidden.unlink()
        os.close(file)
        raise
    return name

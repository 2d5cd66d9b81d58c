"""The lock of the only exporter of a folder."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from poolscope.fleet.folder import FolderError, check
from poolscope.fleet.segment_reader import UNREADABLE
from poolscope.fleet.whole_files import put_aside

LOCK: Final = "exporter.lock"


TRY_AGAIN_SECONDS: Final = 0.02


class InUseError(FolderError):
    """Another process reads the folder."""


class FolderLock:
    """
    Locks the folder, which is created if it is missing.

    Raises FolderError if the folder cannot be used, or if another exporter uses it.
    """

    def __init__(self, folder: Path, patience: float = 0.0) -> None:
        """`patience`: for how many seconds it is tried, as a service reads it for a moment."""
        self._path: Final = folder / LOCK
        self._file: int | None = None
        give_up = time.monotonic() + patience
        while True:
            try:
                self.renew()
            except InUseError:
                if time.monotonic() >= give_up:
                    raise
                time.sleep(TRY_AGAIN_SECONDS)
            else:
                return

    def renew(self) -> bool:
        """
        Lock the folder again if it, or the file of the lock, is gone; return whether that was so.

        Raises FolderError as above.
        """
        if self._is_there():
            return False
        check(self._path.parent)
        file = _locked(self._path)
        self.close()
        self._file = file
        return True

    def _is_there(self) -> bool:
        if self._file is None:
            return False
        try:
            return os.path.samestat(self._path.lstat(), os.fstat(self._file))
        except FileNotFoundError:
            return False
        except UNREADABLE:
            return True  # it cannot be told now

    def close(self) -> None:
        """Release the folder, so that another exporter can use it."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _locked(path: Path) -> int:
    """Return a descriptor of the file at `path`, which it locks for this exporter."""
    with suppress(*UNREADABLE):
        if not stat.S_ISREG(path.lstat().st_mode):
            put_aside(path)  # no exporter can have locked it
    try:
        file = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600
        )
    except OSError as error:
        raise FolderError(
            f"cannot write {path}: {error.strerror}; the exporter must write there"
        ) from error
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise InUseError(f"another exporter reads {path.parent}; one is enough") from error
    return file

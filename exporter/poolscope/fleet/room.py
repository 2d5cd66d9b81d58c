"""Makes room on a full disk, where none was reserved in time, and loses no number by that."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from poolscope.fleet.pool_view import BadFileError
from poolscope.fleet.segment_reader import LARGEST, UNREADABLE, OwnRegularFile, read_all

DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""The errors of writing when there is no room, or none for this user."""

_PAGE: Final = 4096

_KEEP_SIZE_AND_PUNCH_HOLE: Final = 1 | 2
"""The mode of Linux' `fallocate` that gives back the room of a part, which then reads as zeros."""


def make_room(paths: Iterable[Path]) -> None:
    """
    Give back the room of the zeros at the ends of files, to which nobody writes any more.

    Most of a pool's file is unused. The files read as before; what cannot be done is left out.
    """
    for path in paths:
        with suppress(BadFileError, *UNREADABLE):
            _trim(path)


def _trim(path: Path) -> None:
    with OwnRegularFile(str(path)) as (file, size):
        if size > LARGEST:
            return
        used = len(read_all(file, size, 0).rstrip(b"\0"))
        start = -(-used // _PAGE) * _PAGE
        if start >= size:
            return
        os.fchmod(file, 0o600)
    with OwnRegularFile(str(path), os.O_RDWR) as (file, _):
        _punch_hole(file, start, size - start)


def _punch_hole(file: int, start: int, length: int) -> None:
    fallocate: Any = getattr(ctypes.CDLL(None), "fallocate", None)
    if fallocate is not None:  # only Linux has it
        offset = ctypes.c_int64
        fallocate(file, _KEEP_SIZE_AND_PUNCH_HOLE, offset(start), offset(length))

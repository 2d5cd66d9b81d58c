"""
Files that are read and replaced as a whole, and what becomes of damaged ones.

A file that is damaged is renamed, so that it can be looked at, and is never read again.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final

from poolscope.fleet.pool_view import BadFileError
from poolscope.fleet.segment_reader import UNREADABLE, OwnRegularFile, read_all

DAMAGED: Final = ".damaged"

MAX_ASIDE: Final = 10
"""How many damaged files of one ending (`.json`, `.pool` and so on) are kept: the latest ones."""

SPARE: Final = 65_536
"""Bytes by which the next content of a file may be longer than the present one on a full disk."""


def is_gone(path: Path) -> bool:
    """Whether there is nothing at `path`; False if that cannot be told now."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except UNREADABLE:
        pass
    return False


def put_aside(path: Path) -> Path:
    """
    Rename what is at `path`, whatever it is, to a name that is free; return the new path.

    Raises OSError.
    """
    target = set_aside(path)
    keep_latest([path])
    return target


def set_aside(path: Path) -> Path:
    """Do as `put_aside`, but leave it to the caller to keep the latest only."""
    number, target = 1, path.with_name(path.name + DAMAGED)
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}.{number}{DAMAGED}")
    path.rename(target)
    return target


def keep_latest(paths: Collection[Path]) -> None:
    """Remove the files beyond `MAX_ASIDE` of each ending of these paths, of one folder."""
    found: dict[str, list[tuple[int, Path]]] = {path.suffix: [] for path in paths}
    for other in chain.from_iterable(map(_damaged_files, {path.parent for path in paths})):
        with suppress(*UNREADABLE):
            changed = other.lstat().st_ctime_ns
            for suffix in found.keys() & set(other.suffixes):
                found[suffix].append((changed, other))
    for aside in found.values():
        for _, other in sorted(aside)[:-MAX_ASIDE]:
            with suppress(*UNREADABLE):  # such as a directory that is not empty
                other.rmdir() if other.is_dir() and not other.is_symlink() else other.unlink()


def _damaged_files(folder: Path) -> list[Path]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - thousands of paths would be slow
    except UNREADABLE:
        return []
    return [folder / name for name in names if name.endswith(DAMAGED)]


def read_whole(path: Path, largest: int) -> bytes:
    """
    Return the content of a regular file of this user.

    Raises BadFileError for anything else, or a file of more than `largest` bytes; FileNotFoundError
    if there is none; and another OSError if it cannot be read now.
    """
    with OwnRegularFile(str(path)) as (file, size):
        if size > largest:
            raise BadFileError("it is too large")
        return read_all(file, size, 0)


def replace_whole(path: Path, data: bytes, sync: bool = True) -> None:
    """
    Replace the file in one step.

    sync: whether the content must outlive a crash of the machine, too.

    Raises OSError, and then the old file is still there.
    """
    hidden = _hidden(path)
    file = _open_hidden(hidden)
    try:
        done = 0
        while done < len(data):
            done += os.pwrite(file, data[done:], done)
        os.ftruncate(file, len(data))
        if sync:
            os.fsync(file)
    finally:
        os.close(file)
    try:
        hidden.replace(path)
    except IsADirectoryError:
        put_aside(path)
        hidden.replace(path)


def reserve_next(path: Path) -> None:
    """Reserve room for a next content that is somewhat longer than the present one."""
    size = 0
    with suppress(*UNREADABLE):
        size = path.lstat().st_size
    reserve(path, size)


def reserve(path: Path, size: int = 0) -> None:
    """
    Reserve room for the next content of a file, if the disk has any.

    So it can be written on a full disk, too, and what it replaces makes room.
    """
    hidden = _hidden(path)
    with suppress(*UNREADABLE):
        file = _open_hidden(hidden)
        try:
            os.posix_fallocate(file, 0, size + SPARE)
        except UNREADABLE:
            hidden.unlink()
            raise
        finally:
            os.close(file)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}")


def _open_hidden(hidden: Path) -> int:
    """Return a descriptor for writing; what is in the way is removed, or put aside."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with suppress(FileNotFoundError), OwnRegularFile(str(hidden), os.O_WRONLY):
            pass
        return os.open(hidden, flags, 0o600)
    except (BadFileError, PermissionError):
        _clear(hidden)
    return os.open(hidden, flags, 0o600)


def _clear(hidden: Path) -> None:
    """Remove a file without a name yet, which has no value, or rename another thing."""
    try:
        hidden.unlink(missing_ok=True)
    except OSError:
        put_aside(hidden)

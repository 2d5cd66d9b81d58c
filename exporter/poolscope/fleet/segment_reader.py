"""
The file of one pool of another process: what it says, if it is what it should be.

It is read, never mapped: a file that becomes shorter would end the reader by a signal.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import time
from pathlib import Path
from typing import Final

from poolscope.fleet.pool_view import BadFileError, ParsedSegment, PoolView, parsed
from poolscope.fleet.segment_file import (
    HEAD,
    LENGTH,
    MAGIC,
    OWNER_BYTES,
    SEGMENT_VERSION,
    TEXT_BYTES,
)
from poolscope.ledger import cells as c
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.report import Info

LARGEST: Final = 16 * 2**20
READ_TRIES: Final = 50
RETRY_PAUSE: Final = 0.0001
"""
How often, after how many seconds, a file that is changing is read again.
"""


SEQUENCE_CELL: Final = struct.Struct("d")
"""The first cell."""

config_ids: dict[tuple[object, ...], int] = {}
"""Numbers of what pools have in common; as many as there are ways to set them up and use them."""


class PoolFile:
    """
    The file of one pool. What it says only once is kept; the rest is read each time.

    Raises BadFileError, and OSError if it cannot be read at all.
    """

    def __init__(self, path: Path, pid: int) -> None:
        self._path = str(path)
        self._pid = pid
        self._texts: list[str] = []
        self._seen: dict[str, tuple[str, ...]] = {}
        self._config_id = 0
        # What was read last, of one moment; and what was made something of.
        self._whole = self._data = b""
        self._parsed: ParsedSegment
        with OwnRegularFile(self._path) as (file, size):
            head = os.pread(file, HEAD.size, 0)
            if len(head) < HEAD.size:
                raise BadFileError("it is too short")
            magic, version, scalars, self._slots, self._start, self._size, length = HEAD.unpack(
                head
            )
            if (magic, version, scalars) != (MAGIC, SEGMENT_VERSION, c.SCALARS):
                raise BadFileError("it is of another version, or of something else")
            self._owners = self._start + 8 * c.size(self._slots)
            self._end = self._owners + OWNER_BYTES * self._slots
            if self._size != size or size != self._end + TEXT_BYTES or size > LARGEST:
                raise BadFileError("its sizes do not agree")
            if HEAD.size + length > self._start:
                raise BadFileError("its header is longer than there is room for it")
            about = os.pread(file, length, HEAD.size)
        try:
            facts = json.loads(about)
            self.pool, self.kind = _name(facts["pool"]), _name(facts["kind"])
            self.info = Info(*map(_name, _list(facts["info"])))
            self.config = _config(facts["setup"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadFileError("what it says of its pool makes no sense") from error

    def read(self, now: float, seen: float | None = None) -> PoolView:
        """
        Return what the pool is at the clock's `now`, in seconds of `time.monotonic`.

        seen: of a process that is gone, when it was last seen alive; None: it lives. What it held
            is counted up to then, and not for as long as nobody looked.
        """
        with OwnRegularFile(self._path) as (file, size):
            if size != self._size:
                raise BadFileError("it has another size than it had")
            data = self._read(file, seen is None)
            if data is not self._data:  # else nothing has happened
                self._parsed, self._data = parsed(data, self._owners - self._start), data
            cells = self._parsed
            if cells.numbers[c.TEXT_COUNT] != len(self._texts):
                self._texts = _texts(
                    os.pread(file, TEXT_BYTES, self._end), cells.numbers[c.TEXT_COUNT]
                )
                self._seen = _seen(self._texts)
                self._config_id = 0
        if seen is not None:
            now = seen
        return PoolView(
            pool=self.pool,
            kind=self.kind,
            info=self.info,
            config=self.config,
            values=c.reading_values(now, *cells[:7]),
            seen=self._seen,
            config_id=self._config_id or self._compare(),
            _pid=self._pid,
            _now=now,
            _cells=cells,
            _texts=self._texts,
        )

    def _compare(self) -> int:
        # Found once for each file, so that thousands of them are quickly told apart.
        like = (self.config, self.info, *sorted(self._seen.items()))
        self._config_id = config_ids.setdefault(like, len(config_ids) + 1)
        return self._config_id

    def _read(self, file: int, alive: bool) -> bytes:
        """
        Return the cells and owners, all of one moment; the same bytes, if nothing has happened.

        A process that lives and is in the middle of a change for long, as it does not get to run,
        is taken as it was last time: what ends just now would be there twice, and then once again.
        """
        for _ in range(READ_TRIES):
            data = os.pread(file, self._end - self._start, self._start)
            if data == self._whole:
                return self._whole
            sequence = os.pread(file, SEQUENCE_CELL.size, self._start)
            if data.startswith(sequence) and SEQUENCE_CELL.unpack(sequence)[0] % 2 == 0:
                self._whole = data
                return data
            time.sleep(RETRY_PAUSE)
        return self._whole if alive and self._whole else data


def _list(given: object) -> list[object]:
    if not isinstance(given, list):
        raise TypeError(given)
    return given


def _name(given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(given)
    return given.encode(errors="replace").decode()


def _config(given: dict[str, object]) -> PoolConfig:
    config = PoolConfig(**given)  # type: ignore[arg-type] # checked below
    for name, default in PoolConfig._field_defaults.items():
        value = getattr(config, name)
        if isinstance(value, bool) != isinstance(default, bool) or not value >= 0:
            raise ValueError(name)
    return config


def _seen(texts: list[str]) -> dict[str, tuple[str, ...]]:
    seen: dict[str, tuple[str, ...]] = {}
    for text in texts:
        rule, tab, site = text.partition("\t")
        if tab:
            seen[rule] = (*seen.get(rule, ()), *([site] if site else []))
    return seen


def _texts(data: bytes, count: float) -> list[str]:
    texts: list[str] = []
    at = 0
    while len(texts) < count and at + LENGTH.size <= len(data):
        (length,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size + length
        texts.append(data[at - length : at].decode(errors="replace"))
    return texts


class OwnRegularFile:
    """A regular file of this user, and nothing else, opened without ever waiting for it."""

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self._path = path
        self._flags = flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

    def __enter__(self) -> tuple[int, int]:
        """Return its descriptor, and its size."""
        self._file = os.open(self._path, self._flags)
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            os.close(self._file)
            raise BadFileError("it is no file of this user")
        return self._file, found.st_size

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

"""
Reads and checks the file of one pool of another process.

The file is read with `pread`, never mapped: a mapped file that shrinks would kill the reader with
SIGBUS.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from poolscope.fleet.pool_view import (
    MOST,
    BadFileError,
    ParsedSegment,
    PoolView,
    parse_segment,
    with_pauses,
)
from poolscope.fleet.segment_file import (
    HEAD,
    LENGTH,
    MAGIC,
    OWNER_BYTES,
    SEGMENT_VERSION,
    TEXT_BYTES,
)
from poolscope.label_values import label_value, printable
from poolscope.ledger import cells as c
from poolscope.process.pauses import Pause
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.report import Info

LARGEST: Final = 16 * 2**20
"""Bytes; a larger file is not read."""
READ_TRIES: Final = 50
"""How often a file that changes during the read is read again."""
RETRY_PAUSE: Final = 0.0001
"""Seconds before it is read again."""

SEQUENCE_CELL: Final = struct.Struct("d")
"""The first cell, which is odd while the writer changes the others."""

UNREADABLE: Final = (OSError, MemoryError)
"""What is raised if a file cannot be read, written or removed at the moment."""

NO_FILES: Final = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR)
"""The errors of opening a symbolic link, a socket, a FIFO, a device, or a directory."""

NOT_OURS: Final = "it is not a regular file of this user"

config_ids: dict[tuple[object, ...], int] = {}
"""The `config_id` of each distinct config, info and evidence; there are few of them."""


class PoolFile:
    """
    The file of one pool. The header is read once, the cells at each `read`.

    parent: the name of the process that has watched the pool, if this one was forked from it.

    Raises BadFileError if it is not a valid file, and OSError if it cannot be read now.
    """

    def __init__(self, path: Path, pid: int) -> None:
        self._path = str(path)
        self._pid = pid
        self._texts: list[str] = []
        self._evidence: dict[str, tuple[str, ...]] = {}
        self._config_id = 0
        # The last consistent read, and the bytes that `_parsed` was made from.
        self._consistent = self._data = b""
        self._parsed: ParsedSegment
        with OwnRegularFile(self._path) as (file, size):
            if size < HEAD.size:
                raise BadFileError("it is too short")
            head = read_all(file, HEAD.size, 0)
            magic, version, scalars, self._slots, self._start, self._size, length = HEAD.unpack(
                head
            )
            if (magic, version, scalars) != (MAGIC, SEGMENT_VERSION, c.SCALARS):
                raise BadFileError("it is of another version, or not the file of a pool")
            self._owners = self._start + 8 * c.size(self._slots)
            self._end = self._owners + OWNER_BYTES * self._slots
            if self._size != size or size != self._end + TEXT_BYTES or size > LARGEST:
                raise BadFileError("its sizes do not agree")
            if HEAD.size + length > self._start:
                raise BadFileError("its header is longer than the room for it")
            description = read_all(file, length, HEAD.size)
        try:
            facts = json.loads(description)
            self.pool, self.kind = _name(facts["pool"]), _name(facts["kind"])
            self.parent = _name(facts.get("parent", ""))
            self.address = _name(facts.get("address", ""))
            self.since = _time(facts.get("since", 0.0))
            self.info = Info(*map(_name, _list(facts["info"])))
            self.config = _config(facts["setup"])
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise BadFileError("its description of the pool is not valid") from error

    def read(
        self, now: float, last_seen: float | None = None, stops: Sequence[Pause] = ()
    ) -> PoolView:
        """
        Return the pool at the moment `now`, in seconds of `time.monotonic`.

        last_seen: when a process that has ended was last seen alive, or None if it lives. Its open
            holds are counted up to then, and not up to the moment of reading.
        stops: when the process did not run, as seen from outside, the earliest first.

        Raises BadFileError and OSError as above.
        """
        with OwnRegularFile(self._path) as (file, size):
            if size != self._size:
                raise BadFileError("its size has changed")
            data = self._read(file, last_seen is None)
            if data is not self._data:  # else nothing has changed
                self._parsed, self._data = parse_segment(data, self._owners - self._start), data
            cells = self._parsed
            if cells.numbers[c.TEXT_COUNT] != len(self._texts):
                self._texts = _texts(
                    read_all(file, TEXT_BYTES, self._end), cells.numbers[c.TEXT_COUNT]
                )
                self._evidence = _evidence(self._texts)
                self._config_id = 0
        if last_seen is not None:
            now = last_seen
        if stops:
            cells = with_pauses(cells, stops)
        return PoolView(
            pool=self.pool,
            kind=self.kind,
            address=self.address,
            info=self.info,
            config=self.config,
            values=c.reading_values(now, *cells[:8]),
            since=self.since,
            evidence=self._evidence,
            config_id=self._config_id or self._find_config_id(),
            _pid=self._pid,
            _now=now,
            _cells=cells,
            _texts=self._texts,
        )

    def _find_config_id(self) -> int:
        # Once for each file, so that comparing thousands of files is comparing numbers.
        key = (self.config, self.info, *sorted(self._evidence.items()))
        self._config_id = config_ids.setdefault(key, len(config_ids) + 1)
        return self._config_id

    def _read(self, file: int, alive: bool) -> bytes:
        """
        Return the cells and owners of one moment; the same object if nothing has changed.

        A live process that was descheduled in the middle of an update is returned as last read,
        because a read of half an update would count a hold twice.
        """
        for _ in range(READ_TRIES):
            data = read_all(file, self._end - self._start, self._start)
            if data == self._consistent:
                return self._consistent
            sequence = read_all(file, SEQUENCE_CELL.size, self._start)
            if data.startswith(sequence) and SEQUENCE_CELL.unpack(sequence)[0] % 2 == 0:
                self._consistent = data
                return data
            time.sleep(RETRY_PAUSE)
        return self._consistent if alive and self._consistent else data


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(value)
    return value


def _name(value: object) -> str:
    """Return the text as it is shown."""
    if not isinstance(value, str):
        raise TypeError(value)
    return label_value(value)


def _time(value: object) -> float:
    if not isinstance(value, float) or not 0.0 <= value < math.inf:
        raise ValueError(value)
    return value


def _config(values: dict[str, object]) -> PoolConfig:
    config = PoolConfig(**values)  # type: ignore[arg-type] # checked below
    for name, default in PoolConfig._field_defaults.items():
        value = getattr(config, name)
        if isinstance(value, bool) != isinstance(default, bool) or not value >= 0:
            raise ValueError(name)
        if value > MOST and value != math.inf:
            raise ValueError(name)
    return config


def _evidence(texts: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the sites of each rule among the texts."""
    evidence: dict[str, tuple[str, ...]] = {}
    for text in texts:
        rule, tab, site = text.partition("\t")
        if tab:
            evidence[rule] = (*evidence.get(rule, ()), *([printable(site)] if site else []))
    return evidence


def _texts(data: bytes, count: float) -> list[str]:
    """Return the first `count` texts, as far as they fit into the data."""
    texts: list[str] = []
    offset = 0
    while len(texts) < count and offset + LENGTH.size <= len(data):
        (length,) = LENGTH.unpack_from(data, offset)
        offset += LENGTH.size + length
        texts.append(data[offset - length : offset].decode(errors="replace"))
    return texts


def read_all(file: int, length: int, offset: int) -> bytes:
    """
    Return that many bytes of a file.

    Raises OSError if the system returns fewer: then nothing is known of the others.
    """
    data = os.pread(file, length, offset)
    while len(data) < length:
        more = os.pread(file, length - len(data), offset + len(data))
        if not more:
            raise OSError(errno.EIO, "it can be read in part only")
        data += more
    return data


class OwnRegularFile:
    """
    Opens a regular file of this user, and nothing else; opening it never blocks.

    Raises BadFileError if it is something else, and OSError if it cannot be opened now.
    """

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self._path = path
        self._flags = flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

    def __enter__(self) -> tuple[int, int]:
        """Return the descriptor and the size of the file."""
        try:
            self._file = os.open(self._path, self._flags)
        except OSError as error:
            if error.errno in NO_FILES:
                raise BadFileError(NOT_OURS) from error
            raise
        try:
            status = os.fstat(self._file)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise BadFileError(NOT_OURS)
        except BaseException:
            os.close(self._file)
            raise
        return self._file, status.st_size

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

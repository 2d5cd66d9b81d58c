"""
The file of one pool of another process: what it says, if it is what it should be.

It is read, never mapped: a file that becomes shorter would end the reader by a signal.
"""

from __future__ import annotations

import json
import math
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from poolscope import cells as c
from poolscope.findings import Setup
from poolscope.holders import Hold, SiteReading
from poolscope.reading import Reading
from poolscope.report import Info
from poolscope.segment import HEAD, LENGTH, MAGIC, OWNER_BYTES, TEXT_BYTES, VERSION

LARGEST: Final = 16 * 2**20
TRIES: Final = 50
PAUSE: Final = 0.0001
"""
How often, after how many seconds, a file that is changing is read again. A process that stopped
in the middle of a change is taken as it is.
"""


class BadFileError(Exception):
    """It is no file of a pool, or of another version, or damaged."""


@dataclass(frozen=True, slots=True)
class PoolView:
    """What one pool of one process is, at one moment."""

    pool: str
    kind: str
    info: Info
    setup: Setup
    reading: Reading
    sites: tuple[SiteReading, ...]
    holds: tuple[Hold, ...]
    seen: dict[str, tuple[str, ...]]


class PoolFile:
    """
    The file of one pool. What it says only once is kept; the rest is read each time.

    Raises BadFileError, and OSError if it cannot be read at all.
    """

    def __init__(self, path: Path, pid: int) -> None:
        self._path = path
        self._pid = pid
        self._texts: list[str] = []
        with opened(path) as file:
            size = os.fstat(file).st_size
            head = os.pread(file, HEAD.size, 0)
            if len(head) < HEAD.size:
                raise BadFileError("it is too short")
            magic, version, scalars, self._slots, self._start, self._size, length = HEAD.unpack(
                head
            )
            if (magic, version, scalars) != (MAGIC, VERSION, c.SCALARS):
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
            self.pool, self.kind = str(facts["pool"]), str(facts["kind"])
            self.info = Info(*map(str, facts["info"]))
            self.setup = Setup(**facts["setup"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadFileError("what it says of its pool makes no sense") from error

    def read(self, now: float, seen: float | None = None) -> PoolView:
        """
        Return what the pool is at the clock's `now`, in seconds of `time.monotonic`.

        seen: of a process that is gone, when it was last seen alive; None: it lives. What it held
            is counted up to then, and not for as long as nobody looked.
        """
        with opened(self._path) as file:
            if os.fstat(file).st_size != self._size:
                raise BadFileError("it has another size than it had")
            cells = self._cells(file)
            if not all(0.0 <= value < math.inf for value in cells[c.OK : c.SCALARS]):
                raise BadFileError("its numbers make no sense")
            if seen is not None:
                now = max(seen, cells[c.CHANGED])
            owners = os.pread(file, OWNER_BYTES * self._slots, self._owners)
            if cells[c.TEXTS] != len(self._texts):
                self._texts = _texts(os.pread(file, TEXT_BYTES, self._end), cells[c.TEXTS])
        holds = list(self._holds(cells, owners, now))
        return PoolView(
            pool=self.pool,
            kind=self.kind,
            info=self.info,
            setup=self.setup,
            reading=c.read(cells, now),
            sites=tuple(self._sites(cells, now)),
            holds=tuple(holds),
            seen=self._seen(),
        )

    def _cells(self, file: int) -> Sequence[float]:
        for _ in range(TRIES):
            cells = memoryview(os.pread(file, 8 * c.size(self._slots), self._start)).cast("d")
            sequence = memoryview(os.pread(file, 8, self._start)).cast("d")[0]
            if cells[c.SEQUENCE] == sequence and sequence % 2 == 0:
                break
            time.sleep(PAUSE)
        return cells.tolist()

    def _text(self, number: float) -> str | None:
        return self._texts[int(number) - 1] if 0 < number <= len(self._texts) else None

    def _slots_in_use(self, cells: Sequence[float]) -> Iterator[int]:
        for slot in range(c.FIRST_HOLD, len(cells), c.HOLD_CELLS):
            if cells[slot]:
                yield slot

    def _holds(self, cells: Sequence[float], owners: bytes, now: float) -> Iterator[Hold]:
        for slot in self._slots_in_use(cells):
            start = (slot - c.FIRST_HOLD) // c.HOLD_CELLS * OWNER_BYTES
            owner = owners[start : start + OWNER_BYTES].rstrip(b"\0").decode(errors="replace")
            yield Hold(
                pool=self.pool,
                kind=self.kind,
                site=self._text(cells[slot + c.HOLD_SITE]),
                held_seconds=max(0.0, now - cells[slot]),
                owner=owner or None,
                overdue=c.is_overdue(cells[slot], now, cells[c.LEAK_AFTER]),
                abandoned=bool(cells[slot + c.HOLD_LOST]),
                pid=self._pid,
            )

    def _sites(self, cells: Sequence[float], now: float) -> Iterator[SiteReading]:
        late: dict[float, int] = {}
        lost: dict[float, int] = {}
        for slot in self._slots_in_use(cells):
            label = cells[slot + c.HOLD_LABEL]
            late[label] = late.get(label, 0) + c.is_overdue(cells[slot], now, cells[c.LEAK_AFTER])
            lost[label] = lost.get(label, 0) + bool(cells[slot + c.HOLD_LOST])
        for start in range(c.FIRST_SITE, c.FIRST_HOLD, c.SITE_CELLS):
            number, out, seconds, since = cells[start : start + c.SITE_CELLS]
            if not number:  # functions come one after the other
                break
            name = self._text(number)
            if name is not None:
                seconds += out * max(0.0, now - since)
                yield SiteReading(name, out, seconds, late.get(number, 0), lost.get(number, 0))

    def _seen(self) -> dict[str, tuple[str, ...]]:
        seen: dict[str, tuple[str, ...]] = {}
        for text in self._texts:
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


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Open a regular file of this user, and nothing else, without ever waiting for it."""
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise BadFileError("it is no file of this user")
        yield file
    finally:
        os.close(file)

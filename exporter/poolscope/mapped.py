"""
The file of one pool of another process: what it says, if it is what it should be.

It is read, never mapped: a file that becomes shorter would end the reader by a signal.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import stat
import struct
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from poolscope import cells as c
from poolscope.findings import Setup
from poolscope.holders import Hold, SiteReading
from poolscope.reading import ABANDONED, OVERDUE, Reading
from poolscope.report import Info
from poolscope.segment import HEAD, LENGTH, MAGIC, OWNER_BYTES, TEXT_BYTES, VERSION

LARGEST: Final = 16 * 2**20
TRIES: Final = 50
PAUSE: Final = 0.0001
"""
How often, after how many seconds, a file that is changing is read again. A process that stopped
in the middle of a change is taken as it is.
"""


SEQUENCE: Final = struct.Struct("d")
SITE: Final = struct.Struct(f"{c.SITE_CELLS}d")
NUMBERS: Final = struct.Struct(f"{c.FIRST_WAIT}d")
"""The first cell, and all before those of single waits, functions and holds."""


SiteValues = tuple[str, float, float, float, float]
NONE: Final[Mapping[float, int]] = {}

likenesses: dict[tuple[object, ...], int] = {}
"""Numbers of what pools have in common; as many as there are ways to set them up and use them."""


class BadFileError(Exception):
    """It is no file of a pool, or of another version, or damaged."""


@dataclass(slots=True)
class PoolView:
    """
    What one pool of one process is, at one moment.

    values: those of its reading.
    seen: lines by the rule that was seen to be broken there.
    likeness: a number that is the same for those that are set up alike, and have seen the same.
    """

    pool: str
    kind: str
    info: Info
    setup: Setup
    values: list[float]
    seen: dict[str, tuple[str, ...]]
    likeness: int
    _pid: int
    _now: float
    _cells: memoryview[float]
    _owners: bytes
    _texts: list[str]

    @property
    def reading(self) -> Reading:
        return Reading.of(self.values)

    def holds(self) -> list[Hold]:
        """Return who holds its connections."""
        return list(self._holds())

    def sites(self) -> list[SiteReading]:
        """Return what each function of the application has out, and has had."""
        return [SiteReading(*values) for values in self.each_site()]

    def each_site(self) -> Iterator[SiteValues]:
        """Return the values of `sites`."""
        late, lost = self._leaked()
        now, texts = self._now, self._texts
        functions = self._cells[c.FIRST_SITE : c.FIRST_HOLD]
        for number, out, seconds, since in SITE.iter_unpack(functions):
            if not number:  # functions come one after the other
                break
            if 0 < number <= len(texts):
                so_far = seconds + out * max(0.0, now - since)
                if out >= 0.0 and 0.0 <= so_far < math.inf:
                    label = texts[int(number) - 1]
                    yield label, out, so_far, late.get(number, 0), lost.get(number, 0)

    def _text(self, number: float) -> str | None:
        return self._texts[int(number) - 1] if 0 < number <= len(self._texts) else None

    def _slots_in_use(self) -> Iterator[int]:
        starts = self._cells[c.FIRST_HOLD :: c.HOLD_CELLS].tolist()
        return (c.FIRST_HOLD + c.HOLD_CELLS * slot for slot, since in enumerate(starts) if since)

    def _is_overdue(self, slot: int) -> bool:
        return c.is_overdue(self._cells[slot], self._now, self._cells[c.LEAK_AFTER])

    def _holds(self) -> Iterator[Hold]:
        cells = self._cells
        for slot in self._slots_in_use():
            start = (slot - c.FIRST_HOLD) // c.HOLD_CELLS * OWNER_BYTES
            owner = self._owners[start : start + OWNER_BYTES].rstrip(b"\0").decode(errors="replace")
            yield Hold(
                pool=self.pool,
                kind=self.kind,
                site=self._text(cells[slot + c.HOLD_SITE]),
                held_seconds=max(0.0, self._now - cells[slot]),
                owner=owner or None,
                overdue=self._is_overdue(slot),
                abandoned=bool(cells[slot + c.HOLD_LOST]),
                pid=self._pid,
            )

    def _leaked(self) -> tuple[Mapping[float, int], Mapping[float, int]]:
        """Return by the number of a function how many of its holds are overdue, and abandoned."""
        if not (self.values[OVERDUE] or self.values[ABANDONED]):
            return NONE, NONE
        late, lost = Counter[float](), Counter[float]()
        for slot in self._slots_in_use():
            label = self._cells[slot + c.HOLD_LABEL]
            late[label] += self._is_overdue(slot)
            lost[label] += bool(self._cells[slot + c.HOLD_LOST])
        return late, lost


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
        self._likeness = 0
        with Opened(self._path) as (file, size):
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
            self.pool, self.kind = _name(facts["pool"]), _name(facts["kind"])
            self.info = Info(*map(_name, _list(facts["info"])))
            self.setup = _setup(facts["setup"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadFileError("what it says of its pool makes no sense") from error

    def read(self, now: float, seen: float | None = None) -> PoolView:
        """
        Return what the pool is at the clock's `now`, in seconds of `time.monotonic`.

        seen: of a process that is gone, when it was last seen alive; None: it lives. What it held
            is counted up to then, and not for as long as nobody looked.
        """
        with Opened(self._path) as (file, size):
            if size != self._size:
                raise BadFileError("it has another size than it had")
            numbers, cells, owners = self._read(file)
            if not _make_sense(numbers):
                raise BadFileError("its numbers make no sense")
            if numbers[c.TEXTS] != len(self._texts):
                self._texts = _texts(os.pread(file, TEXT_BYTES, self._end), numbers[c.TEXTS])
                self._seen = _seen(self._texts)
                self._likeness = 0
        if seen is not None:
            now = max(seen, numbers[c.CHANGED])
        holds = cells[c.FIRST_HOLD :: c.HOLD_CELLS].tolist()
        waits = cells[c.FIRST_WAIT : c.FIRST_SITE].tolist() if numbers[c.WAITING] else ()
        return PoolView(
            pool=self.pool,
            kind=self.kind,
            info=self.info,
            setup=self.setup,
            values=c.values(numbers, now, holds, waits),
            seen=self._seen,
            likeness=self._likeness or self._compare(),
            _pid=self._pid,
            _now=now,
            _cells=cells,
            _owners=owners,
            _texts=self._texts,
        )

    def _compare(self) -> int:
        # Found once for each file, so that thousands of them are quickly told apart.
        like = (self.setup, self.info, *sorted(self._seen.items()))
        self._likeness = likenesses.setdefault(like, len(likenesses) + 1)
        return self._likeness

    def _read(self, file: int) -> tuple[tuple[float, ...], memoryview[float], bytes]:
        """
        Return the numbers, all cells, and the owners.

        They are of one moment, if the file is not changed each time that it is read.
        """
        for _ in range(TRIES):
            data = os.pread(file, self._end - self._start, self._start)
            sequence = os.pread(file, SEQUENCE.size, self._start)
            if data.startswith(sequence) and SEQUENCE.unpack(sequence)[0] % 2 == 0:
                break
            time.sleep(PAUSE)
        owners = self._owners - self._start
        cells: memoryview[float] = memoryview(data)[:owners].cast("d")
        return NUMBERS.unpack_from(data), cells, data[owners:]


def _make_sense(numbers: tuple[float, ...]) -> bool:
    """Whether these are numbers of a pool: a sum that grew from others would stay for ever."""
    counted = numbers[: c.LIMIT] + numbers[c.SINCE :]
    limits = numbers[c.LIMIT : c.LEAK_AFTER]
    retired = all(map(math.isnan, limits))
    return (
        min(counted) >= 0.0
        # Any that is infinite, or NaN, makes the sum so.
        and sum(counted) < math.inf
        and (retired or all(limit >= 0.0 for limit in limits))
        and numbers[c.LEAK_AFTER] >= 0.0
    )


def _list(given: object) -> list[object]:
    if not isinstance(given, list):
        raise TypeError(given)
    return given


def _name(given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(given)
    return given.encode(errors="replace").decode()


def _setup(given: dict[str, object]) -> Setup:
    setup = Setup(**given)  # type: ignore[arg-type] # checked below
    for field in dataclasses.fields(Setup):
        value = getattr(setup, field.name)
        if isinstance(value, bool) != isinstance(field.default, bool) or not value >= 0:
            raise ValueError(field.name)
    return setup


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


class Opened:
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

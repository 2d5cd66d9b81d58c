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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

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
How often, after how many seconds, a file that is changing is read again.
"""


SEQUENCE: Final = struct.Struct("d")
NUMBERS: Final = struct.Struct(f"{c.FIRST_SITE}d")
SITE: Final = struct.Struct(f"{c.SITE_CELLS}d")
HOLD: Final = struct.Struct(f"{c.HOLD_CELLS}d")
"""The first cell, all before those of functions, waits and holds, and those of one of these."""


SiteValues = tuple[str, float, float, float, float]
NOTHING: Final = (0.0, 0.0, 0.0, 0.0)

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
    _functions: list[tuple[float, ...]]
    _slots: list[Slot]
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
        out, now, texts = self._by_function(), self._now, self._texts
        for number, seconds, more, more_since in self._functions:
            if 0 < number <= len(texts):
                in_use, held, late, lost = out.get(number, NOTHING)
                so_far = seconds + held + max(0.0, more * now - more_since)
                yield texts[int(number) - 1], in_use + more, so_far, late, lost

    def _text(self, number: float) -> str | None:
        return self._texts[int(number) - 1] if 0 < number <= len(self._texts) else None

    def _is_overdue(self, since: float) -> bool:
        return self._now - since > self._cells[c.LEAK_AFTER]

    def _holds(self) -> Iterator[Hold]:
        for hold in self._slots:
            if hold.ended:
                continue
            start = hold.slot * OWNER_BYTES
            owner = self._owners[start : start + OWNER_BYTES].rstrip(b"\0").decode(errors="replace")
            yield Hold(
                pool=self.pool,
                kind=self.kind,
                site=self._text(hold.site),
                held_seconds=max(0.0, self._now - hold.since),
                owner=owner or None,
                overdue=self._is_overdue(hold.since),
                abandoned=bool(hold.lost),
                pid=self._pid,
            )

    def _by_function(self) -> dict[float, tuple[float, float, float, float]]:
        """Return by a function's number what it has out, seconds, what is overdue, abandoned."""
        found: dict[float, tuple[float, float, float, float]] = {}
        for hold in self._slots:
            out, seconds, late, lost = found.get(hold.label, NOTHING)
            if hold.ended:
                found[hold.label] = out, seconds + hold.ended - hold.since, late, lost
            else:
                seconds += max(0.0, self._now - hold.since)
                late += self._is_overdue(hold.since)
                found[hold.label] = out + 1, seconds, late, lost + bool(hold.lost)
        return found


class Slot(NamedTuple):
    """The cells of a hold that makes sense, and which of the slots it is."""

    slot: int
    since: float
    asked: float
    ended: float
    site: float
    label: float
    lost: float


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
        self._whole = b""
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
            numbers, cells, owners = self._read(file, seen is None)
            if not _make_sense(numbers):
                raise BadFileError("its numbers make no sense")
            if numbers[c.TEXTS] != len(self._texts):
                self._texts = _texts(os.pread(file, TEXT_BYTES, self._end), numbers[c.TEXTS])
                self._seen = _seen(self._texts)
                self._likeness = 0
        if seen is not None:
            now = seen
        functions, slots = _functions(cells), _slots(cells)
        held = numbers[c.OF_NOBODY] + sum([seconds for _, seconds, *_ in functions])
        if ended := [slot for slot in slots if slot.ended]:
            # They are in no other cell yet.
            for slot in ended:
                c.ACQUIRE_SECONDS.observe(numbers, slot.since - slot.asked)
                c.HOLD_SECONDS.count(numbers, slot.ended - slot.since)
                held += slot.ended - slot.since
        return PoolView(
            pool=self.pool,
            kind=self.kind,
            info=self.info,
            setup=self.setup,
            values=c.values(
                numbers,
                now,
                held,
                [(slot.since, slot.asked) for slot in slots if not slot.ended],
                _waits(cells) if numbers[c.WAITING] else [],
                (numbers[c.MORE_OUT], numbers[c.MORE_OUT_SINCE]),
                (numbers[c.MORE_WAITS], numbers[c.MORE_WAITS_SINCE]),
            ),
            seen=self._seen,
            likeness=self._likeness or self._compare(),
            _pid=self._pid,
            _now=now,
            _cells=cells,
            _functions=functions,
            _slots=slots,
            _owners=owners,
            _texts=self._texts,
        )

    def _compare(self) -> int:
        # Found once for each file, so that thousands of them are quickly told apart.
        like = (self.setup, self.info, *sorted(self._seen.items()))
        self._likeness = likenesses.setdefault(like, len(likenesses) + 1)
        return self._likeness

    def _read(self, file: int, alive: bool) -> tuple[list[float], memoryview[float], bytes]:
        """
        Return the numbers, all cells, and the owners.

        They are of one moment. A process that lives and is in the middle of a change for long, as
        it does not get to run, is taken as it was last time: what ends just now would be there
        twice, and then once again.
        """
        for _ in range(TRIES):
            data = os.pread(file, self._end - self._start, self._start)
            sequence = os.pread(file, SEQUENCE.size, self._start)
            if data.startswith(sequence) and SEQUENCE.unpack(sequence)[0] % 2 == 0:
                self._whole = data
                break
            time.sleep(PAUSE)
        else:
            data = self._whole if alive and self._whole else data
        owners = self._owners - self._start
        cells: memoryview[float] = memoryview(data)[:owners].cast("d")
        return list(NUMBERS.unpack_from(data)), cells, data[owners:]


def _make_sense(numbers: list[float]) -> bool:
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


def _functions(cells: memoryview[float]) -> list[tuple[float, ...]]:
    """Return the cells of each function, as far as they make sense."""
    functions = []
    for function in SITE.iter_unpack(cells[c.FIRST_SITE : c.FIRST_WAIT]):
        if not function[0]:  # they come one after the other
            break
        if min(function) >= 0.0 and sum(function) < math.inf:
            functions.append(function)
    return functions


def _slots(cells: memoryview[float]) -> list[Slot]:
    """Return the holds that are out, or have ended just now, as far as they make sense."""
    if not any(cells[c.FIRST_HOLD :: c.HOLD_CELLS].tolist()):
        return []
    found = [
        Slot(slot, *hold)
        for slot, hold in enumerate(HOLD.iter_unpack(cells[c.FIRST_HOLD :]))
        if 0.0 < hold[0] < math.inf
    ]
    return [slot for slot in found if _makes_sense(slot)]


def _makes_sense(slot: Slot) -> bool:
    """Whether it may be a hold, which ends after it began, and begins after it was asked for."""
    if slot.ended:
        return 0.0 <= slot.asked <= slot.since <= slot.ended < math.inf
    return 0.0 <= slot.asked <= slot.since or math.isnan(slot.asked)


def _waits(cells: memoryview[float]) -> list[float]:
    """Return when each wait began that has a cell."""
    return [
        since for since in cells[c.FIRST_WAIT : c.FIRST_HOLD].tolist() if 0.0 < since < math.inf
    ]


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

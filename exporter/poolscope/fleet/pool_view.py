"""What one pool of another process is, as its cells say."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from poolscope.fleet.segment_file import OWNER_BYTES
from poolscope.ledger import cells as c
from poolscope.readings.holders import Hold
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.reading import Reading
from poolscope.readings.report import Info
from poolscope.readings.sites import SiteReading

NUMBERS: Final = struct.Struct(f"{c.FIRST_SITE}d")
HOLD: Final = struct.Struct(f"{c.HOLD_CELLS}d")
"""All cells before those of functions, waits and holds; and those of a hold."""

_COLUMNS: Final = tuple(c.FIRST_SITE + more for more in (0, c.SITE_OVERFLOW, c.SITE_OVERFLOW_SINCE))

NO_SITE_VALUES: Final = [0.0, 0.0, 0.0, 0.0]

SiteValues = tuple[str, float, float, float, float]

SiteRow = tuple[float, float, float, float]
"""The number of its name, its seconds, and of its holds without a slot how many, and their sum."""

Slot = tuple[int, float, float, float, float, float, float]
"""Which of the slots it is, and its cells."""


class BadFileError(Exception):
    """It is no file of a pool, or of another version, or damaged."""


class ParsedSegment(NamedTuple):
    """
    What cells say that make sense, and that does not depend on the moment of reading.

    The first ones, up to `overflow_waits`, are those of `cells.values`.
    """

    numbers: list[float]
    held: float
    holds: list[float]
    asked: list[float]
    waits: list[float]
    overflow_holds: tuple[float, float]
    overflow_waits: tuple[float, float]
    functions: list[SiteRow]
    slots: list[Slot]
    owners: bytes


def parsed(data: bytes, owners: int) -> ParsedSegment:
    """Return what is in the cells, which owners follow at that place; raises BadFileError."""
    cells: memoryview[float] = memoryview(data)[:owners].cast("d")
    if cells[c.JOURNAL_LENGTH]:
        cells = _folded(cells)
    numbers = list(NUMBERS.unpack_from(cells))
    if not _make_sense(numbers):
        raise BadFileError("its numbers make no sense")
    known, found = functions(cells), slots(cells)
    held = numbers[c.UNKNOWN_SITE_SECONDS] + sum([seconds for _, seconds, _, _ in known])
    for _, since, asked, ended, _, _, _ in found:
        if ended:  # it is in no other cell yet
            c.ACQUIRE_SECONDS.observe(numbers, since - asked)
            c.HOLD_SECONDS.observe_count(numbers, ended - since)
            held += ended - since
    return ParsedSegment(
        numbers,
        held,
        [slot[1] for slot in found if not slot[3]],
        [slot[2] for slot in found if not slot[3]],
        waits(cells) if numbers[c.WAITING] else [],
        (numbers[c.OVERFLOW_HOLDS], numbers[c.OVERFLOW_HOLDS_SINCE]),
        (numbers[c.OVERFLOW_WAITS], numbers[c.OVERFLOW_WAITS_SINCE]),
        known,
        found,
        data[owners:],
    )


def _folded(cells: memoryview[float]) -> memoryview[float]:
    """Return the cells as they are when all are set that are to be."""
    number = cells[c.JOURNAL_LENGTH]
    if not 1.0 <= number <= 1 + c.FOLD_BATCH:
        raise BadFileError("its numbers make no sense")
    between = c.FIRST_HOLD - c.FOLD_BATCH
    copy = memoryview(bytearray(cells)).cast("d")
    copy[c.JOURNAL_LENGTH] = 0.0
    copy[c.JOURNALED_CELLS] = cells[c.FIRST_JOURNAL : between]
    for slot in cells[between : between + int(number) - 1].tolist():
        if not c.FIRST_HOLD <= slot < len(copy) - c.HOLD_ENDED:
            raise BadFileError("its numbers make no sense")
        copy[int(slot)] = copy[int(slot) + c.HOLD_ENDED] = 0.0
    return copy


def _make_sense(numbers: list[float]) -> bool:
    """Whether these are numbers of a pool: a sum that grew from others would stay for ever."""
    counted = numbers[c.TEXT_COUNT :]
    limit, idle_limit, idle_floor, leak_after = numbers[c.LIMIT : c.TEXT_COUNT]
    limited = limit >= 0.0 and idle_limit >= 0.0 and idle_floor >= 0.0
    retired = limit != limit and idle_limit != idle_limit and idle_floor != idle_floor
    return (
        min(counted) >= 0.0
        # Any that is infinite, or NaN, makes the sum so.
        and sum(counted) < math.inf
        and (limited or retired)
        and leak_after >= 0.0
    )


def slots(cells: memoryview[float]) -> list[Slot]:
    """
    Return the holds that are out, or have ended just now, as far as they make sense: each ends
    after it began, and begins after it was asked for.
    """
    if not any(cells[c.FIRST_HOLD :: c.HOLD_CELLS].tolist()):
        return []
    return [
        (slot, since, asked, ended, site, label, lost)
        for slot, (since, asked, ended, site, label, lost) in enumerate(
            HOLD.iter_unpack(cells[c.FIRST_HOLD :])
        )
        if since
        and 0.0 < since < math.inf
        and (0.0 <= asked <= since or (asked == c.ALREADY_COUNTED and not ended))
        and (not ended or since <= ended < math.inf)
    ]


def functions(cells: memoryview[float]) -> list[SiteRow]:
    """Return the functions that there are, as far as they make sense."""
    labels = cells[c.FIRST_LABEL : c.FIRST_LABEL + c.SITES].tolist()
    number = labels.index(0) if 0 in labels else c.SITES  # they come one after the other
    found = zip(
        labels[:number],
        *(cells[start : start + number].tolist() for start in _COLUMNS),
        strict=True,
    )
    return [one for one in found if min(one) >= 0.0 and sum(one) < math.inf]


def waits(cells: memoryview[float]) -> list[float]:
    """Return when each wait began that has a cell."""
    starts = cells[c.FIRST_WAIT : c.FIRST_JOURNAL].tolist()
    return [since for since in starts if 0.0 < since < math.inf]


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
    config: PoolConfig
    values: list[float]
    seen: dict[str, tuple[str, ...]]
    config_id: int
    _pid: int
    _now: float
    _cells: ParsedSegment
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
        for number, seconds, more, more_since in self._cells.functions:
            if number <= len(texts):
                in_use, held, late, lost = out.get(number, NO_SITE_VALUES)
                if more:
                    held += max(0.0, more * now - more_since)
                yield texts[int(number) - 1], in_use + more, seconds + held, late, lost

    def _text(self, number: float) -> str | None:
        return self._texts[int(number) - 1] if 0 < number <= len(self._texts) else None

    def _holds(self) -> Iterator[Hold]:
        for slot, since, _, ended, site, _, lost in self._cells.slots:
            if ended:
                continue
            start = slot * OWNER_BYTES
            owner = (
                self._cells.owners[start : start + OWNER_BYTES]
                .rstrip(b"\0")
                .decode(errors="replace")
            )
            yield Hold(
                pool=self.pool,
                kind=self.kind,
                site=self._text(site),
                held_seconds=max(0.0, self._now - since),
                owner=owner or None,
                overdue=self._now - since > self._cells.numbers[c.LEAK_AFTER],
                abandoned=bool(lost),
                pid=self._pid,
            )

    def _by_function(self) -> dict[float, list[float]]:
        """Return by a function's number what it has out, seconds, what is overdue, abandoned."""
        found: dict[float, list[float]] = {}
        now, leak_after = self._now, self._cells.numbers[c.LEAK_AFTER]
        for _, since, _, ended, _, label, lost in self._cells.slots:
            if label not in found:
                found[label] = [0.0, 0.0, 0.0, 0.0]
            sums = found[label]
            if ended:
                sums[1] += ended - since
                continue
            sums[0] += 1.0
            if now > since:
                sums[1] += now - since
                if now - since > leak_after:
                    sums[2] += 1.0
            if lost:
                sums[3] += 1.0
        return found

"""One pool of another process, parsed from the cells of its segment."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from poolscope.fleet.segment_file import OWNER, OWNER_BYTES
from poolscope.label_values import OTHER_LABEL, printable
from poolscope.ledger import cells as c
from poolscope.ledger.exemplars import exemplars_in
from poolscope.process.pauses import Pause
from poolscope.readings.by_label import LabelReading
from poolscope.readings.exemplars import Exemplars
from poolscope.readings.holders import Hold
from poolscope.readings.hosts import HostReading, host_readings
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.reading import GAUGES, Reading
from poolscope.readings.report import Info

HOST: Final = struct.Struct(f"{c.HOST_CELLS}d")
"""The cells of one host."""

NUMBERS: Final = struct.Struct(f"{c.FIRST_SITE}d")
"""All cells before those of functions, waits and holds."""
HOLD: Final = struct.Struct(f"{c.HOLD_CELLS}d")
"""The cells of one hold."""

MOST: Final = 1e15
"""A count or a number of seconds beyond this is not possible; few of these add up to infinity."""

NO_VALUES: Final = [0.0, 0.0, 0.0, 0.0]

LabelValues = tuple[str, float, float, float, float]
"""The fields of a `LabelReading`."""

Row = tuple[float, float, float, float]
"""The number of the name, seconds, the count of holds without a slot, the sum of their starts."""

ENDED, SITE, OPERATION, HOST_OF_SLOT = 3, 5, 7, 10
"""
The indices in a `Slot` of when it ended, and of what it is for: the number of its function's label,
its operation, and the first cell of its host.
"""

HostRow = tuple[float, float, float, float, float, float, float]
"""
The number of the name, and how many connections are in use, open, being opened and waited for, were
opened, and could not be opened.
"""

Slot = tuple[int, float, float, float, float, float, float, float, float, float, float]
"""The index of a hold's slot, and its cells."""


class BadFileError(Exception):
    """The file is not the file of a pool, or is of another version, or is damaged."""


class ParsedSegment(NamedTuple):
    """
    The valid part of the cells; nothing in it depends on the moment of reading.

    The fields up to `overdue_since` are the arguments of `cells.reading_values`.

    elsewhere: how many connections are in use that are to none of the hosts.
    """

    numbers: list[float]
    held: float
    holds: list[float]
    asked: list[float]
    waits: list[float]
    overflow_holds: tuple[float, float]
    overflow_waits: tuple[float, float]
    overdue_since: list[float]
    sites: list[Row]
    operations: list[Row]
    slots: list[Slot]
    owners: bytes
    exemplars: Exemplars
    hosts: list[HostRow]
    elsewhere: float


def parse_segment(data: bytes, owners: int) -> ParsedSegment:
    """
    Return what the cells say.

    data: the cells, and from the offset `owners` on the names of the owners.

    Raises BadFileError if the numbers are not possible.
    """
    cells: memoryview[float] = memoryview(data)[:owners].cast("d")
    if cells[c.JOURNAL_LENGTH]:
        cells = _finish_fold(cells)
    numbers = list(NUMBERS.unpack_from(cells))
    if not _are_valid(numbers):
        raise BadFileError("its numbers are not possible")
    sites, slots = _rows(cells, c.FIRST_SITE, c.SITES), _hold_slots(cells)
    held = numbers[c.UNKNOWN_SITE_SECONDS] + sum([seconds for _, seconds, _, _ in sites])
    for _, since, asked, ended, *_ in slots:
        if ended:  # it is not folded into any other cell yet
            c.ACQUIRE_SECONDS.observe(numbers, since - asked)
            c.HOLD_SECONDS.observe_count(numbers, ended - since)
            held += ended - since
    return ParsedSegment(
        numbers,
        held,
        [since for _, since, _, ended, *_ in slots if not ended],
        [asked for _, _, asked, ended, *_ in slots if not ended],
        _wait_starts(cells) if numbers[c.WAITING] else [],
        (numbers[c.OVERFLOW_HOLDS], numbers[c.OVERFLOW_HOLDS_SINCE]),
        (numbers[c.OVERFLOW_WAITS], numbers[c.OVERFLOW_WAITS_SINCE]),
        [max(since, counts_from) for _, since, _, ended, *_, counts_from, _ in slots if not ended],
        sites,
        _rows(cells, c.FIRST_OPERATION, c.OPERATIONS),
        slots,
        data[owners:],
        exemplars_in(cells),
        *_hosts(cells, slots),
    )


def with_pauses(cells: ParsedSegment, pauses: Sequence[Pause]) -> ParsedSegment:
    """Return the cells with pauses of the process that it may not have noticed itself."""
    numbers = cells.numbers.copy()
    for start, end in pauses:
        c.add_pause(numbers, start, end, min(cells.holds, default=end))
    return cells._replace(numbers=numbers)


def _finish_fold(cells: memoryview[float]) -> memoryview[float]:
    """Return a copy of the cells with the fold in the journal carried out."""
    number = cells[c.JOURNAL_LENGTH]
    if not 1.0 <= number <= 1 + c.FOLD_BATCH:
        raise BadFileError("its numbers are not possible")
    first_slot = c.FIRST_HOLD - c.FOLD_BATCH
    copy = memoryview(bytearray(cells)).cast("d")
    copy[c.JOURNAL_LENGTH] = 0.0
    copy[c.JOURNALED_CELLS] = cells[c.FIRST_JOURNAL : first_slot]
    for slot in cells[first_slot : first_slot + int(number) - 1].tolist():
        if not c.FIRST_HOLD <= slot < len(copy) - c.HOLD_ENDED:
            raise BadFileError("its numbers are not possible")
        copy[int(slot)] = copy[int(slot) + c.HOLD_ENDED] = 0.0
    return copy


def _are_valid(numbers: list[float]) -> bool:
    """Whether these can be numbers of a pool: wrong ones would stay in the totals for ever."""
    counted = numbers[c.TEXT_COUNT :]
    limit, idle_limit, idle_floor, leak_after = numbers[c.LIMIT : c.TEXT_COUNT]
    limited = limit >= 0.0 and idle_limit >= 0.0 and idle_floor >= 0.0
    retired = limit != limit and idle_limit != idle_limit and idle_floor != idle_floor
    return (
        min(counted) >= 0.0
        # One that is infinite or NaN makes the sum so.
        and sum(counted) < MOST
        and (limited or retired)
        and leak_after >= 0.0
    )


def _hold_slots(cells: memoryview[float]) -> list[Slot]:
    """
    Return the holds that are open, or have ended and are not folded yet.

    A hold that does not end after it began, or begins before it was asked for, is left out.
    """
    if not any(cells[c.FIRST_HOLD :: c.HOLD_CELLS].tolist()):
        return []
    return [
        (slot, since, asked, ended, *more)
        for slot, (since, asked, ended, *more) in enumerate(HOLD.iter_unpack(cells[c.FIRST_HOLD :]))
        if since
        and 0.0 < since < MOST
        and (0.0 <= asked <= since or (asked == c.ALREADY_COUNTED and not ended))
        and (not ended or since <= ended < MOST)
    ]


def _rows(cells: memoryview[float], first: int, size: int) -> list[Row]:
    """Return the rows of the labels whose numbers are possible."""
    labels = cells[first + c.ROW_LABEL : first + c.ROW_LABEL + size].tolist()
    count = labels.index(0) if 0 in labels else size  # used rows have no gaps between them
    columns = first, first + c.ROW_OVERFLOW, first + c.ROW_OVERFLOW_SINCE
    rows = zip(
        labels[:count],
        *(cells[start : start + count].tolist() for start in columns),
        strict=True,
    )
    return [row for row in rows if min(row) >= 0.0 and sum(row) < MOST]


def _hosts(cells: memoryview[float], slots: Sequence[Slot]) -> tuple[list[HostRow], float]:
    """Return the rows of the hosts whose numbers are possible, and `ParsedSegment.elsewhere`."""
    if not cells[c.FIRST_HOST + c.HOST_LABEL]:  # as in a pool of a single server
        return [], 0.0
    in_use = Counter(slot[HOST_OF_SLOT] for slot in slots if not slot[ENDED])
    rows: list[HostRow] = []
    places = range(c.FIRST_HOST, c.FIRST_LABEL, c.HOST_CELLS)
    each = zip(places, HOST.iter_unpack(cells[c.FIRST_HOST : c.FIRST_LABEL]), strict=True)
    for at, (opened, failed, now_open, opening, waiting, overflow, label) in each:
        held = in_use.pop(at, 0) + overflow
        row = label, held, now_open, opening, waiting, opened, failed
        if label and min(row) >= 0.0 and sum(row) < MOST:
            rows.append(row)
    return rows, float(in_use.total())


def _wait_starts(cells: memoryview[float]) -> list[float]:
    """Return the start of each wait that has a cell."""
    starts = cells[c.FIRST_WAIT : c.FIRST_EXEMPLAR].tolist()
    return [since for since in starts if 0.0 < since < math.inf]


@dataclass(slots=True)
class PoolView:
    """
    One pool of one process at one moment.

    address: what it connects to.
    values: the values of its reading.
    since: the Unix time since when it counts; 0.0 if it is not known.
    evidence: the lines at which each rule was broken, by rule.
    config_id: a number that pools with equal `config`, `info` and `evidence` share.
    resting: whether it counts nowhere, because its process has only forked others that use it.
    """

    pool: str
    kind: str
    address: str
    info: Info
    config: PoolConfig
    values: list[float]
    since: float
    evidence: dict[str, tuple[str, ...]]
    config_id: int
    _pid: int
    _now: float
    _cells: ParsedSegment
    _texts: list[str]
    resting: bool = False

    @property
    def reading(self) -> Reading:
        """The reading of the pool."""
        return Reading.of(self.values)

    @property
    def most_in_use(self) -> float:
        """The most connections that were in use at once, also after it was closed."""
        return self._cells.numbers[c.MOST_IN_USE]

    @property
    def unused(self) -> bool:
        """Whether nobody has ever asked the pool for a connection, and it has none."""
        numbers = self._cells.numbers
        counted = (*numbers[c.TIMEOUT : c.CLOSED + 1], numbers[c.OPENING], numbers[c.WAITING])
        return not any(counted)

    def rest(self) -> None:
        """Let it count nowhere until it is used: its process only forks others that use it."""
        self.resting = True
        self.values[:GAUGES] = [0.0] * GAUGES

    def holds(self) -> list[Hold]:
        """Return its connections in use."""
        return list(self._holds())

    @property
    def exemplars(self) -> Exemplars:
        """The exemplars of its histograms."""
        return self._cells.exemplars

    def sites(self) -> list[LabelReading]:
        """Return the numbers of each function of the application."""
        return [LabelReading(*values) for values in self.each_site()]

    def each_site(self) -> Iterator[LabelValues]:
        """Yield the values of `sites`."""
        return self._each(self._cells.sites, SITE)

    def operations(self) -> list[LabelReading]:
        """Return the numbers of each operation."""
        return [LabelReading(*values) for values in self.each_operation()]

    def each_operation(self) -> Iterator[LabelValues]:
        """Yield the values of `operations`."""
        return self._each(self._cells.operations, OPERATION)

    def hosts(self) -> list[HostReading]:
        """Return the connections to each host; none in a pool of a single server."""
        texts, rows = self._texts, self._cells.hosts
        return host_readings(
            [(texts[int(row[0]) - 1], *row[1:]) for row in rows if row[0] <= len(texts)],
            self._cells.elsewhere,
        )

    def _each(self, rows: Sequence[Row], which: int) -> Iterator[LabelValues]:
        if not rows:  # as in most pools without operations
            return
        slot_sums, now, texts = self._sum_slots(rows, which), self._now, self._texts
        for number, seconds, overflow, overflow_since in rows:
            if number <= len(texts):
                in_use, held, overdue, abandoned = slot_sums.get(number, NO_VALUES)
                if overflow:
                    held += max(0.0, overflow * now - overflow_since)
                yield (
                    texts[int(number) - 1],
                    in_use + overflow,
                    seconds + held,
                    overdue,
                    abandoned,
                )

    def _text(self, number: float) -> str | None:
        """Return the text with that number as it is shown, or None if there is none."""
        return printable(self._texts[int(number) - 1]) if 0 < number <= len(self._texts) else None

    def _holds(self) -> Iterator[Hold]:
        slots = self._cells.slots
        for slot, since, _, ended, site, _, lost, operation, now_at, counts_from, _ in slots:
            if ended:
                continue
            owner, trace = OWNER.unpack_from(self._cells.owners, slot * OWNER_BYTES)
            yield Hold(
                pool=self.pool,
                kind=self.kind,
                site=self._text(site),
                operation=self._text(operation),
                now_at=self._text(now_at) if not lost else None,
                held_seconds=max(0.0, self._now - since),
                # A character that was cut in the middle is ignored.
                owner=printable(owner.rstrip(b"\0").decode(errors="ignore")) or None,
                trace_id=trace.hex() if any(trace) else None,
                overdue=c.is_overdue(self._cells.numbers, max(since, counts_from), self._now),
                abandoned=bool(lost),
                on_purpose=counts_from == math.inf,
                pid=self._pid,
            )

    def _sum_slots(self, rows: Sequence[Row], which: int) -> dict[float, list[float]]:
        """
        Return sums over the hold slots, by the number of the label: see `LabelReading`.

        which: `SITE` or `OPERATION`. An operation without a row is one of the others.
        """
        by_label: dict[float, list[float]] = {row[0]: [0.0, 0.0, 0.0, 0.0] for row in rows}
        others = by_label.get(self._number_of_others(rows), [0.0, 0.0, 0.0, 0.0])
        now, numbers = self._now, self._cells.numbers
        for slot in self._cells.slots:
            _, since, _, ended, _, _, lost, *_, counts_from, _ = slot
            if not slot[which]:
                continue
            sums = by_label.get(slot[which], others)
            if ended:
                sums[1] += ended - since
                continue
            sums[0] += 1.0
            if now > since:
                sums[1] += now - since
                if c.is_overdue(numbers, max(since, counts_from), now):
                    sums[2] += 1.0
            if lost:
                sums[3] += 1.0
        return by_label

    def _number_of_others(self, rows: Sequence[Row]) -> float:
        """Return the number of the row of all other labels, or 0.0 if it has none."""
        for number, *_ in reversed(rows):
            if self._text(number) == OTHER_LABEL:
                return number
        return 0.0

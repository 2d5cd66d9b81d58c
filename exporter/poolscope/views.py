"""What one pool of another process is, as its cells say."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from poolscope import cells as c
from poolscope.findings import Setup
from poolscope.holders import Hold, SiteReading
from poolscope.reading import Reading
from poolscope.report import Info
from poolscope.segment import OWNER_BYTES

SITE: Final = struct.Struct(f"{c.SITE_CELLS}d")
HOLD: Final = struct.Struct(f"{c.HOLD_CELLS}d")
"""The cells of a function, and of a hold."""

NOTHING: Final = [0.0, 0.0, 0.0, 0.0]

SiteValues = tuple[str, float, float, float, float]

Slot = tuple[int, float, float, float, float, float, float]
"""Which of the slots it is, and its cells."""


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
        and (0.0 <= asked <= since or (asked == c.COUNTED and not ended))
        and (not ended or since <= ended < math.inf)
    ]


def functions(cells: memoryview[float]) -> list[tuple[float, ...]]:
    """Return the cells of each function, as far as they make sense."""
    found = []
    for function in SITE.iter_unpack(cells[c.FIRST_SITE : c.FIRST_WAIT]):
        if not function[0]:  # they come one after the other
            break
        if min(function) >= 0.0 and sum(function) < math.inf:
            found.append(function)
    return found


def waits(cells: memoryview[float]) -> list[float]:
    """Return when each wait began that has a cell."""
    starts = cells[c.FIRST_WAIT : c.FIRST_HOLD].tolist()
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
    setup: Setup
    values: list[float]
    seen: dict[str, tuple[str, ...]]
    likeness: int
    _pid: int
    _now: float
    _leak_after: float
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
            if number <= len(texts):
                in_use, held, late, lost = out.get(number, NOTHING)
                if more:
                    held += max(0.0, more * now - more_since)
                yield texts[int(number) - 1], in_use + more, seconds + held, late, lost

    def _text(self, number: float) -> str | None:
        return self._texts[int(number) - 1] if 0 < number <= len(self._texts) else None

    def _holds(self) -> Iterator[Hold]:
        for slot, since, _, ended, site, _, lost in self._slots:
            if ended:
                continue
            start = slot * OWNER_BYTES
            owner = self._owners[start : start + OWNER_BYTES].rstrip(b"\0").decode(errors="replace")
            yield Hold(
                pool=self.pool,
                kind=self.kind,
                site=self._text(site),
                held_seconds=max(0.0, self._now - since),
                owner=owner or None,
                overdue=self._now - since > self._leak_after,
                abandoned=bool(lost),
                pid=self._pid,
            )

    def _by_function(self) -> dict[float, list[float]]:
        """Return by a function's number what it has out, seconds, what is overdue, abandoned."""
        found: dict[float, list[float]] = {}
        now, leak_after = self._now, self._leak_after
        for _, since, _, ended, _, label, lost in self._slots:
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

"""A copy of what is final in a ledger at one moment, from which all readings are made."""

from __future__ import annotations

from array import array
from collections.abc import Hashable
from operator import getitem
from typing import Any

from poolscope.callsites.frames import OTHER_SITES, SHOWN_SITES, Function
from poolscope.ledger import cells as c
from poolscope.ledger.changes import MISSING, Changes, perform
from poolscope.ledger.folding import add_finished
from poolscope.ledger.hold_records import known
from poolscope.ledger.holds import Holds
from poolscope.ledger.open_holds import ORDINARY, OpenHold, Purpose, overdue_since
from poolscope.ledger.waits import Waits
from poolscope.readings.holders import Holder
from poolscope.readings.sites import SiteReading


class Copy:
    """
    What is final at one moment: the holds that have ended are in the numbers, and the changes of an
    event that is being applied are not.

    All is copied in one call of C code, so under the GIL no lock is needed for it. Without the GIL
    a hold that ends meanwhile is in both copies, because the open holds are copied first.

    numbers: the cells before `FIRST_WAIT`.
    in_use: the open holds, by key.
    """

    __slots__ = ("_abandoned", "_by_label", "_purposes", "_waits", "in_use", "numbers")

    def __init__(self, numbers: array[float], holds: Holds, waits: Waits, changes: Changes) -> None:
        originals: list[Any] = [
            holds.in_use,
            holds.abandoned_keys,
            holds.site_cells.by_label,
            holds.purposes,
            waits.current,
        ]
        *copies, finished, self.numbers, steps = perform(
            [
                *((original.copy,) for original in originals),
                (holds.finished.copy,),
                (getitem, numbers, slice(None)),
                (changes.steps.copy,),
            ]
        )
        copy_of = {id(original): copy for original, copy in zip(originals, copies, strict=True)}
        copy_of[id(numbers)] = self.numbers
        for container, key, value in reversed(steps):
            _take_back(copy_of.get(id(container)), key, value)
        self.in_use: dict[Hashable, OpenHold]
        self._purposes: dict[Hashable, Purpose]
        self.in_use, self._abandoned, self._by_label, self._purposes, self._waits = copies
        if finished:
            add_finished(finished, self.in_use, self.numbers, self._cell)

    def values(self, now: float) -> list[float]:
        """Return the values of a reading at the clock's `now`."""
        numbers, held = self.numbers, self.in_use.values()
        taken = [hold[1] for hold in held if hold[0] == c.TAKEN]
        return c.reading_values(
            now,
            numbers[: c.FIRST_SITE].tolist(),
            numbers[c.UNKNOWN_SITE_SECONDS] + sum(numbers[c.FIRST_SITE : c.FIRST_LABEL]),
            [hold[0] for hold in held if hold[0] != c.TAKEN],
            [hold[1] for hold in held if hold[0] != c.TAKEN],
            [since for since, _ in self._waits.values()],
            (len(taken), sum(taken)),
            overdue_since=[
                overdue_since(self._purposes, key, hold[0])
                for key, hold in self.in_use.items()
                if hold[0] != c.TAKEN
            ],
        )

    def holders(self, now: float) -> list[Holder]:
        """Return the holders of the connections in use, the longest hold first."""
        holders = [
            Holder(
                known(borrower),
                max(0.0, now - since),
                self._is_overdue(key, since, now),
                key in self._abandoned,
                self._purposes.get(key, ORDINARY).is_on_purpose,
            )
            for key, (since, _, borrower, _, _) in self.in_use.items()
            if since != c.TAKEN
        ]
        return sorted(holders, key=lambda holder: -holder.held_seconds)

    def sites(self, now: float) -> list[SiteReading]:
        """Return the open and finished holds of each function of the application."""
        sums: dict[str, list[float]] = {}
        for key, (since, _, borrower, _, _) in self.in_use.items():
            if borrower[0] is not None:
                row = sums.setdefault(self._label(borrower[0]), [0, 0.0, 0, 0])
                row[0] += 1
                row[1] += max(0.0, now - since)
                row[2] += self._is_overdue(key, since, now)
                row[3] += key in self._abandoned
        no_holds = [0, 0.0, 0, 0]
        return [
            SiteReading(label, in_use, self.numbers[cell] + seconds, overdue, abandoned)
            for label, cell in self._by_label.items()
            for in_use, seconds, overdue, abandoned in [sums.get(label, no_holds)]
        ]

    def _is_overdue(self, key: Hashable, since: float, now: float) -> bool:
        return c.is_overdue(self.numbers, overdue_since(self._purposes, key, since), now)

    def _label(self, function: Function) -> str:
        known_or_room = function.label in self._by_label or len(self._by_label) < SHOWN_SITES
        return function.label if known_or_room else OTHER_SITES

    def _cell(self, function: Function | None) -> int:
        """Return the cell of a function, as `SiteCells` will once it folds the same holds."""
        if function is None:
            return c.UNKNOWN_SITE_SECONDS
        label = self._label(function)
        cell: int = self._by_label.setdefault(label, c.FIRST_SITE + len(self._by_label))
        self.numbers.extend([0.0] * (cell + 1 - len(self.numbers)))
        return cell


def _take_back(copy: Any, key: Any, value: Any) -> None:
    """Take back a change in a copy, if the container that was changed has one."""
    if copy is None:
        return
    if value is MISSING:
        copy.pop(key, None)
    else:
        copy[key] = value

"""A copy of what is final in a ledger at one moment, from which all readings are made."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Hashable
from operator import getitem
from typing import Any

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Function
from poolscope.callsites.operations import found_name
from poolscope.ledger import cells as c
from poolscope.ledger.changes import MISSING, Changes, perform
from poolscope.ledger.connections import Connections
from poolscope.ledger.folding import add_finished
from poolscope.ledger.hold_records import known
from poolscope.ledger.holds import Holds
from poolscope.ledger.label_cells import OPERATIONS, SITES, K, Labels
from poolscope.ledger.open_holds import ORDINARY, OpenHold, Purpose, overdue_since
from poolscope.ledger.waits import Waits
from poolscope.readings.by_label import LabelReading
from poolscope.readings.holders import Holder
from poolscope.readings.hosts import HostReading, host_readings


class Copy:
    """
    What is final at one moment: the holds that have ended are in the numbers, and the changes of an
    event that is being applied are not.

    All is copied in one call of C code, so under the GIL no lock is needed for it. Without the GIL
    a hold that ends meanwhile is in both copies, because the open holds are copied first.

    numbers: the cells before `FIRST_WAIT`.
    in_use: the open holds, by key.
    """

    __slots__ = (
        "_abandoned",
        "_hosts",
        "_open",
        "_operations",
        "_purposes",
        "_sites",
        "_waits",
        "in_use",
        "numbers",
    )

    def __init__(
        self,
        numbers: array[float],
        connections: Connections,
        holds: Holds,
        waits: Waits,
        changes: Changes,
    ) -> None:
        originals: list[Any] = [
            holds.in_use,
            holds.abandoned_keys,
            holds.site_cells.by_label,
            holds.operation_cells.by_label,
            holds.purposes,
            waits.current,
        ]
        if connections.host_cells is not None:
            originals += connections.open, connections.host_cells.by_label
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
        self._sites: dict[str, int]
        self._operations: dict[str, int]
        self.in_use, self._abandoned, self._sites, self._operations, *others = copies
        self._open: dict[Hashable, int]
        self._hosts: dict[str, int]
        self._purposes, self._waits, *others = others
        self._open, self._hosts = others or ({}, {})
        if finished:
            add_finished(finished, self.in_use, self.numbers, self._site_cell, self._operation_cell)

    def values(self, now: float) -> list[float]:
        """Return the values of a reading at the clock's `now`."""
        numbers, held = self.numbers, self.in_use.values()
        taken = [hold[1] for hold in held if hold[0] == c.TAKEN]
        return c.reading_values(
            now,
            numbers[: c.FIRST_SITE].tolist(),
            numbers[c.UNKNOWN_SITE_SECONDS] + sum(numbers[c.FIRST_SITE : c.FIRST_OPERATION]),
            [hold[0] for hold in held if hold[0] != c.TAKEN],
            [hold[1] for hold in held if hold[0] != c.TAKEN],
            [since for since, *_ in self._waits.values()],
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

    def sites(self, now: float) -> list[LabelReading]:
        """Return the open and finished holds of each function of the application."""
        return self._by_label(now, SITES, self._sites, _function_of)

    def operations(self, now: float) -> list[LabelReading]:
        """Return the open and finished holds of each operation."""
        return self._by_label(now, OPERATIONS, self._operations, _name_of)

    def hosts(self) -> list[HostReading]:
        """Return the connections to each host; none in a pool of a single server."""
        if not self._hosts:
            return []
        in_use = Counter(self._open.get(key, 0) for key in self.in_use)
        numbers = self.numbers
        rows = [
            (
                label,
                in_use[at],
                *(numbers[at + cell] for cell in (c.HOST_OPEN, c.HOST_OPENING, c.HOST_WAITING)),
                *(numbers[at + cell] for cell in (c.HOST_OPENED, c.HOST_FAILED)),
            )
            for label, at in self._hosts.items()
        ]
        return host_readings(rows, in_use[0])

    def _by_label(
        self,
        now: float,
        labels: Labels[K],
        by_label: dict[str, int],
        key_of: Callable[[Borrower], K | None],
    ) -> list[LabelReading]:
        sums: dict[str, list[float]] = {}
        for key, (since, _, borrower, _, _) in self.in_use.items():
            found = key_of(borrower)
            if found is not None:
                row = sums.setdefault(labels.label(found, by_label), [0, 0.0, 0, 0])
                row[0] += 1
                row[1] += max(0.0, now - since)
                row[2] += self._is_overdue(key, since, now)
                row[3] += key in self._abandoned
        no_holds = [0, 0.0, 0, 0]
        return [
            LabelReading(label, in_use, self.numbers[cell] + seconds, overdue, abandoned)
            for label, cell in by_label.items()
            for in_use, seconds, overdue, abandoned in [sums.get(label, no_holds)]
        ]

    def _is_overdue(self, key: Hashable, since: float, now: float) -> bool:
        return c.is_overdue(self.numbers, overdue_since(self._purposes, key, since), now)

    def _site_cell(self, function: Function) -> int:
        return self._cell(SITES, self._sites, function)

    def _operation_cell(self, name: str) -> int:
        return self._cell(OPERATIONS, self._operations, name)

    def _cell(self, labels: Labels[K], by_label: dict[str, int], key: K) -> int:
        """Return the cell of one, as `LabelCells` will once it folds the same holds."""
        label = labels.label(key, by_label)
        cell = by_label.setdefault(label, labels.cell(label, by_label))
        self.numbers.extend([0.0] * (cell + 1 - len(self.numbers)))
        return cell


def _function_of(borrower: Borrower) -> Function | None:
    return borrower[0]


def _name_of(borrower: Borrower) -> str | None:
    operation = borrower[4]
    return found_name(operation) if operation is not None else None


def _take_back(copy: Any, key: Any, value: Any) -> None:
    """Take back a change in a copy, if the container that was changed has one."""
    if copy is None:
        return
    if value is MISSING:
        copy.pop(key, None)
    else:
        copy[key] = value

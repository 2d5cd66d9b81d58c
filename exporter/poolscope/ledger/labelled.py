"""What a ledger knows by label: by function of the application, by operation, and by host."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from poolscope.callsites.frames import Site
from poolscope.callsites.operations import Operation, found_name
from poolscope.ledger import cells as c
from poolscope.ledger.state import State
from poolscope.readings.by_label import LabelReading
from poolscope.readings.hosts import HostReading


class Labelled(NamedTuple):
    """The open and finished holds of each function and operation, and the connections by host."""

    sites: list[LabelReading]
    operations: list[LabelReading]
    hosts: list[HostReading]


class LabelledState(State):
    """The readings by label."""

    __slots__ = ()

    def labelled(self) -> Labelled:
        """Return one consistent reading by label."""
        with self.reading_lock() as locked:
            if locked:
                self._add_labels()
            now, copy = self.clock(), self._copy()
        return Labelled(copy.sites(now), copy.operations(now), copy.hosts())

    def sites(self) -> list[LabelReading]:
        """Return the open and finished holds of each function of the application."""
        return self.labelled().sites

    def operations(self) -> list[LabelReading]:
        """Return the open and finished holds of each operation."""
        return self.labelled().operations

    def hosts(self) -> list[HostReading]:
        """Return the connections to each host; none in a pool of a single server."""
        return self.labelled().hosts

    def place(self, places: Mapping[Hashable, Site]) -> None:
        """
        Say to readers in other processes at which line of the application the holders are.

        places: the lines by `borrower_key`.
        """
        if not (places and self._segment.shared):
            return
        with self.reading_lock() as locked:
            if locked:
                self._begin_change()
                self.holds.place(places)
                self._commit()

    def flush(self) -> None:
        super().flush()
        if self._segment.shared and self._unnamed():
            self._begin_change()
            self._name_operations()
            self._commit()

    def _unnamed(self) -> list[tuple[int, Operation]]:
        """Return the slots whose operations had no name when the connections were taken."""
        cells = self._segment.cells
        return [
            (slot, borrower[4])
            for _, _, borrower, _, slot in self.holds.in_use.copy().values()
            if slot and borrower[4] is not None and not cells[slot + c.HOLD_OPERATION]
        ]

    def _name_operations(self) -> None:
        """Publish the names that are known by now. The caller has the lock, and makes it final."""
        for slot, operation in self._unnamed():
            self.holds.name_operation(slot, operation)

    def _add_labels(self) -> None:
        """Give what holds a connection its cell. The caller has the lock."""
        holds = self.holds.in_use.copy().values()
        functions = {hold[2][0] for hold in holds}
        operations = {hold[2][4] for hold in holds}
        self._begin_change()
        for function in functions:
            if function is not None:
                self.holds.site_cells.cell(function)
        for operation in operations:
            name = found_name(operation) if operation is not None else None
            if name is not None:
                self.holds.operation_cells.cell(name)
        self._commit()

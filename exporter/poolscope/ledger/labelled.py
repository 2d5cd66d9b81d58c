"""What a ledger knows by label: by function of the application, and by operation."""

from __future__ import annotations

from typing import NamedTuple

from poolscope.callsites.operations import found_name
from poolscope.ledger.state import State
from poolscope.readings.by_label import LabelReading


class Labelled(NamedTuple):
    """The open and finished holds of each function, and of each operation."""

    sites: list[LabelReading]
    operations: list[LabelReading]


class LabelledState(State):
    """The readings by label."""

    __slots__ = ()

    def labelled(self) -> Labelled:
        """Return one consistent reading by label."""
        with self.reading_lock() as locked:
            if locked:
                self._add_labels()
            now, copy = self.clock(), self._copy()
        return Labelled(copy.sites(now), copy.operations(now))

    def sites(self) -> list[LabelReading]:
        """Return the open and finished holds of each function of the application."""
        return self.labelled().sites

    def operations(self) -> list[LabelReading]:
        """Return the open and finished holds of each operation."""
        return self.labelled().operations

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

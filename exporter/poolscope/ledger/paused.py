"""Pauses of the process, which are no time of its holds."""

from __future__ import annotations

import math
from collections.abc import Hashable

from poolscope.ledger import cells as c
from poolscope.ledger.labelled import LabelledState
from poolscope.ledger.recorder import recorded_if_awake
from poolscope.readings.reading import Reading


class PausedState(LabelledState):
    """The state of a ledger whose process may pause; see `poolscope.process.pauses`."""

    __slots__ = ()

    def _look_back(self, key: Hashable, now: float) -> None:
        """A hold ends: if it was long, find out whether the process has been running meanwhile."""
        hold = self.holds.in_use.get(key)
        if (
            self._pauses is not None
            and hold is not None
            and self.leak_after < now - hold[0] < math.inf
        ):
            self._pauses.look_back()
            self.follow_pauses()

    def read(self) -> Reading:
        """Return one consistent reading that includes all events and pauses before the call."""
        self.follow_pauses()
        return super().read()

    def follow_pauses(self) -> None:
        """Record the pauses of the process that are not known yet."""
        if self._pauses is not None:
            for start, end in self._pauses.known:
                if end > self._cells[c.PAUSES]:
                    self._paused(start, end)

    @recorded_if_awake
    def _paused(self, start: float, end: float) -> None:
        """The process did not run from `start` to `end`; again, it changes nothing."""
        begun = [hold[0] for hold in list(self.holds.in_use.values()) if hold[0] != c.TAKEN]
        c.add_pause(self._cells, start, end, min(begun, default=end))

"""How the attempts of callers wait in the queue, and how those end that get no connection."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from poolscope.callsites.traces import Trace, trace_of_caller, tracers
from poolscope.ledger import cells as c
from poolscope.ledger.labelled import LabelledState
from poolscope.ledger.recorder import recorded
from poolscope.readings.exemplars import ACQUIRES

TRACED_WAIT: Final = 0.01
"""Seconds; a longer wait in the queue is added to the trace of the caller."""


class Attempts(LabelledState):
    """The events of attempts that wait or fail."""

    __slots__ = ()

    @recorded
    def waiting(self, caller: Hashable, now: float, host: str | None = None) -> None:
        """A caller begins to wait, because no slot is free."""
        if caller not in self._waits:
            self._advance(now)
            self._waits.begin(caller, now, self._connections.host(host))
            if self._cells[c.WAITING] == 1.0:
                self._count(now)

    @recorded
    def stopped_waiting(self, caller: Hashable, now: float) -> None:
        """The caller no longer waits, whether it got a slot or not."""
        if caller in self._waits:
            self._advance(now)
            self._waits.end(caller, now)
            if not self._cells[c.WAITING]:
                self._count(now)

    def waited(self, seconds: float) -> None:
        """An attempt had to wait for a slot, and got one. This is recorded in its context."""
        self._waited(seconds)
        self._tell_tracer(seconds)

    @recorded
    def _waited(self, seconds: float) -> None:
        self._wait(seconds)

    def _tell_tracer(self, queued: float | None) -> None:
        """Add a long wait of the caller to its trace, if it has one."""
        if queued is not None and queued > TRACED_WAIT and tracers:
            self._on_long_wait(queued)

    def finished(
        self, outcome: int, seconds: float, queued: float | None, gave_up: bool = False
    ) -> None:
        """
        An attempt has ended without a connection of the pool. This is recorded in its context.

        outcome: `cells.TIMEOUT`, `CANCELLED` or `ERROR`; `OK` if the caller got a connection that
            no longer belongs to the pool.
        seconds: the duration of the attempt.
        queued: the seconds of it spent waiting for a slot; None if it did not have to wait.
        gave_up: whether it ended while it waited, whatever ended it.
        """
        self._finished(outcome, seconds, queued, gave_up, trace_of_caller())
        self._tell_tracer(queued)

    @recorded
    def _finished(
        self,
        outcome: int,
        seconds: float,
        queued: float | None,
        gave_up: bool,
        trace: Trace | None,
    ) -> None:
        self._cells[outcome] += 1
        self._cells[c.GAVE_UP] += gave_up
        c.ACQUIRE_SECONDS.observe(self._cells, seconds)
        if trace is not None:
            self.holds.exemplars.observe(ACQUIRES, seconds, trace)
        self._wait(queued)

    def _wait(self, queued: float | None) -> None:
        """Observe how long an attempt waited for a slot, if it did."""
        if queued is not None:
            self._cells[c.WAITED] += 1
            c.QUEUE_SECONDS.observe(self._cells, queued)

"""What a pool's numbers say, read at one moment while others record."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Final, TypeVar

from poolscope.ledger import cells as c
from poolscope.ledger.holds import Hold, News
from poolscope.ledger.state import Tally
from poolscope.readings.holders import Holder, SiteReading, Who
from poolscope.readings.reading import Reading

T = TypeVar("T")

READS: Final = 10
"""How often a reader tries to do so while no hold ends, which takes a few microseconds."""


class Readable(Tally):
    """A tally that can be read. Times are readings of `clock`, in seconds."""

    __slots__ = ()

    def settle(self) -> None:
        if self.holds.ended:
            changing = self._change()
            try:
                self.holds.fold()
            finally:
                self._changed(changing)

    def read(self) -> Reading:
        """Return one consistent reading, with everything that was recorded before the call."""
        with self.patiently():
            now = self.clock()
            cells, held, out = self._undisturbed(self._state)
            waits = self._waits.since()
        holds = [hold[0] for hold in out if hold[0] != c.TAKEN]
        asked = [hold[1] for hold in out if hold[0] != c.TAKEN]
        taken = [hold[1] for hold in out if hold[0] == c.TAKEN]
        values = c.values(now, cells, held, holds, asked, waits, (len(taken), sum(taken)))
        return Reading.of(self._rising.raised(values))

    def connections(self) -> tuple[frozenset[Hashable], frozenset[Hashable]]:
        """Return the keys of the connections that are open, and of those that are out."""
        with self.patiently():
            return frozenset(self._open), frozenset(self.holds.out)

    def holders(self) -> list[Holder]:
        """Return who has what is out, the longest hold first."""
        with self.patiently():
            return self.holds.holders(self.clock())

    def sites(self) -> list[SiteReading]:
        """Return what each function of the application has out, and has had."""
        with self.patiently():
            return self._undisturbed(lambda: self.holds.sites(self.clock()))

    def _state(self) -> tuple[Sequence[float], float, list[Hold]]:
        """Return the cells, the seconds of what has ended, and what is out."""
        return (
            self._cells[: c.FIRST_SITE].tolist(),
            self.holds.seconds(),
            list(self.holds.out.values()),
        )

    def _undisturbed(self, look: Callable[[], T]) -> T:
        """
        Return what is found while no hold ends, which would neither be out nor in a cell.

        They need no lock for that, so it is tried again.
        """
        found = look()
        for _ in range(READS):
            if not self.holds.ended:
                break
            self.settle()
            found = look()
        return found

    def who(self, key: Hashable) -> Who | None:
        """Return who has a connection that is out, if that is known."""
        return self.holds.who(key)

    @property
    def unclosed(self) -> bool:
        """Whether the pool has connections and takes callers, so that nobody has closed it."""
        return bool(self._open) and not math.isnan(self._cells[c.LIMIT])

    @property
    def news(self) -> list[News]:
        """What is to be said in the log; whoever says it takes it out."""
        return self.holds.news

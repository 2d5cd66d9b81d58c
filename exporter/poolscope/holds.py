"""The holds of a pool: what is out, with whom, since when, and what is wrong with it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Final, Literal, NamedTuple

from poolscope import cells as c
from poolscope.holders import Holder, SiteReading, SiteSums, Who
from poolscope.segment import Segment
from poolscope.slots import Slots

KEPT_NEWS: Final = 1000
"""What waits to be said in the log; more than that is only counted."""


class News(NamedTuple):
    """Of a hold, what the log ought to say once."""

    event: Literal["overdue", "abandoned", "recovered"]
    who: Who | None
    held_seconds: float


class Holds:
    """
    What is out now, by the key of the connection.

    look_at: the clock from which on there may be news, `math.inf` while nothing is out.

    The ledger's lock protects everything but `look_at`, `of`, `who` and `news`.
    """

    def __init__(self, segment: Segment, leak_after: float) -> None:
        self._segment = segment
        self._cells = cells = segment.cells
        self._leak_after = leak_after
        self._slots = Slots(cells, c.FIRST_HOLD, len(cells), c.HOLD_CELLS)
        self._who: dict[Hashable, Who] = {}
        self._askers: dict[Hashable, int] = {}
        self._sites = SiteSums(segment.summed)
        self._abandoned: set[Hashable] = set()
        self._told: set[Hashable] = set()
        self.news: deque[News] = deque(maxlen=KEPT_NEWS)
        self.look_at = math.inf

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: object) -> bool:
        return key in self._slots

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._slots)

    def who(self, key: Hashable) -> Who | None:
        """Return who has the connection, if that is known."""
        return self._who.get(key)

    def of(self, asker: Hashable) -> int:
        """Return how many connections that task or thread has."""
        return self._askers.get(asker, 0)

    def reserve(self, key: Hashable, since: float) -> None:
        """A connection is out: since then, or, with 0.0, for a caller who does not have it yet."""
        self._slots.begin(key, since)
        if since:
            self._expect(since)
            self._mark(key, None)

    def begin(self, key: Hashable, now: float, who: Who | None) -> None:
        """A caller has a connection that is out; a hold of it by another (shared) one ends."""
        self._end(key, self._slots.restart(key, now), now, returned=True)
        self._expect(now)
        self._mark(key, who)
        if who is not None:
            self._who[key] = who
            self._askers[who.asker] = self.of(who.asker) + 1
            self._sites.change(who.label, 1, now)

    def end(self, key: Hashable, now: float, returned: bool) -> None:
        """A connection is out no more: `returned` by its holder, or lost."""
        since = self._slots.end(key)
        if since is not None:
            self._end(key, since, now, returned)

    def abandon(self, key: Hashable, now: float) -> bool:
        """Nobody is left who could return it; return whether that is new, and of a hold."""
        if key not in self._slots or key in self._abandoned or not self._slots.since(key):
            return False
        self._abandoned.add(key)
        if cell := self._slots.cell(key):
            self._cells[cell + c.HOLD_LOST] = 1.0
        self._cells[c.ABANDONED] = len(self._abandoned)
        self._cells[c.LEAKS_ABANDONED] += 1
        held = max(0.0, now - self._slots.since(key))
        self._tell(News("abandoned", self._who.get(key), held))
        return True

    def look(self, now: float) -> None:
        """Make news of what has become overdue, and know when to look again."""
        next_since = math.inf
        for key in self._slots:
            since = self._slots.since(key)
            if c.is_overdue(since, now, self._leak_after):
                if key not in self._told:
                    self._told.add(key)
                    self.news.append(News("overdue", self._who.get(key), now - since))
            elif since:
                next_since = min(next_since, since)
        self.look_at = next_since + self._leak_after

    def holders(self, now: float) -> list[Holder]:
        """Return who has what is out, the longest hold first."""
        held = [(self._slots.since(key), key) for key in self._slots]
        return [
            Holder(
                self._who.get(key),
                max(0.0, now - since),
                c.is_overdue(since, now, self._leak_after),
                key in self._abandoned,
            )
            for since, key in sorted(held, key=lambda hold: hold[0])
            if since  # else it is being set up for a caller
        ]

    def sites(self, now: float) -> list[SiteReading]:
        """Return what each function of the application has out, and has had."""
        overdue = [
            who.label
            for key, who in self._who.items()
            if c.is_overdue(self._slots.since(key), now, self._leak_after)
        ]
        abandoned = [who.label for key in self._abandoned if (who := self._who.get(key))]
        return self._sites.read(now, overdue, abandoned)

    def without_cell(self) -> list[float]:
        """Return when those began that have no slot."""
        return self._slots.without_cell()

    def _mark(self, key: Hashable, who: Who | None) -> None:
        """Let those who read the segment know who has it."""
        if cell := self._slots.cell(key):
            self._cells[cell + c.HOLD_LOST] = 0.0
            self._segment.held(cell, who)

    def _expect(self, since: float) -> None:
        # Holds begin one after the other, so the first one to become overdue is known already.
        if self.look_at == math.inf:
            self.look_at = since + self._leak_after

    def _tell(self, news: News) -> None:
        self.news.append(news)
        self.look_at = -math.inf

    def _end(self, key: Hashable, since: float, now: float, returned: bool) -> None:
        """Observe a hold, if it had begun, and forget who had it."""
        who = self._who.pop(key, None)
        if who is not None:
            self._sites.change(who.label, -1, now)
            self._askers[who.asker] -= 1
            if not self._askers[who.asker]:
                del self._askers[who.asker]
        if not since:
            return
        c.HOLD_SECONDS.observe(self._cells, now - since)
        if key in self._abandoned:
            self._abandoned.discard(key)
            self._cells[c.ABANDONED] = len(self._abandoned)
            returned = False
        if now - since > self._leak_after:
            self._told.discard(key)
            self._cells[c.WAS_OVERDUE] += 1
            if returned:
                self._cells[c.RECOVERED] += 1
                self._tell(News("recovered", who, now - since))

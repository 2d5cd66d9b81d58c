"""
One pool's numbers: recording, which is the hot path, and reading.

Nothing here counts up and down. What is open and what is out are sets, keyed by whatever
identifies a connection; ending what did not begin, or beginning twice, changes nothing. So a hook
that is missed or fires twice cannot make a gauge drift.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Sequence

from poolscope import cells as c
from poolscope.holders import Holder, SiteReading, Who
from poolscope.holds import News
from poolscope.reading import Reading
from poolscope.recorder import noted, recorded
from poolscope.tally import Tally


class Ledger(Tally):
    """
    The numbers of one pool object.

    Keys are any hashable values that are unique among the open connections (or waits, or
    attempts to open) of the pool while they last. Times are readings of `clock`, in seconds.
    """

    # Connections

    @recorded
    def adopted(self, key: Hashable, now: float, out: bool) -> None:
        """A connection is found that was open before it was watched."""
        self._advance(now)
        self._add(key, out, now if out else 0.0)

    @recorded
    def opening(self, attempt: Hashable, now: float) -> None:
        """The pool begins to establish a connection."""
        self._advance(now)
        self._opening.add(attempt)
        self._cells[c.OPENING] = len(self._opening)

    @recorded
    def opened(
        self, attempt: Hashable, key: Hashable, now: float, seconds: float, out: bool
    ) -> None:
        """The connection is there, `out` with the caller that it was opened for, or idle."""
        self._advance(now)
        self._opening.discard(attempt)
        self._cells[c.OPENING] = len(self._opening)
        c.OPEN_SECONDS.observe(self._cells, seconds)
        self._add(key, out, 0.0)

    @recorded
    def open_failed(self, attempt: Hashable, now: float, seconds: float) -> None:
        """No connection was established; an attempt that did not begin changes nothing."""
        if attempt not in self._opening:
            return
        self._advance(now)
        self._opening.discard(attempt)
        self._cells[c.OPENING] = len(self._opening)
        self._cells[c.OPEN_FAILED] += 1
        c.OPEN_SECONDS.observe(self._cells, seconds)

    @noted
    def closed(self, key: Hashable, now: float) -> None:
        """A connection leaves the pool, from idle or from its holder."""
        if key not in self._open:
            return
        self._advance(now)
        self._out.end(key, now, returned=False)
        self._open.discard(key)
        self._cells[c.CLOSED] += 1
        self._count()

    @recorded
    def invalidated(self, soft: bool) -> None:
        """A connection was marked unusable: closed at once, or `soft`: before its next use."""
        self._cells[c.INVALIDATED_SOFT if soft else c.INVALIDATED_HARD] += 1

    # Slots

    @recorded
    def taken(self, key: Hashable, now: float) -> None:
        """An idle connection is taken for a caller, who does not have it yet."""
        if key not in self._out:
            self._advance(now)
            self._add(key, True, 0.0)

    @recorded
    def held(self, key: Hashable, now: float, reused: bool, who: Who | None = None) -> None:
        """A caller has the connection; `reused` if it was open before the caller asked."""
        self._hold(key, now, reused, who)

    @recorded
    def served(
        self,
        key: Hashable,
        now: float,
        seconds: float,
        queued: float | None,
        reused: bool,
        who: Who | None = None,
    ) -> None:
        """An attempt has ended well, and the caller has the connection: `finished` and `held`."""
        self._finish(c.OK, seconds, queued)
        self._hold(key, now, reused, who)

    @recorded
    def returned(self, key: Hashable, now: float) -> None:
        """A connection is back in the pool, and open."""
        self._advance(now)
        self._out.end(key, now, returned=True)
        self._add(key, False, 0.0)

    @recorded
    def abandoned(self, key: Hashable, now: float) -> None:
        """Nobody is left who could return a connection that is out."""
        if self._out.abandon(key, now):
            who = self._out.who(key)
            self.sightings.note("abandoned", who.site if who is not None else None)

    @noted
    def look(self, now: float) -> None:
        """Look for what has become overdue; see `news`."""
        self._out.look(now)

    # Callers

    def asked(self, who: Who, now: float) -> bool:
        """Somebody asks for a connection; return whether it is time to `look`."""
        # What this caller did last may not be applied yet, but then it is in the queue.
        if self._out.of(who.asker) or self._pending or self._lock.locked():
            self._asked(who)
        return now >= self._out.look_at

    @recorded
    def _asked(self, who: Who) -> None:
        if self._out.of(who.asker):
            self._cells[c.NESTED] += 1
            self.sightings.note("nested-acquire", who.site)

    @recorded
    def waiting(self, caller: Hashable, now: float) -> None:
        """A caller blocks, because no slot is free."""
        if caller in self._waiting:
            return
        self._advance(now)
        self._waiting.begin(caller, now)
        self._count_waiting()

    @recorded
    def stopped_waiting(self, caller: Hashable, now: float) -> None:
        """The caller blocks no more, with a slot or without."""
        if caller not in self._waiting:
            return
        self._advance(now)
        self._waiting.end(caller)
        self._count_waiting()

    @recorded
    def finished(self, outcome: int, seconds: float, queued: float | None) -> None:
        """
        An attempt to get a connection has ended.

        outcome: `cells.OK`, `TIMEOUT`, `CANCELLED` or `ERROR`.
        seconds: since it began.
        queued: of that, waiting for a slot; None if it did not have to wait.
        """
        self._finish(outcome, seconds, queued)

    @recorded
    def looked_up(self, outcome: int, seconds: float | None) -> None:
        """A host was resolved: `cells.DNS_HIT`, `DNS_MISS` or `DNS_ERROR`; a hit takes no time."""
        self._cells[outcome] += 1
        if seconds is not None:
            c.DNS_SECONDS.observe(self._cells, seconds)

    # The pool

    @noted
    def emptied(self, now: float) -> None:
        """All connections leave the pool at once."""
        self._advance(now)
        for key in list(self._out):
            self._out.end(key, now, returned=False)
        self._cells[c.CLOSED] += len(self._open)
        self._open.clear()
        self._count()

    def retired(self, now: float) -> None:
        """The pool takes no new callers: it has no limits any more, only what is left in it."""
        self._retired = True
        if self.asleep:
            self._take_no_more()
        else:
            self._retire(now)

    @recorded
    def _retire(self, now: float) -> None:
        self._advance(now)
        self._take_no_more()

    def replace(self, predecessor: Ledger) -> None:
        """Go on in the place of a pool that is retired; its peaks are those of this one now."""
        if predecessor.asleep:
            return
        with predecessor.patiently():
            peaks = predecessor._cells[c.PEAKS].tolist()
            predecessor._cells[c.IN_USE_PEAK] = predecessor._cells[c.IN_USE]
            predecessor._cells[c.IN_USE_PEAK_BEFORE] = predecessor._cells[c.IN_USE]
            predecessor._cells[c.WAITING_PEAK] = predecessor._cells[c.WAITING]
            predecessor._cells[c.WAITING_PEAK_BEFORE] = predecessor._cells[c.WAITING]
        self._continue(peaks)

    @recorded
    def _continue(self, peaks: Sequence[float]) -> None:
        for cell, value in enumerate(peaks, c.WINDOW):
            self._cells[cell] = max(value, self._cells[cell]) if cell != c.WINDOW else value

    # Reading

    def read(self) -> Reading:
        """Return one consistent reading, with everything that was recorded before the call."""
        with self.patiently():
            now = self.clock()
            cells = self._cells.tolist()
            holds, waits = self._out.without_cell(), self._waiting.without_cell()
        holds = [*cells[c.FIRST_HOLD :: c.HOLD_CELLS], *holds]
        waits = [*cells[c.FIRST_WAIT : c.FIRST_SITE], *waits]
        return Reading.of(c.values(cells, now, holds, waits))

    def connections(self) -> tuple[frozenset[Hashable], frozenset[Hashable]]:
        """Return the keys of the connections that are open, and of those that are out."""
        with self.patiently():
            return frozenset(self._open), frozenset(self._out)

    def holders(self) -> list[Holder]:
        """Return who has what is out, the longest hold first."""
        with self.patiently():
            return self._out.holders(self.clock())

    def sites(self) -> list[SiteReading]:
        """Return what each function of the application has out, and has had."""
        with self.patiently():
            return self._out.sites(self.clock())

    def who(self, key: Hashable) -> Who | None:
        """Return who has a connection that is out, if that is known."""
        return self._out.who(key)

    @property
    def unclosed(self) -> bool:
        """Whether the pool has connections and takes callers, so that nobody has closed it."""
        return bool(self._open) and not math.isnan(self._cells[c.LIMIT])

    @property
    def news(self) -> deque[News]:
        """What is to be said in the log; whoever says it takes it out."""
        return self._out.news

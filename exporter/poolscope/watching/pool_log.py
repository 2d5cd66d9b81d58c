"""Log lines: who holds the connections at a time-out or at the end, and which are leaked."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Mapping, Sequence
from threading import Lock
from typing import Any, Final, NamedTuple

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Site
from poolscope.errors import logger
from poolscope.ledger.hold_records import LeakEvent
from poolscope.ledger.ledger import Ledger
from poolscope.readings.holders import Holder, places_of
from poolscope.readings.reading import Reading, sum_readings
from poolscope.watching.holder_rows import (
    across_in_words,
    by_site,
    by_sites,
    in_words,
    lately_by_site,
    lately_in_words,
    now_in_words,
    place_in_words,
)

_EVENTS: Final = {
    "overdue": "pool %r (%s): a connection has been held for %.1f s, longer than leak_after; "
    "held by %s, acquired at %s%s",
    "abandoned": "pool %r (%s): a connection was abandoned after %.1f s: no code can return it any "
    "more; held by %s, acquired at %s%s",
    "recovered": "pool %r (%s): a connection was returned after %.1f s, longer than leak_after; "
    "held by %s, acquired at %s%s",
}

TIMED_OUT: Final = "an attempt to get a connection timed out"
GAVE_UP: Final = "a caller gave up waiting for a connection"

MIN_INTERVAL: Final = 60.0
"""Seconds between two lines about callers that gave up, of the pools of one name."""

NOTES_LAST: Final = 1.0
"""
Seconds for which the text of a note, or who holds most, serves other callers too, of which there
may be many.
"""


class Fate(NamedTuple):
    """What closing a pool does to connections in use, in words: to many, and to one."""

    of_many: str
    of_one: str


CUT_OFF: Final = Fate("they are cut off", "it is cut off")
WAITED_FOR: Final = Fate("it waits until they are returned", "it waits until it is returned")
CLOSED_NOW: Final = Fate("they are closed now", "it is closed now")
STAY_OPEN: Final = Fate(
    "they stay open until they are returned", "it stays open until it is returned"
)


class PoolLog:
    """
    Logs callers that give up (at most one a minute), the leaks, and the closing with connections in
    use, of the pools of one name.
    """

    __slots__ = ("_free", "_holder", "_kind", "_next", "_next_empty", "_note", "_pool")

    def __init__(self, pool: str, kind: str) -> None:
        self._pool: Final = pool
        self._kind: Final = kind
        self._free = Lock()
        self._next = self._next_empty = -math.inf
        self._note = self._holder = -math.inf, ""

    def add_note(self, error: BaseException, ledgers: Sequence[Ledger], now: float) -> None:
        """
        Add to a time-out error who holds the connections, so that every traceback says it.

        The environment variable POOLSCOPE_NOTES=0 turns this off.
        """
        if os.environ.get("POOLSCOPE_NOTES") == "0":
            return
        made, note = self._note
        if not made <= now < made + NOTES_LAST:
            sites = _placed_rows(ledgers)
            lately = [] if sites else lately_by_site(ledger.lately() for ledger in ledgers)
            across = by_sites(each for ledger in ledgers for each in ledger.across())
            template, *values = self._line(_sum(ledgers), sites, lately, True, across)
            note = template % tuple(values)
            self._note = now, note
        error.add_note(note)

    def describe_wait(
        self, ledgers: Sequence[Ledger], seconds: float, now: float
    ) -> dict[str, str | float]:
        """Return what a trace says about a wait in the queue."""
        made, text = self._holder
        if not made <= now < made + NOTES_LAST:
            sites = by_site(holder for ledger in ledgers for holder in ledger.holders())
            text = in_words(sites[:1])
            self._holder = now, text
        return {"pool": self._pool, "kind": self._kind, "seconds": seconds, "holder": text}

    def log_timeout(self, ledgers: Sequence[Ledger], now: float, timed_out: bool = True) -> None:
        """
        Log that an attempt to get a connection has timed out; the ledgers are those of the pool.

        A caller that finds another one logging returns at once.

        timed_out: False if something else has ended the attempt: a deadline around the caller, or
            cancellation.
        """
        if now < self._next or not self._free.acquire(False):
            return
        try:
            if now >= self._next:  # again: another may have logged before the lock was taken
                self._log_if_due(ledgers, now, timed_out)
        finally:
            self._free.release()

    def _log_if_due(self, ledgers: Sequence[Ledger], now: float, timed_out: bool) -> None:
        """Log the line. One that names nobody does not keep the next from being logged."""
        if now < self._next_empty and not any(ledger.holds.seen_lately for ledger in ledgers):
            return
        before, self._next = self._next, now + MIN_INTERVAL
        sites = _placed_rows(ledgers)
        lately = [] if sites else lately_by_site(ledger.lately() for ledger in ledgers)
        if not (sites or lately):
            self._next = before
            if now < self._next_empty:
                return
            self._next_empty = now + MIN_INTERVAL
        self._log_holders(ledgers, sites, lately, timed_out)

    def log_close(self, ledger: Ledger, fate: Fate, one_by_one: bool = False) -> None:
        """
        Log who holds connections of a pool that is being closed, if there are any.

        one_by_one: whether each of them has a line of its own.
        """
        reading, holders = ledger.read(), ledger.holders()
        if not reading.in_use:
            return
        if one_by_one:
            self._log_each(ledger, holders, fate)
            return
        sites, abandoned = (
            by_site(holders, places_of(holders)),
            sum(holder.abandoned for holder in holders),
        )
        facts = {
            "event": "closing",
            "pool": self._pool,
            "kind": self._kind,
            "in_use": int(reading.in_use),
            "abandoned": abandoned,
            "holders": sites,
        }
        logger().warning(
            "pool %r (%s): it is being closed with %d in use, %d of them abandoned; %s; held by %s",
            self._pool, self._kind, reading.in_use, abandoned, fate.of_many, in_words(sites),
            extra={"poolscope": facts},
        )  # fmt: skip

    def _log_each(self, ledger: Ledger, holders: Sequence[Holder], fate: Fate) -> None:
        """Log a line for each connection that is out, the longest hold first."""
        places = places_of(holders)
        ledger.place(places)
        for holder in sorted(holders, key=lambda holder: -holder.held_seconds):
            facts = self._facts_of(holder.who, holder.held_seconds, places)
            logger().warning(
                "pool %r (%s): it is being closed while a connection is out%s; %s; held for %.1f s "
                "by %s, acquired at %s%s",
                self._pool, self._kind, ", abandoned" if holder.abandoned else "", fate.of_one,
                holder.held_seconds, facts["owner"] or "an unknown caller",
                place_in_words(facts["site"], facts["operation"]), now_in_words(facts["now_at"]),
                extra={"poolscope": {"event": "out", **facts, "abandoned": holder.abandoned}},
            )  # fmt: skip

    def _facts_of(
        self, who: Borrower | None, held_seconds: float, places: Mapping[Hashable, Site]
    ) -> dict[str, Any]:
        """Return what the log says of one hold; `places` are by `borrower_key`."""
        place = places.get(who.borrower_key) if who is not None else None
        return {
            "pool": self._pool,
            "kind": self._kind,
            "site": who.site_text if who is not None else None,
            "operation": who.operation_name if who is not None else None,
            "now_at": str(place) if place is not None else None,
            "owner": who.owner_now if who is not None else None,
            "held_seconds": held_seconds,
        }

    def log_events(self, ledger: Ledger) -> None:
        """Log each leak event of one of the pools, and remove it from the ledger."""
        while ledger.leak_events:
            try:
                leak_event = ledger.leak_events.pop(0)
            except IndexError:  # another thread has just logged it
                return
            places: dict[Hashable, Site] = {}
            if leak_event.event == "overdue":
                places = places_of([Holder(leak_event.who, leak_event.held_seconds, overdue=True)])
                ledger.place(places)
            self._log_event(leak_event, ledger.leak_after, places)

    def _log_event(
        self, leak_event: LeakEvent, leak_after: float, places: Mapping[Hashable, Site]
    ) -> None:
        facts = {
            "event": leak_event.event,
            **self._facts_of(leak_event.who, leak_event.held_seconds, places),
            "leak_after": _finite_or_none(leak_after),
        }
        log = logger()
        write = log.info if leak_event.event == "recovered" else log.warning
        write(
            _EVENTS[leak_event.event],
            self._pool, self._kind, leak_event.held_seconds, facts["owner"] or "an unknown caller",
            place_in_words(facts["site"], facts["operation"]), now_in_words(facts["now_at"]),
            extra={"poolscope": facts},
        )  # fmt: skip

    def _log_holders(
        self,
        ledgers: Sequence[Ledger],
        sites: Sequence[dict[str, Any]],
        lately: Sequence[dict[str, Any]],
        timed_out: bool,
    ) -> None:
        reading, across = (
            _sum(ledgers),
            by_sites(each for ledger in ledgers for each in ledger.across()),
        )
        facts = {
            "event": "timeout",
            "pool": self._pool,
            "kind": self._kind,
            "in_use": int(reading.in_use),
            "opening": int(reading.opening),
            "waiting": int(reading.waiting),
            "limit": _finite_or_none(reading.limit),
            "holders": sites,
            **({"across": across} if across else {}),
            **({"lately": lately} if lately else {}),
        }
        line = self._line(reading, sites, lately, timed_out, across)
        logger().warning(*line, extra={"poolscope": facts})

    def _line(
        self,
        reading: Reading,
        sites: Sequence[dict[str, Any]],
        lately: Sequence[dict[str, Any]],
        timed_out: bool,
        across: Sequence[dict[str, Any]],
    ) -> tuple[Any, ...]:
        """Return the template of the line, and its values."""
        return (
            "pool %r (%s): %s; %d of %s in use, %d opening, %d waiting; %s%s",
            self._pool, self._kind, TIMED_OUT if timed_out else GAVE_UP, reading.in_use,
            f"{reading.limit:g}", reading.opening, reading.waiting,
            lately_in_words(lately) if lately else f"held by {in_words(sites)}",
            across_in_words(across),
        )  # fmt: skip


def _placed_rows(ledgers: Sequence[Ledger]) -> list[dict[str, Any]]:
    """Return `by_site` of all holders, and let other processes see where they are now."""
    holders = [holder for ledger in ledgers for holder in ledger.holders()]
    places = places_of(holders)
    for ledger in ledgers:
        ledger.place(places)
    return by_site(holders, places)


def _sum(ledgers: Sequence[Ledger]) -> Reading:
    return sum_readings([ledger.read() for ledger in ledgers])


def _finite_or_none(number: float) -> float | None:
    """Return None for infinity, which JSON does not have: many logs are written as JSON."""
    return number if number < math.inf else None

"""Log lines: who holds the connections at a time-out or at the end, and which are leaked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any, Final

from poolscope.errors import logger
from poolscope.ledger.holds import LeakEvent
from poolscope.ledger.ledger import Ledger
from poolscope.readings.holders import Holder
from poolscope.readings.reading import sum_readings

UNKNOWN_LINE: Final = "an unknown line"

_EVENTS: Final = {
    "overdue": "pool %r (%s): a connection has been held for %.1f s, longer than leak_after; "
    "held by %s, acquired at %s",
    "abandoned": "pool %r (%s): a connection was abandoned after %.1f s: no code can return it any "
    "more; held by %s, acquired at %s",
    "recovered": "pool %r (%s): a connection was returned after %.1f s, longer than leak_after; "
    "held by %s, acquired at %s",
}

MIN_INTERVAL: Final = 60.0
"""Seconds between two lines about time-outs of the pools of one name."""

SHOWN: Final = 5
"""How many call sites the line names, most connections first; `record.poolscope` has all."""


class PoolLog:
    """
    Logs the time-outs (at most one a minute), the leaks, and the closing with connections in use,
    of the pools of one name.
    """

    __slots__ = ("_free", "_kind", "_next", "_pool")

    def __init__(self, pool: str, kind: str) -> None:
        self._pool: Final = pool
        self._kind: Final = kind
        self._free = Lock()
        self._next = -math.inf

    def log_timeout(self, ledgers: Sequence[Ledger], now: float) -> None:
        """
        Log that an attempt to get a connection has timed out; the ledgers are those of the pool.

        A caller that finds another one logging returns at once.
        """
        if now < self._next or not self._free.acquire(False):
            return
        try:
            if now >= self._next:  # again: another may have logged before the lock was taken
                self._next = now + MIN_INTERVAL
                self._log_holders(ledgers)
        finally:
            self._free.release()

    def log_close(self, ledger: Ledger, what: str) -> None:
        """
        Log who holds connections of a pool that is being closed, if there are any.

        what: what happens to them, as a clause whose subject is the connections.
        """
        reading, holders = ledger.read(), ledger.holders()
        if not reading.in_use:
            return
        sites, abandoned = by_site(holders), sum(holder.abandoned for holder in holders)
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
            self._pool, self._kind, reading.in_use, abandoned, what, _in_words(sites),
            extra={"poolscope": facts},
        )  # fmt: skip

    def log_events(self, ledger: Ledger) -> None:
        """Log each leak event of one of the pools, and remove it from the ledger."""
        while ledger.leak_events:
            try:
                leak_event = ledger.leak_events.pop(0)
            except IndexError:  # another thread has just logged it
                return
            self._log_event(leak_event, ledger.leak_after)

    def _log_event(self, leak_event: LeakEvent, leak_after: float) -> None:
        site = leak_event.who.site_text if leak_event.who is not None else None
        owner = leak_event.who.owner if leak_event.who is not None else None
        facts = {
            "event": leak_event.event,
            "pool": self._pool,
            "kind": self._kind,
            "site": site,
            "owner": owner,
            "held_seconds": leak_event.held_seconds,
            "leak_after": _finite_or_none(leak_after),
        }
        log = logger()
        write = log.info if leak_event.event == "recovered" else log.warning
        write(
            _EVENTS[leak_event.event],
            self._pool, self._kind, leak_event.held_seconds, owner or "an unknown caller",
            site or UNKNOWN_LINE,
            extra={"poolscope": facts},
        )  # fmt: skip

    def _log_holders(self, ledgers: Sequence[Ledger]) -> None:
        reading = sum_readings([ledger.read() for ledger in ledgers])
        sites = by_site(holder for ledger in ledgers for holder in ledger.holders())
        facts = {
            "event": "timeout",
            "pool": self._pool,
            "kind": self._kind,
            "in_use": int(reading.in_use),
            "opening": int(reading.opening),
            "waiting": int(reading.waiting),
            "limit": _finite_or_none(reading.limit),
            "holders": sites,
        }
        logger().warning(
            "pool %r (%s): an attempt to get a connection timed out; %d of %s in use, %d opening, "
            "%d waiting; held by %s",
            self._pool, self._kind, reading.in_use, f"{reading.limit:g}", reading.opening,
            reading.waiting, _in_words(sites),
            extra={"poolscope": facts},
        )  # fmt: skip


def _finite_or_none(number: float) -> float | None:
    """Return None for infinity, which JSON does not have: many logs are written as JSON."""
    return number if number < math.inf else None


def by_site(holders: Iterable[Holder]) -> list[dict[str, Any]]:
    """Return site, count and oldest_seconds of the holders by site, most connections first."""
    sites: dict[str | None, dict[str, Any]] = {}
    for who, held_seconds, *_ in holders:
        site = who.site_text if who is not None else None
        row = sites.setdefault(site, {"site": site, "count": 0, "oldest_seconds": 0.0})
        row["count"] += 1
        row["oldest_seconds"] = max(row["oldest_seconds"], held_seconds)
    return sorted(sites.values(), key=lambda row: (-row["count"], -row["oldest_seconds"]))


def _in_words(sites: Sequence[dict[str, Any]]) -> str:
    words = [
        f"{row['count']} x {row['site'] or UNKNOWN_LINE} (oldest {row['oldest_seconds']:.1f} s)"
        for row in sites[:SHOWN]
    ]
    more = sum(row["count"] for row in sites[SHOWN:])
    return ", ".join([*words, *([f"{more} more"] if more else [])]) or "nobody"

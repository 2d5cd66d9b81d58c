"""What the log says: who has the connections when a caller gives up, and which are lost."""

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

UNKNOWN: Final = "a line that is not known"

_EVENTS: Final = {
    "overdue": "pool %r (%s): a connection has been out for too long, %.1f s until now; "
    "taken by %s, from %s",
    "abandoned": "pool %r (%s): a connection was abandoned, after %.1f s nobody is left who could "
    "return it; taken by %s, from %s",
    "recovered": "pool %r (%s): a connection that was out for too long is back, after %.1f s; "
    "taken by %s, from %s",
}

MIN_INTERVAL: Final = 60.0
"""Seconds for which nothing more is said of pools of that name."""

SHOWN: Final = 5
"""Sites that the line names, those that hold most; `record.poolscope` has all."""


class PoolLog:
    """Logs time-outs of the pools of one name, at most one a minute, and what becomes of holds."""

    __slots__ = ("_free", "_kind", "_next", "_pool")

    def __init__(self, pool: str, kind: str) -> None:
        self._pool: Final = pool
        self._kind: Final = kind
        self._free = Lock()
        self._next = -math.inf

    def log_timeout(self, ledgers: Sequence[Ledger], now: float) -> None:
        """
        An attempt to get a connection has timed out; the ledgers are those of the pool.

        Whoever comes while another is at it goes on at once.
        """
        if now < self._next or not self._free.acquire(False):
            return
        try:
            if now >= self._next:  # still, now that nobody else can change it
                self._next = now + MIN_INTERVAL
                self._log(ledgers)
        finally:
            self._free.release()

    def log_events(self, ledger: Ledger) -> None:
        """Say what there is to be said of the holds of one of the pools; each thing once."""
        while ledger.leak_events:
            try:
                leak_events = ledger.leak_events.pop(0)
            except IndexError:  # somebody else has just said it
                return
            self._tell(leak_events, ledger.leak_after)

    def _tell(self, leak_events: LeakEvent, leak_after: float) -> None:
        site = (
            str(leak_events.who.site)
            if leak_events.who is not None and leak_events.who.site is not None
            else None
        )
        owner = leak_events.who.owner if leak_events.who is not None else None
        facts = {
            "event": leak_events.event,
            "pool": self._pool,
            "kind": self._kind,
            "site": site,
            "owner": owner,
            "held_seconds": leak_events.held_seconds,
            "leak_after": _or_none(leak_after),
        }
        log = logger()
        say = log.info if leak_events.event == "recovered" else log.warning
        say(
            _EVENTS[leak_events.event],
            self._pool, self._kind, leak_events.held_seconds, owner or "somebody", site or UNKNOWN,
            extra={"poolscope": facts},
        )  # fmt: skip

    def _log(self, ledgers: Sequence[Ledger]) -> None:
        reading = sum_readings([ledger.read() for ledger in ledgers])
        sites = by_site(holder for ledger in ledgers for holder in ledger.holders())
        facts = {
            "event": "timeout",
            "pool": self._pool,
            "kind": self._kind,
            "in_use": int(reading.in_use),
            "opening": int(reading.opening),
            "waiting": int(reading.waiting),
            "limit": _or_none(reading.limit),
            "holders": sites,
        }
        logger().warning(
            "pool %r (%s): an attempt to get a connection timed out; %d of %s in use, %d opening, "
            "%d waiting; held by %s",
            self._pool, self._kind, reading.in_use, f"{reading.limit:g}", reading.opening,
            reading.waiting, _in_words(sites),
            extra={"poolscope": facts},
        )  # fmt: skip


def _or_none(number: float) -> float | None:
    """Return None for what has no end: JSON, which many logs are, has no infinity."""
    return number if number < math.inf else None


def by_site(holders: Iterable[Holder]) -> list[dict[str, Any]]:
    """Return site, count and oldest_seconds of those that hold connections, most first."""
    sites: dict[str | None, dict[str, Any]] = {}
    for who, held_seconds, *_ in holders:
        site = str(who.site) if who is not None and who.site is not None else None
        found = sites.setdefault(site, {"site": site, "count": 0, "oldest_seconds": 0.0})
        found["count"] += 1
        found["oldest_seconds"] = max(found["oldest_seconds"], held_seconds)
    return sorted(sites.values(), key=lambda found: (-found["count"], -found["oldest_seconds"]))


def _in_words(sites: Sequence[dict[str, Any]]) -> str:
    words = [
        f"{found['count']} x {found['site'] or UNKNOWN} (oldest {found['oldest_seconds']:.1f} s)"
        for found in sites[:SHOWN]
    ]
    more = sum(found["count"] for found in sites[SHOWN:])
    return ", ".join([*words, *([f"{more} more"] if more else [])]) or "nobody"

"""Who holds connections, by line and operation: as facts, and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Site
from poolscope.ledger.lately import Place
from poolscope.readings.evidence import UNKNOWN_LINE, TwoSites
from poolscope.readings.holders import Holder

NO_PLACES: Final[Mapping[Hashable, Site]] = MappingProxyType({})

SHOWN: Final = 5
"""How many call sites the words name, most connections first; the facts have all."""


def by_site(
    holders: Iterable[Holder], places: Mapping[Hashable, Site] = NO_PLACES
) -> list[dict[str, Any]]:
    """
    Return site, operation, count and oldest_seconds of the holders by site and operation, most
    connections first; and now_at, the line at which the holder of the oldest one is now, or None.

    places: these lines, by `borrower_key`.
    """
    rows: dict[tuple[str | None, str | None], dict[str, Any]] = {}
    for who, held_seconds, *_ in holders:
        site = who.site_text if who is not None else None
        operation = who.operation_name if who is not None else None
        new = {"site": site, "operation": operation, "count": 0, "oldest_seconds": -1.0}
        row = rows.setdefault((site, operation), new)
        row["count"] += 1
        if held_seconds > row["oldest_seconds"]:
            place = places.get(who.borrower_key) if who is not None else None
            row |= {"oldest_seconds": held_seconds, "now_at": str(place) if place else None}
    return sorted(rows.values(), key=lambda row: (-row["count"], -row["oldest_seconds"]))


def by_sites(lines: Iterable[TwoSites]) -> list[dict[str, Any]]:
    """
    Return site, request and count of the connections whose callers wait for another server, most
    connections first: the line that has acquired them, and the one that makes the request.
    """
    counts = Counter((_text(held), _text(request)) for held, request in lines)
    return [
        {"site": site, "request": request, "count": count}
        for (site, request), count in counts.most_common()
    ]


def _text(site: Site | None) -> str | None:
    return str(site) if site is not None else None


def across_in_words(across: Sequence[dict[str, Any]]) -> str:
    """Return what to add about connections whose callers wait for another server."""
    if not across:
        return ""
    words = [f"{row['count']} x {row['request'] or UNKNOWN_LINE}" for row in across[:SHOWN]]
    more = sum(row["count"] for row in across[SHOWN:])
    return f"; across a request: {', '.join([*words, *([f'{more} more'] if more else [])])}"


def place_in_words(site: str | None, operation: str | None) -> str:
    """Return the line, and what it has the connection for, in words."""
    return (site or UNKNOWN_LINE) + (f" for {operation}" if operation is not None else "")


def now_in_words(place: str | None) -> str:
    """Return what to add about where a holder is now."""
    return f", now at {place}" if place is not None else ""


def in_words(sites: Sequence[dict[str, Any]]) -> str:
    words = [
        f"{row['count']} x {place_in_words(row['site'], row['operation'])} "
        f"(oldest {row['oldest_seconds']:.1f} s{now_in_words(row['now_at'])})"
        for row in sites[:SHOWN]
    ]
    more = sum(row["count"] for row in sites[SHOWN:])
    return ", ".join([*words, *([f"{more} more"] if more else [])]) or "nobody"


def lately_by_site(sums: Iterable[Mapping[Place, float]]) -> list[dict[str, Any]]:
    """
    Return site, share and seconds of those who held connections lately, the largest share first.

    sums: connection-seconds by line. Where all are 0.0, each line has the same share.
    """
    seconds: dict[str | None, float] = {}
    for by_place in sums:
        for (function, at), held in by_place.items():
            site = Borrower(function, at, None, "").site_text
            seconds[site] = seconds.get(site, 0.0) + held
    total = sum(seconds.values())
    return [
        {"site": site, "share": held / total if total else 1 / len(seconds), "seconds": held}
        for site, held in sorted(seconds.items(), key=lambda item: -item[1])
    ]


def lately_in_words(lately: Sequence[dict[str, Any]]) -> str:
    words = [
        f"{row['share']:.0%}".replace("%", f" % {row['site'] or UNKNOWN_LINE}")
        for row in lately[:SHOWN]
    ]
    more = sum(row["share"] for row in lately[SHOWN:])
    return (
        f"lately held by {', '.join([*words, *([f'{100 * more:.0f} % others'] if more else [])])}"
    )

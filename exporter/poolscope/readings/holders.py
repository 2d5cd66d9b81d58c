"""Connections in use: who holds each of them, and for how long."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Site

if TYPE_CHECKING:
    from poolscope.callsites.whereabouts import Whereabouts

MAX_PLACES: Final = 100
"""Holds of which a log line looks up where their holders are: each takes some 20 us."""


class Holder(NamedTuple):
    """A connection in use: who holds it, if that is known, and for how many seconds."""

    who: Borrower | None
    held_seconds: float
    overdue: bool
    abandoned: bool = False
    on_purpose: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """
    A connection in use, and who holds it.

    site: `path/file.py:LINE in function` of the application, or None if it is not known: with
        `call_sites=False`, or because the connection was in use before its pool was watched.
    operation: what the connection is for, as `poolscope.operation` says; None if nobody said, or
        if it is not known yet, as before a request was routed.
    now_at: the line of the application at which its holder is while you ask, as `site` is written:
        where the task waits, or the thread runs; None if that cannot be known, as of a request that
        has given the work to another thread. Of another process: where its holder was when that
        process last logged it, as overdue or at a time-out; None if it never did.
    owner: the name that the task or thread that acquired it has now, or had when it ended; None if
        it is not known.
    overdue: whether it has been held for longer than `leak_after`, and not on purpose.
    abandoned: whether it was dropped without being returned, so that nothing can return it.
    on_purpose: whether it is held for long on purpose: as a websocket, a connection with LISTEN
        callbacks, or because its caller said so with `poolscope.held_on_purpose()`.
    pid: the id of the process that holds it.
    """

    pool: str
    kind: str
    site: str | None
    operation: str | None
    now_at: str | None
    held_seconds: float
    owner: str | None
    overdue: bool
    abandoned: bool
    on_purpose: bool
    pid: int


def holds_of(pool: str, kind: str, holders: Iterable[Holder], pid: int) -> Iterator[Hold]:
    """Yield a public `Hold` for each holder in a pool of this process."""
    whereabouts = _whereabouts()
    for who, held_seconds, overdue, abandoned, on_purpose in holders:
        site = who.site_text if who is not None else None
        owner = who.owner_now if who is not None else None
        operation = who.operation_name if who is not None else None
        now = whereabouts.site(who) if who is not None and not abandoned else None
        yield Hold(
            pool=pool,
            kind=kind,
            site=site,
            operation=operation,
            now_at=str(now) if now is not None else None,
            held_seconds=held_seconds,
            owner=owner,
            overdue=overdue,
            abandoned=abandoned,
            on_purpose=on_purpose,
            pid=pid,
        )


def places_of(holders: Iterable[Holder]) -> dict[Hashable, Site]:
    """
    Return the lines of the application at which holders are now, by `borrower_key`; the longest
    ones of at most `MAX_PLACES` holds.
    """
    whereabouts, places = _whereabouts(), {}
    for holder in sorted(holders, key=lambda holder: -holder.held_seconds)[:MAX_PLACES]:
        who = holder.who
        site = whereabouts.site(who) if who is not None and not holder.abandoned else None
        if who is not None and site is not None:
            places[who.borrower_key] = site
    return places


def _whereabouts() -> Whereabouts:
    # This imports asyncio, which importing poolscope must not.
    from poolscope.callsites.whereabouts import Whereabouts

    return Whereabouts()


def longest_first(holds: Iterable[Hold]) -> list[Hold]:
    """Return the holds, the oldest one first."""
    return sorted(holds, key=lambda hold: -hold.held_seconds)

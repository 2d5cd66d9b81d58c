"""Who has the connections that are out, and which functions have had them for how long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from poolscope.callsites.borrower import Borrower


class Holder(NamedTuple):
    """A connection that is out now: with whom, if that is known, and for how many seconds."""

    who: Borrower | None
    held_seconds: float
    overdue: bool
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """
    A connection that is out now, and who has it.

    site: `path/file.py:LINE in function` of the application, or None if it is not known: with
        `call_sites=False`, or because the connection was out before it was watched.
    owner: the name of the task or the thread that asked, or None, as before.
    overdue: whether it has been held for longer than `leak_after`.
    abandoned: whether nobody is left who could return it.
    pid: the process.
    """

    pool: str
    kind: str
    site: str | None
    held_seconds: float
    owner: str | None
    overdue: bool
    abandoned: bool
    pid: int


def holds_of(pool: str, kind: str, holders: Iterable[Holder], pid: int) -> Iterator[Hold]:
    """Make holders into what users get to see."""
    for who, held_seconds, overdue, abandoned in holders:
        site = who.site_text if who is not None else None
        owner = who.owner if who is not None else None
        yield Hold(pool, kind, site, held_seconds, owner, overdue, abandoned, pid)


def longest_first(holds: Iterable[Hold]) -> list[Hold]:
    return sorted(holds, key=lambda hold: -hold.held_seconds)

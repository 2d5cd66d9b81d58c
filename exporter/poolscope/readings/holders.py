"""Who has the connections that are out, and which functions have had them for how long."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from poolscope.callsites.frames import OTHER, Function, Site, site_of
from poolscope.ledger.cells import SHOWN_SITES


class Who(NamedTuple):
    """
    Who asks for a connection, and then holds it. The hot path makes plain tuples of these.

    function, at: the place in the application, if it is known; see `sites`.
    asker: what it is that asks, a weak reference where it is a task; see `owners`.
    owner: the name of the task or thread; "" if nobody is known.
    """

    function: Function | None
    at: int
    asker: Hashable
    owner: str

    @property
    def site(self) -> Site | None:
        return site_of((self.function, self.at))

    @property
    def label(self) -> str | None:
        return self.function.label if self.function is not None else None


NOBODY: Final = Who(None, 0, None, "")
"""Has what was out before it was watched."""


def somebody() -> Who:
    """Return one of whom nothing is known, and who is nobody else."""
    return Who(*NOBODY)


class Holder(NamedTuple):
    """A connection that is out now: with whom, if that is known, and for how many seconds."""

    who: Who | None
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


class SiteReading(NamedTuple):
    """
    What the holds of one function are and were.

    in_use, overdue, abandoned: connections that it has now, and which of them are that.
    in_use_seconds: connection-seconds so far.
    """

    site: str
    in_use: float
    in_use_seconds: float
    overdue: float
    abandoned: float = 0.0


class SharedSites:
    """What several pools of one name have at each function, those that are gone included."""

    __slots__ = ("_ended", "_last")

    def __init__(self) -> None:
        self._ended: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def ended(self, readings: Iterable[SiteReading]) -> None:
        """Keep the seconds of a pool that is gone."""
        for reading in readings:
            label = self._name(reading.site)
            self._ended[label] = self._ended.get(label, 0.0) + reading.in_use_seconds

    def added(
        self, readings: Iterable[tuple[str, float, float, float, float]]
    ) -> tuple[SiteReading, ...]:
        """Return the sums of these readings and of what is gone, by name, all others last."""
        sums = {label: [0.0, seconds, 0.0, 0.0] for label, seconds in self._ended.items()}
        for site, in_use, seconds, overdue, abandoned in readings:
            sum_ = sums.get(site)
            if sum_ is None:
                sum_ = sums.setdefault(self._name(site), [0.0, 0.0, 0.0, 0.0])
            sum_[0] += in_use
            sum_[1] += seconds
            sum_[2] += overdue
            sum_[3] += abandoned
        for label, sum_ in sums.items():
            # As with `reading.Rising`.
            sum_[1] = self._last[label] = max(sum_[1], self._last.get(label, 0.0))
        labels = sorted(sums, key=lambda site: (site == OTHER, site))
        return tuple(SiteReading(label, *sums[label]) for label in labels)

    def _name(self, label: str) -> str:
        # Once shown, always shown: a counter must not move to another label.
        if label not in self._last and label != OTHER:
            if len(self._last) - (OTHER in self._last) >= SHOWN_SITES:
                return OTHER
            self._last[label] = 0.0
        return label


def holds_of(pool: str, kind: str, holders: Iterable[Holder], pid: int) -> Iterator[Hold]:
    """Make holders into what users get to see."""
    for who, held_seconds, overdue, abandoned in holders:
        site = str(who.site) if who is not None and who.site is not None else None
        owner = who.owner if who is not None else None
        yield Hold(pool, kind, site, held_seconds, owner, overdue, abandoned, pid)


def longest_first(holds: Iterable[Hold]) -> list[Hold]:
    return sorted(holds, key=lambda hold: -hold.held_seconds)

"""Call sites at which a finding's rule was broken."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from poolscope.callsites.frames import Place, Site, site_of

SHARED_BETWEEN: Final = "shared between "
"""
What the rule of two processes that use one connection begins with; the rest is the id of the one
that has opened it, and the id of its child. It has no sites.
"""

HELD_ACROSS_REQUEST: Final = "held-across-request"

UNKNOWN_LINE: Final = "an unknown line"


class TwoSites(NamedTuple):
    """
    Two lines that break a rule together.

    held: the one that has acquired a connection.
    request: the one that begins a request by HTTP meanwhile.
    """

    held: Site | None
    request: Site | None

    def __str__(self) -> str:
        return f"{self.held or UNKNOWN_LINE}, across {self.request or UNKNOWN_LINE}"


Line = Site | TwoSites

MAX_SITES_PER_RULE: Final = 20
"""How many sites are kept for each rule: the first ones that broke it."""

MAX_KNOWN_PLACES: Final = 2000
"""How many places are remembered; a rule that is broken at further places is not recorded."""

_BREAKS_IT: Final = 0


ALWAYS_JUDGED: Final = 8
"""
Calls at a place that are each judged. Of the later ones, while none was found to break the rule,
those are whose number is a power of two, so that a correct place costs next to nothing.
"""


Judge = Callable[[Callable[[], None]], object]


def _ignore(rule: str, site: Line | None) -> None:
    """Do nothing: the default of `on_new`."""


class Evidence:
    """
    The sites at which each rule was broken. Any thread may add to it.

    on_new: is called with each rule and site that was not known before.
    """

    __slots__ = ("_calls", "_on_new", "_sites")

    def __init__(self, on_new: Callable[[str, Line | None], None] = _ignore) -> None:
        self._on_new = on_new
        self._sites: dict[str, list[Line | None]] = {}
        # How many calls at a place have not been found to break the rule, or that one has.
        self._calls: dict[tuple[str, Place], int] = {}

    def add(self, rule: str, site: Line | None) -> None:
        """Record that the rule was broken at `site`, or at an unknown line if it is None."""
        sites = self._sites.get(rule)
        if sites is None:
            sites = self._sites.setdefault(rule, [])
        if site not in sites and len(sites) < MAX_SITES_PER_RULE:
            sites.append(site)
            self._on_new(rule, site)

    def add_at(self, rule: str, place: Place, judge: Judge | None = None) -> None:
        """
        Record that the rule was broken at a place. A known place costs one look-up.

        judge: calls its argument if the rule was broken, at once or later. It is not asked at each
            call, nor at a place that is known.
        """
        calls = self._calls.get((rule, place))
        if calls == _BREAKS_IT or (calls is None and len(self._calls) >= MAX_KNOWN_PLACES):
            return
        if judge is None:
            self._found(rule, place)
            return
        calls = (calls or 0) + 1
        self._calls[rule, place] = calls
        if calls <= ALWAYS_JUDGED or not calls & (calls - 1):
            judge(functools.partial(self._found, rule, place))

    def _found(self, rule: str, place: Place) -> None:
        self._calls[rule, place] = _BREAKS_IT
        self.add(rule, site_of(place))

    def __iter__(self) -> Iterator[tuple[str, Line | None]]:
        for rule, sites in list(self._sites.items()):
            for site in list(sites):
                yield rule, site

    def read(self) -> dict[str, tuple[str, ...]]:
        """Return the known sites of each rule that was broken; there may be none."""
        return {
            # Two threads may have added the same site.
            rule: tuple(str(site) for site in dict.fromkeys(sites) if site is not None)
            for rule, sites in list(self._sites.items())
        }

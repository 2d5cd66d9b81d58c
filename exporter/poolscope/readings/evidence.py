"""What was seen at a line of the application that ought not to be there, by the finding's rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from poolscope.callsites.frames import Place, Site, site_of

MAX_SITES_PER_RULE: Final = 20
"""Lines for each rule; the first ones that were seen."""

MAX_KNOWN_PLACES: Final = 1000
"""Places whose line is known; what is seen at more of them is not noted."""


def _nobody(rule: str, site: Site | None) -> None:
    """Be told, where nobody wants to know."""


class Evidence:
    """
    Lines by rule. Noting one that is known costs two look-ups; any thread may note.

    told: is called with each new one.
    """

    __slots__ = ("_places", "_sites", "_told")

    def __init__(self, told: Callable[[str, Site | None], None] = _nobody) -> None:
        self._told = told
        self._sites: dict[str, list[Site | None]] = {}
        self._places: dict[tuple[str, Place], None] = {}

    def add(self, rule: str, site: Site | None) -> None:
        """The rule was seen to be broken at that line, or at one that is not known."""
        sites = self._sites.get(rule)
        if sites is None:
            sites = self._sites.setdefault(rule, [])
        if site not in sites and len(sites) < MAX_SITES_PER_RULE:
            sites.append(site)
            self._told(rule, site)

    def add_at(self, rule: str, place: Place) -> None:
        """Note it at a place, whose line need not be found again."""
        if (rule, place) not in self._places and len(self._places) < MAX_KNOWN_PLACES:
            self._places[rule, place] = None
            self.add(rule, site_of(place))

    def __iter__(self) -> Iterator[tuple[str, Site | None]]:
        for rule, sites in list(self._sites.items()):
            for site in list(sites):
                yield rule, site

    def read(self) -> dict[str, tuple[str, ...]]:
        """Return the lines that are known, by rule; a rule that is here was broken."""
        return {
            # Two threads may have noted the same.
            rule: tuple(str(site) for site in dict.fromkeys(sites) if site is not None)
            for rule, sites in list(self._sites.items())
        }

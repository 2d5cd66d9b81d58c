"""Who asks for a connection, and then holds it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, NamedTuple

from poolscope.callsites.frames import Function, Site, site_of


class Borrower(NamedTuple):
    """
    Who asks for a connection, and then holds it. The hot path makes plain tuples of these.

    function, at: the place in the application, if it is known; see `sites`.
    asker: what it is that asks, a weak reference where it is a task; see `owners`.
    owner: the name of the task or thread; "" if nobody is known.
    """

    function: Function | None
    at: int
    borrower_key: Hashable
    owner: str

    @property
    def site(self) -> Site | None:
        return site_of((self.function, self.at))

    @property
    def site_text(self) -> str | None:
        """`path/file.py:LINE in function` of the site, or None if it is not known."""
        return str(self.site) if self.function is not None else None

    @property
    def label(self) -> str | None:
        return self.function.label if self.function is not None else None


UNKNOWN_BORROWER: Final = Borrower(None, 0, None, "")
"""Has what was out before it was watched."""


def anonymous_borrower() -> Borrower:
    """Return one of whom nothing is known, and who is nobody else."""
    return Borrower(*UNKNOWN_BORROWER)

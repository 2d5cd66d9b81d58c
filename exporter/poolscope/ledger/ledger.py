"""One pool's numbers: what happens to them, and in few steps what mostly does."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from poolscope.callsites.borrower import NOBODY, Who
from poolscope.ledger.events import Events
from poolscope.ledger.holds import KEPT

if TYPE_CHECKING:
    from poolscope.ledger.hot_path import Begin, End


class Ledger(Events):
    """
    The numbers of one pool object.

    begin, end: `served` and `returned` of an ordinary use; see `hot_path`.
    holds: what is out.
    """

    __slots__ = ("begin", "end")

    begin: Begin
    end: End

    def _awake(self) -> None:
        # Imports asyncio, which not everybody needs who imports this.
        from poolscope.ledger.hot_path import beginning, ending

        self.begin, self.end = beginning(self), ending(self)

    def ask(self, depth: int = 1, key: Hashable = None) -> Who:
        """
        Return who asks for a connection, found from that frame outwards, where 1 is the caller's.

        For attempts that may last, or fail; `begin` does so for all others. The key is `LOCKED`
        where a lock is held.
        """
        return self.begin(key, 0.0, KEPT, depth + 1) or NOBODY

"""One pool's numbers: what happens to them, and in few steps what mostly does."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from poolscope.callsites.borrower import UNKNOWN_BORROWER, Borrower
from poolscope.ledger.events import Events
from poolscope.ledger.holds import ALWAYS_HELD

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

    def _on_awake(self) -> None:
        # Imports asyncio, which not everybody needs who imports this.
        from poolscope.ledger.hot_path import make_begin, make_end

        self.begin, self.end = make_begin(self), make_end(self)

    def ask(self, depth: int = 1, key: Hashable = None) -> Borrower:
        """
        Return who asks for a connection, found from that frame outwards, where 1 is the caller's.

        For attempts that may last, or fail; `begin` does so for all others. The key is `LOCKED`
        where a lock is held.
        """
        return self.begin(key, 0.0, ALWAYS_HELD, depth + 1) or UNKNOWN_BORROWER

"""
The ledger of one pool: its events, and the hot path of an ordinary use.

A checkout first tries `begin`, and the end of one `end`, which `hot_path` makes. What they refuse,
the adapter records by the events `served` and `returned`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from poolscope.callsites.borrower import Borrower
from poolscope.ledger.at_limit import make_at_limit
from poolscope.ledger.events import Events
from poolscope.ledger.segment import Segments

if TYPE_CHECKING:
    from poolscope.ledger.hot_path import Begin, End


class Ledger(Events):
    """
    The numbers of one pool object.

    begin, end: the fast paths of `served` and `returned`; see `hot_path`.
    """

    __slots__ = ("__weakref__", "_find_borrower", "_tell_apart", "begin", "end")

    begin: Begin
    end: End
    _find_borrower: Callable[[FrameType | None, bool], Borrower]
    _tell_apart: Callable[[Borrower], Borrower]

    def _start(self, segments: Segments) -> None:
        super()._start(segments)
        # These import asyncio, which importing poolscope must not.
        from poolscope.callsites.owners import apart, find_borrower
        from poolscope.ledger.hot_path import make_begin, make_begin_at_host, make_end

        self._find_borrower, self._tell_apart = find_borrower, apart
        # They keep the segment, so each new segment needs new ones.
        after_begin, after_end = make_at_limit(self)
        self.begin, self.end = make_begin(self, after_begin), make_end(self, after_end)
        if self._segment.shared and self._connections.host_cells is not None:
            self.begin = make_begin_at_host(self, self.begin)

    def _asker(self, borrower: Borrower) -> Borrower:
        return self._tell_apart(borrower)

    def ask(
        self,
        depth: int = 1,
        pool_locked: bool = False,
        on_purpose: bool = False,
        is_crowded: Callable[[], bool] = bool,
        frame: FrameType | None = None,
    ) -> Borrower:
        """
        Record that a caller asks for a connection, and return it as the future borrower.

        This is for attempts that may wait or fail; all others use `begin`.

        depth: the innermost frame that may be the caller's; 1 is the one that calls this method.
        pool_locked, on_purpose, is_crowded: see `asked`.
        frame: instead of a depth, the innermost frame that may be the caller's.
        """
        now = self.clock()
        borrower = self._find_borrower(frame or sys._getframe(depth), self.call_sites)
        return self.asked(borrower, now, pool_locked, on_purpose, is_crowded)

"""
The hot path of a pool at its limit, which becomes full and no longer full at each use.

Only the two numbers of saturation change then. So there is no event, but the lock is needed; if
another caller has it, or more has changed, this is left to the event `recount`. Both numbers change
in one step, so an exception that comes between two steps needs no repair but that event.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from poolscope.ledger.cells import SATURATED_SECONDS, SATURATED_SINCE
from poolscope.ledger.recorder import OWNER

if TYPE_CHECKING:
    from poolscope.ledger.events import Events

SATURATION: Final = slice(
    SATURATED_SINCE, SATURATED_SECONDS + 1, SATURATED_SECONDS - SATURATED_SINCE
)
"""The two cells of saturation."""

NEVER: Final = -math.inf

AtLimit = Callable[[float], None]
"""Called with the clock's `now` when `Events.fast_up_to` or `fast_until` has been passed."""


def make_at_limit(ledger: Events) -> tuple[AtLimit, AtLimit]:
    """Return what `begin` and `end` of the hot path call. Made together, they share variables."""
    in_use, pending = ledger.holds.in_use, ledger.pending
    segment, cells = ledger._segment, ledger._segment.numbers

    def after_begin(now: float) -> None:
        me, lock = (now,), ledger._lock
        try:
            if (
                pending
                or now >= ledger.at_limit_until
                or lock.setdefault(OWNER, me) is not me  # keep last: it takes the lock
            ):
                ledger.recount_begun(now)
                return
            # Before the holds are counted: who ends one from now on calls `after_end`.
            ledger.fast_until = NEVER
            if len(in_use) < ledger.full_at:
                ledger.fast_until = ledger.at_limit_until
            elif not cells[SATURATED_SINCE]:
                cells[SATURATED_SINCE] = now
                if segment.shared:
                    segment.cells[SATURATED_SINCE] = now
            del lock[OWNER]
        except BaseException:
            if lock.get(OWNER) is me:
                del lock[OWNER]
            raise

    def after_end(now: float) -> None:
        me, lock = (now,), ledger._lock
        try:
            if (
                pending
                or now >= ledger.at_limit_until
                or lock.setdefault(OWNER, me) is not me  # keep last: it takes the lock
            ):
                ledger.recount(now, -1)
                return
            if len(in_use) < ledger.full_at:
                if since := cells[SATURATED_SINCE]:
                    seconds = cells[SATURATED_SECONDS] + now - since
                    cells[SATURATION] = array("d", (0.0, seconds))
                    if segment.shared:
                        ledger.publish()
                ledger.fast_until = ledger.at_limit_until
            del lock[OWNER]
        except BaseException:
            if lock.get(OWNER) is me:
                del lock[OWNER]
            raise

    return after_begin, after_end

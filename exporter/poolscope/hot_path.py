"""
An ordinary use of a connection, in as few steps as can be: this is what every checkout costs.

A hold is one tuple, put into a dictionary when it begins, without any lock, and made into numbers
when it ends; what is out meanwhile, readers add. Whatever is not ordinary is left to the ledger's
`served` and `returned`, which can do all of it. Everything that is needed is at hand in a closure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from poolscope import cells as c
from poolscope.metrics import ACQUIRE_BUCKETS, HOLD_BUCKETS

if TYPE_CHECKING:
    from poolscope.holders import Who
    from poolscope.holds import Back
    from poolscope.ledger import Ledger

Begin = Callable[[Hashable, float, float, "Who", "Back"], bool]
End = Callable[[Hashable, float], bool]


def off(*args: object) -> bool:
    """Stand in the place of both, while nothing is ordinary."""
    return False


def hot_path(ledger: Ledger) -> tuple[Begin, End]:  # noqa: C901 - two functions, both plain
    """
    Return `begin(key, now, asked, who, back)` and `end(key, now)` of a ledger that is awake.

    They do what `served` and `returned` do, or return False, and have done nothing.
    """
    segment, holds, opened = ledger._segment, ledger.holds, ledger._open
    cells, shared, free, marks = segment.cells, segment.shared, segment.free, segment.marks
    out, askers, site_cells = holds.out, holds.askers, holds.site_cells
    begun, ended, asks_less, cell_of = out.setdefault, out.pop, askers.pop, site_cells.get
    acquire, release, pending = ledger._lock.acquire, ledger._lock.release, ledger._pending
    apply_pending, drain = ledger._apply_pending, ledger._drain
    crowded, bisect, quick = ledger.crowded, bisect_left, ACQUIRE_BUCKETS[0]
    mark, site_cell, asked_cell = segment.mark, holds.site_cell, c.HOLD_ASKED
    acquires, acquire_sum = c.ACQUIRE_SECONDS.start, c.ACQUIRE_SECONDS.sum
    holds_ = c.HOLD_SECONDS.start
    leak_after = min(ledger.leak_after, 1e300)  # less than what has no beginning lasts

    def begin(key: Hashable, now: float, asked: float, who: Who, back: Back) -> bool:
        asker = who[2]
        if now >= ledger.calm_until or asker in askers or key not in opened:
            return False
        slot = 0
        if shared:
            try:
                slot = free.pop()
            except IndexError:
                return False
            if marks[slot] != who and not mark(slot, who):
                free.append(slot)
                return False
        hold = now, asked, who, back, slot
        if begun(key, hold) is not hold:
            if slot:
                free.append(slot)
            return False
        askers[asker] = 1
        if slot:
            cells[slot + asked_cell] = asked
            cells[slot] = now
        if len(out) > ledger.calm_up_to:
            crowded(now)
        return True

    def end(key: Hashable, now: float) -> bool:
        if not acquire(False):
            return False
        try:
            if pending:
                apply_pending()
            hold = ended(key, None)
            if hold is None:
                return False
            since, asked, who, back, slot = hold
            held = now - since
            if held > leak_after or now >= ledger.calm_until or back() is None:
                out[key] = hold
                return False
            function, _, asker, _ = who
            cell = cell_of(function) or site_cell(function)
            took = since - asked
            if shared:
                cells[0] += 1.0
            if took > quick:
                cells[acquires + bisect(ACQUIRE_BUCKETS, took)] += 1.0
            else:
                cells[acquires] += 1.0
            cells[acquire_sum] += took
            cells[holds_ + bisect(HOLD_BUCKETS, held)] += 1.0
            cells[cell] += held
            if slot:
                cells[slot] = 0.0
                free.append(slot)
            if shared:
                cells[0] += 1.0
            if asks_less(asker, 1) != 1:
                askers[asker] = 1
        finally:
            release()
        if pending:
            drain()
        return True

    return begin, end

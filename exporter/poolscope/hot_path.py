"""
An ordinary use of a connection, in as few steps as can be: this is what every checkout costs.

A hold is one tuple, put into a dictionary when it begins, and noted when it ends; several at a
time are then made into numbers. What is out or noted meanwhile, readers add. No lock is needed, as
each step is a single operation of Python, and in every state between them a reader finds the hold
once. Whatever is not ordinary is left to the ledger's `served` and `returned`, which can do all of
it. Everything that is needed is at hand in a closure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from poolscope import cells as c
from poolscope.holds import MOST_ENDED

if TYPE_CHECKING:
    from poolscope.holders import Who
    from poolscope.holds import Back
    from poolscope.ledger import Ledger

Begin = Callable[[Hashable, float, float, "Who", "Back"], bool]
End = Callable[[Hashable, float], bool]


def off(*args: object) -> bool:
    """Stand in the place of both, while nothing is ordinary."""
    return False


def beginning(ledger: Ledger) -> Begin:
    """
    Return `begin(key, now, asked, who, back)` of a ledger that is awake.

    It does what `served` does, or returns False, and has done nothing.
    """
    segment, opened, out, askers = (
        ledger._segment, ledger._open, ledger.holds.out, ledger.holds.askers,
    )  # fmt: skip
    cells, shared, free, marks = segment.cells, segment.shared, segment.free, segment.marks
    mark, put_out, asked_cell = segment.mark, out.setdefault, c.HOLD_ASKED
    pending = ledger.pending

    def begin(key: Hashable, now: float, asked: float, who: Who, back: Back) -> bool:
        asker = who[2]
        # Nothing may overtake what is not applied yet, and may be of the same connection.
        if pending or asker in askers or key not in opened:
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
        if put_out(key, hold) is not hold:
            if slot:
                free.append(slot)
            return False
        askers[asker] = 1
        if slot:
            cells[slot + asked_cell] = asked
            cells[slot] = now
        if len(out) > ledger.calm_up_to or now >= ledger.calm_until:
            ledger.recount(now, 1)
        return True

    return begin


def ending(ledger: Ledger) -> End:
    """
    Return `end(key, now)` of a ledger that is awake.

    It does what `returned` does, or returns False, and has done nothing.
    """
    cells, holds, leak_after = ledger._segment.cells, ledger.holds, ledger.leak_after
    askers, ended, note, fold = holds.askers, holds.ended, holds.ended.append, ledger.fold
    find, take_back, ask_less, ended_cell = holds.out.get, holds.out.pop, askers.pop, c.HOLD_ENDED
    pending, most = ledger.pending, MOST_ENDED

    def end(key: Hashable, now: float) -> bool:
        hold = find(key)
        if hold is None or pending:
            return False
        since, asked, who, back, slot = hold
        if now - since > leak_after or back() is None:
            return False
        if slot:
            cells[slot + ended_cell] = now
        asker = who[2]
        note((key, since, asked, who, slot, now))
        take_back(key, None)
        if (left := ask_less(asker, 1)) != 1:
            askers[asker] = left - 1
        if len(ended) >= most:
            fold()
        if now >= ledger.calm_until:
            ledger.recount(now, -1)
        return True

    return end

"""
An ordinary use of a connection, in as few steps as can be: this is what every checkout costs.

Adapters' ledgers need it; it imports asyncio, which adapters do anyway.

A hold is one tuple, put into a dictionary when it begins, and noted when it ends; several at a
time are then made into numbers. What is out or noted meanwhile, readers add. No lock is needed, as
each step is a single operation of Python, and in every state between them a reader finds the hold
once. Whatever is not ordinary is left to the ledger's `served` and `returned`, which can do all of
it. Everything of the ledger that is needed is at hand in a closure.
"""

from __future__ import annotations

from asyncio import _get_running_loop, current_task
from collections.abc import Callable, Hashable
from sys import _getframe
from threading import get_ident
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import ref

from poolscope.callsites.frames import awaiting, find, know, known
from poolscope.callsites.owners import current_job, new_job, outermost
from poolscope.ledger.cells import HOLD_ASKED, HOLD_ENDED
from poolscope.ledger.holds import MAX_FINISHED

if TYPE_CHECKING:
    from poolscope.callsites.borrower import Borrower
    from poolscope.ledger.events import Events
    from poolscope.ledger.holds import HolderRef

Begin = Callable[..., "Borrower | None"]
End = Callable[[Hashable, float], bool]

_current_job = current_job.get


def make_begin(ledger: Events) -> Begin:
    """
    Return `begin(key, asked, back, depth=2, given=None)` of a ledger that is awake.

    It finds who asks for a connection, unless that is `borrower`, from a frame outwards, of which 1
    is its caller's. Of an ordinary use it does what `served` does now, and returns None. Else it
    has done nothing, and returns who asks; with a key of no connection that is all it does.
    """
    segment, opened, pending = ledger._segment, ledger._open, ledger.pending
    cells, shared = segment.cells, segment.shared
    out, holds_by_borrower = ledger.holds.out, ledger.holds.holds_by_borrower

    def begin(
        key: Hashable,
        asked: float,
        holder_ref: HolderRef,
        depth: int = 2,
        borrower: Borrower | None = None,
    ) -> Any:
        borrower_key: Hashable
        now = ledger.clock()
        if borrower is not None:
            who: Any = borrower
            borrower_key = who[2]
        else:
            task, loop = None, _get_running_loop()
            if loop is None or (task := current_task(loop)) is None:
                job = _current_job()
                if job is None or job.thread != get_ident():
                    job = new_job()
                borrower_key, owner = job, job.name
            else:
                # Weak: a task that is done has its error, whose frames have what they forgot.
                borrower_key, owner = ref(task), task.get_name()
            if ledger.call_sites:
                frame: FrameType | None = _getframe(depth)
                while frame is not None:
                    function = known(id(frame.f_code)) or know(frame)
                    if function.asks:
                        break
                    frame = frame.f_back
                else:
                    function, frame = awaiting()
                # Of code that is no coroutine's own, only the task knows whether it runs in there.
                if frame is None or (task is not None and not function.awaits):
                    who = *find(_getframe(depth), outermost(task)), borrower_key, owner
                else:
                    who = function, frame.f_lasti, borrower_key, owner
            else:
                who = None, 0, borrower_key, owner
        # Nothing may overtake what is not applied yet, and may be of the same connection.
        if pending or borrower_key in holds_by_borrower or key in out or key not in opened:
            return who if borrower is not None else ledger.asked(who, now, key)
        slot = 0
        if shared:
            try:
                slot = segment.free.pop()
            except IndexError:
                return who
            if segment.borrowers[slot] != who and not segment.set_borrower(slot, who):
                segment.free.append(slot)
                return who
        out[key] = now, asked, who, holder_ref, slot
        holds_by_borrower[borrower_key] = 1
        if slot:
            cells[slot + HOLD_ASKED] = asked
            cells[slot] = now
        if len(out) > ledger.fast_up_to or now >= ledger.fast_until:
            ledger.leave_fast_path(now)
        return None

    return begin


def make_end(ledger: Events) -> End:
    """
    Return `end(key, now)` of a ledger that is awake.

    It does what `returned` does, or returns False, and has done nothing.
    """
    cells, holds = ledger._segment.cells, ledger.holds
    out, holds_by_borrower, ended, pending = (
        holds.out,
        holds.holds_by_borrower,
        holds.ended,
        ledger.pending,
    )

    def end(key: Hashable, now: float) -> bool:
        hold = out.get(key)
        if hold is None or pending:
            return False
        since, asked, who, holder_ref, slot = hold
        held = now - since
        if held > ledger.leak_after or holder_ref() is None:
            return False
        if slot:
            cells[slot + HOLD_ENDED] = now
        borrower_key = who[2]
        ended.append((key, who, since - asked, held, slot))
        out.pop(key, None)
        if (left := holds_by_borrower.pop(borrower_key, 1)) != 1:
            holds_by_borrower[borrower_key] = left - 1
        if len(ended) >= MAX_FINISHED:
            ledger.fold()
        if now >= ledger.fast_until:
            ledger.recount(now, -1)
        return True

    return end

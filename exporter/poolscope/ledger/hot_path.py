"""
The hot path: an ordinary use of a connection in as few steps as possible, because every checkout
of the application pays for them.

A hold is one tuple: it is added to a dictionary when it begins, appended to a list when it ends,
and folded into the cells in batches. Readers include the holds that are in the dictionary.

This takes no lock: each step is one operation that is atomic under the GIL, and between any two
steps a reader finds the hold exactly once. An exception of a signal handler may come between two
steps; then `Events.repair` does the rest. Any other use is left to the events `served` and
`returned`. The functions are closures, because their variables are the fastest to read.

`callsites.owners.find_borrower` finds a borrower as `begin` does, in more steps, and says why.
"""

from __future__ import annotations

from asyncio import _get_running_loop, current_task
from collections.abc import Callable, Hashable
from sys import _getframe
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from poolscope.callsites.frames import (
    find_awaiting_function,
    known_function,
    remember_function,
)
from poolscope.callsites.operations import current_box
from poolscope.callsites.owners import current_job, job_of_caller, place_of
from poolscope.callsites.purposes import is_on_purpose, used
from poolscope.callsites.runners import trio_was_seen
from poolscope.callsites.traces import tracers
from poolscope.ledger.cells import HOLD_ASKED, HOLD_ENDED, HOLD_HOST
from poolscope.ledger.holds import MAX_FINISHED
from poolscope.process.forks import forks

if TYPE_CHECKING:
    from poolscope.callsites.borrower import Borrower
    from poolscope.ledger.at_limit import AtLimit
    from poolscope.ledger.events import Events
    from poolscope.ledger.open_holds import HolderRef

Begin = Callable[..., "Borrower | None"]
"""
`begin(key, asked, holder_ref, depth=2, borrower=None)` records an ordinary hold as `served` does,
and returns None. Any other hold it does not record, and returns the borrower, for `served`.

depth: the innermost frame that may be the borrower's; 1 is the one that calls `begin`.
borrower: the caller that asked, if it was found before; see `Ledger.ask`.
"""

End = Callable[[Hashable, float], bool]
"""
`end(key, now)` ends an ordinary hold as `returned` does, and returns True. Any other hold it leaves
alone, and returns False.
"""

_current_job = current_job.get
_current_box = current_box.get

mark: Final = forks().mark
"""See `Recorder.mark`: it is the same for all ledgers of a process."""


def make_begin(ledger: Events, after_begin: AtLimit) -> Begin:
    """Return `begin` of a ledger."""
    segment, opened, pending = ledger._segment, ledger._open, ledger.pending
    in_use, holds_by_borrower = ledger.holds.in_use, ledger.holds.holds_by_borrower

    def begin(
        key: Hashable, asked: float, holder_ref: HolderRef, depth: int = 2, borrower: Any = None
    ) -> Any:
        now = ledger.clock()
        if borrower is not None:
            caller, borrower_key = borrower, borrower[2]
        else:
            task, loop = None, _get_running_loop()
            if loop is not None and (task := current_task(loop)) is not None:
                borrower_key, owner = ref(task), task.get_name()
            else:
                job = _current_job()
                if loop is not None or job.runner != get_ident() or trio_was_seen:
                    job = job_of_caller()
                borrower_key, owner = job, job.name
            if ledger.call_sites:
                frame: Any = _getframe(depth)
                while frame is not None:
                    function = known_function(id(frame.f_code)) or remember_function(frame)
                    if function.is_application:
                        break
                    frame = frame.f_back
                else:
                    function, frame = find_awaiting_function()
                if function.is_site if task is None else function.is_task_site:
                    caller = function, frame.f_lasti, borrower_key, owner, _current_box()[0]
                else:
                    place = place_of(task, _getframe(depth))
                    caller = *place, borrower_key, owner, _current_box()[0]
            else:
                caller = None, 0, borrower_key, owner, _current_box()[0]
            if tracers:
                caller = *caller, tracers[0]()
        # Pending events may be of the same connection. In a forked child all is of its parent.
        if (
            pending or not mark[0] or key in in_use or key not in opened
            or borrower_key in holds_by_borrower or (used and is_on_purpose())
        ):  # fmt: skip
            return caller if borrower is not None else ledger.asked(caller, now)
        slot = 0
        try:
            if segment.shared and not (slot := segment.take_slot(caller)):
                return caller
            in_use[key] = now, asked, caller, holder_ref, slot
            holds_by_borrower[borrower_key] = 1
            if slot:
                segment.cells[slot + HOLD_ASKED] = asked
                segment.cells[slot] = now
            if len(in_use) > ledger.fast_up_to or now >= ledger.fast_until:
                after_begin(now)
        except BaseException:
            ledger.repair(key, caller, slot)
            raise
        return None

    return begin


def make_begin_at_host(ledger: Events, begin: Begin) -> Begin:
    """
    Return `begin` of a ledger of many hosts, which other processes read: they see the host too.

    Between the two steps, the hold counts for all other hosts.
    """
    segment, opened, in_use = ledger._segment, ledger._open, ledger.holds.in_use

    def begin_at_host(
        key: Hashable, asked: float, holder_ref: HolderRef, depth: int = 2, borrower: Any = None
    ) -> Any:
        refused = begin(key, asked, holder_ref, depth + 1, borrower)
        if refused is None and (hold := in_use.get(key)) is not None and (slot := hold[4]):
            segment.cells[slot + HOLD_HOST] = opened.get(key, 0)
        return refused

    return begin_at_host


def make_end(ledger: Events, after_end: AtLimit) -> End:
    """Return `end` of a ledger."""
    segment, holds = ledger._segment, ledger.holds
    in_use, holds_by_borrower = holds.in_use, holds.holds_by_borrower
    finished, pending = holds.finished, ledger.pending

    def end(key: Hashable, now: float) -> bool:
        hold = in_use.get(key)
        if hold is None or pending or not mark[0]:
            return False
        since, asked, borrower, holder_ref, slot = hold
        if now - since > ledger.leak_after or holder_ref() is None:
            return False
        try:
            if slot:
                segment.cells[slot + HOLD_ENDED] = now
            borrower_key = borrower[2]
            finished.append((key, borrower, asked, since, now, slot))
            in_use.pop(key, None)
            if (before := holds_by_borrower.pop(borrower_key, 1)) != 1:
                holds_by_borrower[borrower_key] = before - 1
            if len(finished) >= MAX_FINISHED:
                ledger.fold()
            if now >= ledger.fast_until:
                after_end(now)
        except BaseException:
            ledger.repair(key, borrower)
            raise
        return True

    return end

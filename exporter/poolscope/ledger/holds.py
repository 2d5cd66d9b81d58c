"""The holds of a pool: what is out, with whom, since when, and what is wrong with it."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Hashable
from typing import Final, Literal, NamedTuple

from poolscope.callsites.borrower import UNKNOWN_BORROWER, Borrower
from poolscope.callsites.frames import OTHER_SITES, SHOWN_SITES, Function
from poolscope.ledger import cells as c
from poolscope.ledger.segment import Segment
from poolscope.readings.buckets import ACQUIRE_BUCKETS, HOLD_BUCKETS
from poolscope.readings.holders import Holder
from poolscope.readings.sites import SiteReading

MAX_FINISHED: Final = c.FOLD_BATCH
"""Holds that have ended and are only noted; then they are made into numbers, all at once."""

MAX_LEAK_EVENTS: Final = 1000
"""What waits to be said in the log; more than that is only counted."""

MAX_FUNCTION_CELLS: Final = 1000
"""Whose cells are known; of more, as where code is made all the time, they are found again."""

HolderRef = Callable[[], object]

ALWAYS_HELD: Final[HolderRef] = int
"""Says that somebody has it, whoever that is: where no reference tells whether anybody does."""

SLOW_RELEASE: Final[HolderRef] = type(None)
"""Has the end of a hold looked at with care."""

OpenHold = tuple[float, float, Borrower, HolderRef, int]
"""
A connection in use:

    since       clock when the caller got it, or `cells.TAKEN` while it is being set up
    asked       clock when the caller asked (while it is being set up: when it was taken), or
                `cells.ALREADY_COUNTED`
    borrower    a tuple that no other hold has
    holder_ref  returns None once nobody is left who could return the connection
    slot        first cell of the hold's slot, or 0 if it has none

A plain tuple, as the hot path makes one for each use of a connection.
"""


FinishedHold = tuple[Hashable, Borrower, float, float, int]
"""What was out: its key, with whom, seconds until the caller had it, and since then, its slot."""

_FIRST: Final = c.JOURNALED_CELLS.start
_ACQUIRES: Final = c.ACQUIRE_SECONDS.start - _FIRST
_ACQUIRE_SUM: Final = c.ACQUIRE_SECONDS.sum - _FIRST
_HOLDS: Final = c.HOLD_SECONDS.start - _FIRST
QUICK: Final = ACQUIRE_BUCKETS[0]
"""Seconds that most attempts do not take."""


class LeakEvent(NamedTuple):
    """Of a hold, what the log ought to say once."""

    event: Literal["overdue", "abandoned", "recovered"]
    who: Borrower | None
    held_seconds: float


class Holds:
    """
    What is out now, by the key of the connection. The methods are for what is not usual; what is
    usual, `hot_path` does with these same attributes.

    ended: holds that have ended, and are in no cell yet.
    askers: how many connections each task or thread has.
    site_cells: by function, the cell of its seconds.
    look_at: the clock from which on there may be news.

    The ledger's lock protects what the methods do. A hold may begin without it.
    """

    __slots__ = (
        "_abandoned",
        "_cells",
        "_checked_at",
        "_holder_refs",
        "_labels",
        "_leak_after",
        "_segment",
        "ended",
        "holds_by_borrower",
        "leak_events",
        "next_check_at",
        "out",
        "site_cells",
    )  # fmt: skip

    def __init__(self, leak_after: float) -> None:
        self.out: dict[Hashable, OpenHold] = {}
        self.ended: list[FinishedHold] = []
        self.holds_by_borrower: dict[Hashable, int] = {}
        self.site_cells: dict[Function, int] = {}
        self.next_check_at = math.inf
        self.leak_events: list[LeakEvent] = []
        self._leak_after = leak_after
        self._labels: dict[str, int] = {}
        # Of those whose end is looked at with care, what the hold would have.
        self._holder_refs: dict[Hashable, HolderRef] = {}
        # A dictionary, as an empty set has three times its size.
        self._abandoned: dict[Hashable, None] = {}
        # What was overdue then has been told.
        self._checked_at = -math.inf

    def start(self, segment: Segment, now: float) -> None:
        """Begin with nothing, in a segment whose cells are all 0.0."""
        self._segment = segment
        self._cells = segment.cells
        for known in (
            self.out,
            self.holds_by_borrower,
            self.site_cells,
            self._labels,
            self._holder_refs,
        ):
            known.clear()
        self._abandoned.clear()
        self._checked_at = -math.inf
        self.ended.clear()
        self.leak_events.clear()
        self.next_check_at = now + self._leak_after

    def who(self, key: Hashable) -> Borrower | None:
        """Return who has the connection, if that is known."""
        hold = self.out.get(key)
        return _known(hold[2]) if hold is not None else None

    def is_held(self, key: Hashable) -> bool:
        """Whether a caller has it, for whom it is not just being set up."""
        hold = self.out.get(key)
        return hold is not None and hold[0] != c.TAKEN

    def holder_ref(self, key: Hashable) -> HolderRef:
        """Return what returns None once nobody is left who could return the connection."""
        hold = self.out.get(key)
        holder_ref = hold[3] if hold is not None else ALWAYS_HELD
        return self._holder_refs.get(key, ALWAYS_HELD) if holder_ref is SLOW_RELEASE else holder_ref

    # Beginning and ending

    def take(self, key: Hashable, now: float) -> None:
        """A connection is out, for a caller who does not have it yet."""
        self._count_overflow(1, now)
        self.out[key] = c.TAKEN, now, UNKNOWN_BORROWER, SLOW_RELEASE, 0

    def begin(
        self, key: Hashable, now: float, asked: float, who: Borrower, holder_ref: HolderRef
    ) -> None:
        """A caller has a connection, which may be taken already, or be another's too."""
        self.end(key, now, returned=True)
        slot = self._slot(who)
        if slot:
            self._cells[slot + c.HOLD_ASKED] = asked
            self._cells[slot] = now
        elif self._segment.shared:
            self._count_overflow(1, now, who[0])
            self._count(asked, now)
            asked = c.ALREADY_COUNTED
        if asked == c.ALREADY_COUNTED:
            self._holder_refs[key], holder_ref = holder_ref, SLOW_RELEASE
        self.out[key] = now, asked, who, holder_ref, slot
        self.holds_by_borrower[who[2]] = self.holds_by_borrower.get(who[2], 0) + 1

    def adopt(self, key: Hashable, now: float, holder_ref: HolderRef) -> None:
        """A connection is found that is out already."""
        self.begin(key, now, c.ALREADY_COUNTED, UNKNOWN_BORROWER, holder_ref)

    def end(self, key: Hashable, now: float, returned: bool) -> None:
        """A connection is out no more: `returned` by its holder, or lost."""
        hold = self.out.pop(key, None)
        if hold is None:
            return
        self._holder_refs.pop(key, None)
        since, asked, who, _, slot = hold
        if since == c.TAKEN:
            self._cells[c.TAKEN_SECONDS] += max(0.0, now - asked)
            self._count_overflow(-1, asked)
            return
        held = max(0.0, now - since)
        self._count(asked, since)
        c.HOLD_SECONDS.observe_count(self._cells, held)
        self._cells[self.site_cell(who[0])] += held  # their sum is that of the histogram
        if slot:
            self._free(slot)
        else:
            self._count_overflow(-1, since, who[0])
        self.forget(who[2])
        self._count_leak(key, who, held, returned)

    def fold(self) -> None:
        """Make numbers of the holds that have ended."""
        for _ in range(0, len(self.ended), MAX_FINISHED):
            some = self.ended[:MAX_FINISHED]
            del self.ended[: len(some)]
            self._fold(some)

    def _fold(self, some: list[FinishedHold]) -> None:
        out, bisect = self.out, bisect_left
        slow: list[int] = []
        lasted: list[int] = []
        sites: list[tuple[int, float]] = []
        slots: list[int] = []
        late: list[FinishedHold] = []
        took_in_all = 0.0
        function: Function | None = some[0][1][0]
        of_function = 0.0
        for key, who, took, held, slot in some:
            if key in out:
                hold = out.get(key)
                if hold is not None and hold[2] is who:  # who has noted it is to take it back yet
                    late.append((key, who, took, held, slot))
                    continue
            took_in_all += took
            if took > QUICK:
                slow.append(bisect(ACQUIRE_BUCKETS, took))
            lasted.append(bisect(HOLD_BUCKETS, held))
            if who[0] is not function:
                sites.append((self.site_cell(function), of_function))
                function, of_function = who[0], 0.0
            of_function += held
            if slot:
                slots.append(slot)
        sites.append((self.site_cell(function), of_function))
        # Only now, as a function that is new has got a cell.
        numbers = array("d", self._cells[c.JOURNALED_CELLS].tobytes())
        for cell, seconds in sites:
            numbers[cell - _FIRST] += seconds
        for bucket in set(lasted):
            numbers[_HOLDS + bucket] += lasted.count(bucket)
        for bucket in slow:
            numbers[_ACQUIRES + bucket] += 1.0
        numbers[_ACQUIRES] += len(lasted) - len(slow)
        numbers[_ACQUIRE_SUM] += took_in_all
        self.ended += late
        self._set(numbers, slots)

    def _set(self, numbers: array[float], slots: list[int]) -> None:
        """Set the numbers, and let slots be free: for readers, all at once."""
        cells = self._cells
        if slots:
            self._segment.journal_fold(numbers, slots)
        cells[c.JOURNALED_CELLS] = numbers
        if slots:
            for slot in slots:
                cells[slot] = 0.0
                cells[slot + c.HOLD_ENDED] = 0.0
            cells[c.JOURNAL_LENGTH] = 0.0
            self._segment.free += slots

    def forget(self, borrower_key: Hashable) -> None:
        """A task or thread has one connection less."""
        left = self.holds_by_borrower.pop(borrower_key, 1) - 1
        if left:
            self.holds_by_borrower[borrower_key] = left

    def site_cell(self, function: Function | None) -> int:
        """Return the cell of the function's seconds, which is that of all others after many."""
        if function is None:
            return c.UNKNOWN_SITE_SECONDS
        cell = self.site_cells.get(function)
        if cell is None:
            label = self._shown(function)
            if label not in self._labels:
                site = self._labels[label] = c.FIRST_SITE + len(self._labels)
                self._segment.add_site(site, label)
            if len(self.site_cells) > MAX_FUNCTION_CELLS:
                self.site_cells.clear()
            cell = self.site_cells[function] = self._labels[label]
        return cell

    def _shown(self, function: Function | None) -> str:
        label = function.label if function is not None else OTHER_SITES
        return label if label in self._labels or len(self._labels) < SHOWN_SITES else OTHER_SITES

    def _count(self, asked: float, since: float) -> None:
        """Observe how long the attempt took, unless it is counted."""
        if asked != c.ALREADY_COUNTED:
            c.ACQUIRE_SECONDS.observe(self._cells, since - asked)

    def _slot(self, who: Borrower) -> int:
        """Return a slot that says with whom the hold is, or 0 if there is none."""
        segment = self._segment
        if not segment.free:
            return 0
        slot = segment.free.pop()
        if not segment.set_borrower(slot, who):
            self.site_cell(who[0])
            segment.register_borrower(Borrower(*who), self._shown(who[0]))
            segment.set_borrower(slot, who)
        return slot

    def _free(self, slot: int) -> None:
        self._cells[slot] = 0.0
        self._cells[slot + c.HOLD_LOST] = 0.0
        self._segment.free.append(slot)

    def _count_overflow(self, by: int, since: float, function: Function | None = None) -> None:
        """Let others know of one more or less without a slot, which has lasted since then."""
        if not self._segment.shared:
            return
        cells = self._cells
        places = [(c.OVERFLOW_HOLDS, c.OVERFLOW_HOLDS_SINCE)]
        if function is not None:
            site = self.site_cell(function)
            places.append((site + c.SITE_OVERFLOW, site + c.SITE_OVERFLOW_SINCE))
        for number, sum_ in places:
            cells[number] += by
            # What remains of fractions goes with the last one.
            cells[sum_] = cells[sum_] + by * since if cells[number] else 0.0

    # What is wrong

    def abandon(self, key: Hashable, now: float) -> bool:
        """Nobody is left who could return it; return whether that is new, and of a hold."""
        if key in self._abandoned or not self.is_held(key):
            return False
        since, asked, who, _, slot = self.out[key]
        self._holder_refs[key] = ALWAYS_HELD
        self.out[key] = since, asked, who, SLOW_RELEASE, slot
        self._abandoned[key] = None
        if slot:
            self._cells[slot + c.HOLD_LOST] = 1.0
        self._cells[c.ABANDONED] = len(self._abandoned)
        self._cells[c.LEAKS_ABANDONED] += 1
        self._report(LeakEvent("abandoned", _known(who), max(0.0, now - since)))
        return True

    def check_overdue(self, now: float) -> None:
        """Make news of what has become overdue, and know when to look again."""
        oldest = now
        for since, _, who, _, _ in list(self.out.values()):
            if since == c.TAKEN or self._checked_at - since > self._leak_after:
                continue
            if now - since > self._leak_after:
                self._add_event(LeakEvent("overdue", _known(who), now - since))
            else:
                oldest = min(oldest, since)
        self._checked_at = max(now, self._checked_at)
        # What begins later becomes overdue later.
        self.next_check_at = oldest + self._leak_after

    def _count_leak(self, key: Hashable, who: Borrower, held: float, returned: bool) -> None:
        """Count what was wrong with a hold that has ended."""
        if key in self._abandoned:
            self._abandoned.pop(key, None)
            self._cells[c.ABANDONED] = len(self._abandoned)
            returned = False
        if held > self._leak_after:
            self._cells[c.WAS_OVERDUE] += 1
            if returned:
                self._cells[c.RECOVERED] += 1
                self._report(LeakEvent("recovered", _known(who), held))

    def _report(self, leak_events: LeakEvent) -> None:
        self._add_event(leak_events)
        self.next_check_at = -math.inf

    def _add_event(self, leak_events: LeakEvent) -> None:
        self.leak_events.append(leak_events)
        del self.leak_events[:-MAX_LEAK_EVENTS]

    # Reading

    def seconds(self) -> float:
        """Return the seconds of all holds that have ended."""
        functions = self._cells[c.FIRST_SITE : c.FIRST_LABEL].tolist()
        return self._cells[c.UNKNOWN_SITE_SECONDS] + sum(functions)

    def holders(self, now: float) -> list[Holder]:
        """Return who has what is out, the longest hold first."""
        held = [
            Holder(
                _known(who),
                max(0.0, now - since),
                now - since > self._leak_after,
                key in self._abandoned,
            )
            for key, (since, _, who, _, _) in list(self.out.items())
            if since != c.TAKEN
        ]
        return sorted(held, key=lambda holder: -holder.held_seconds)

    def sites(self, now: float) -> list[SiteReading]:
        """Return what each function of the application has out, and has had."""
        sums: dict[str, list[float]] = {}
        for key, (since, _, who, _, _) in list(self.out.items()):
            if who[0] is not None:
                self.site_cell(who[0])
                sum_ = sums.setdefault(self._shown(who[0]), [0, 0.0, 0, 0])
                sum_[0] += 1
                sum_[1] += max(0.0, now - since)
                sum_[2] += now - since > self._leak_after
                sum_[3] += key in self._abandoned
        nothing = [0, 0.0, 0, 0]
        return [
            SiteReading(label, out, self._cells[cell] + seconds, late, lost)
            for label, cell in self._labels.items()
            for out, seconds, late, lost in [sums.get(label, nothing)]
        ]


def _known(who: Borrower) -> Borrower | None:
    return Borrower(*who) if who != UNKNOWN_BORROWER else None

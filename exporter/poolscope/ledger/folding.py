"""How finished holds are added to the numbers, several at a time."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import repeat
from operator import itemgetter, sub
from typing import Final, TypeVar

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Function
from poolscope.callsites.operations import Operation, found_names
from poolscope.ledger import cells as c
from poolscope.ledger.open_holds import FinishedHold, OpenHold, is_open
from poolscope.readings.buckets import ACQUIRE_BUCKETS, HOLD_BUCKETS

K = TypeVar("K", bound=Hashable)

_ACQUIRES: Final = c.ACQUIRE_SECONDS.start
_ACQUIRE_SUM: Final = c.ACQUIRE_SECONDS.sum
_HOLDS: Final = c.HOLD_SECONDS.start
_FUNCTION_OF: Final[Callable[[Borrower], Function | None]] = itemgetter(0)
_OPERATION_OF: Final[Callable[[Borrower], Operation | None]] = itemgetter(4)
_FIRST_BOUND: Final = ACQUIRE_BUCKETS[0]
"""Seconds. Most attempts are in the first bucket, which is counted without a search."""


def add_finished(
    batch: list[FinishedHold],
    in_use: Mapping[Hashable, OpenHold],
    numbers: array[float],
    cell_of: Callable[[Function], int],
    cell_of_operation: Callable[[str], int],
) -> tuple[list[int], list[FinishedHold]]:
    """
    Add finished holds to numbers; return the slots to free, and the holds that are still open.

    in_use: the open holds at the same moment: another thread may be between the two steps that
        end a hold.
    cell_of, cell_of_operation: return the cell of a function, and of a name of an operation, which
        they may add to the numbers.
    """
    postponed: list[FinishedHold] = []
    keys, borrowers, asked, begun, ended, slots = zip(*batch, strict=True)
    if not in_use.keys().isdisjoint(keys):
        postponed = [hold for hold in batch if is_open(in_use.get(hold[0]), hold[1])]
        batch = [hold for hold in batch if hold not in postponed]
        if not batch:
            return [], postponed
        keys, borrowers, asked, begun, ended, slots = zip(*batch, strict=True)
    acquired_after, held = list(map(sub, begun, asked)), list(map(sub, ended, begun))
    if max(acquired_after) <= _FIRST_BOUND:
        numbers[_ACQUIRES] += len(batch)
    else:
        _count_buckets(numbers, _ACQUIRES, ACQUIRE_BUCKETS, acquired_after)
    numbers[_ACQUIRE_SUM] += sum(acquired_after)
    _count_buckets(numbers, _HOLDS, HOLD_BUCKETS, held)
    for function, seconds in _sums(list(map(_FUNCTION_OF, borrowers)), held).items():
        cell = cell_of(function) if function is not None else c.UNKNOWN_SITE_SECONDS
        numbers[cell] += seconds
    operations = list(map(_OPERATION_OF, borrowers))
    if operations.count(None) < len(operations):
        for name, seconds in _sums(found_names(operations), held).items():
            if name is not None:
                cell = cell_of_operation(name)
                numbers[cell] += seconds
    return list(filter(None, slots)), postponed


def _sums(keys: list[K], held: list[float]) -> dict[K, float]:
    """Return the sums of what was held, by key; most batches have a single key."""
    if keys.count(keys[0]) == len(keys):
        return {keys[0]: sum(held)}
    sums: dict[K, float] = {}
    for key, seconds in zip(keys, held, strict=True):
        sums[key] = sums.get(key, 0.0) + seconds
    return sums


def _count_buckets(
    numbers: array[float], first: int, bounds: tuple[float, ...], values: Sequence[float]
) -> None:
    """Count each value in its bucket of the histogram that begins at the cell `first`."""
    lowest = bisect_left(bounds, min(values))
    if lowest == bisect_left(bounds, max(values)):
        numbers[first + lowest] += len(values)
        return
    buckets = list(map(bisect_left, repeat(bounds), values))
    for bucket in set(buckets):
        numbers[first + bucket] += buckets.count(bucket)

"""Pools that had no free connection for a large part of the time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from poolscope.readings.buckets import ACQUIRE_BUCKETS
from poolscope.readings.reading import (
    INSTANCES,
    SATURATED_SECONDS,
    WAITED,
    WATCHED_SECONDS,
    Reading,
)
from poolscope.sizing.sizes import WAIT_P99

LONG_WATCHED: Final = 300.0
"""Seconds for which a pool must have been watched before it can be called too small."""

OFTEN_SATURATED: Final = 0.1

SHARE: Final = 0.99
"""The share of the callers that must not wait longer than the usual goal of `poolscope size`."""


class TooSmall(NamedTuple):
    """
    A pool that is too small.

    share: the share of the time for which no connection was free, 0 to 1.
    address: what the pool connects to; "" if all pools of its name connect to the same.
    """

    share: float
    address: str = ""


def too_small(pools: Iterable[tuple[str, Sequence[Any]]]) -> tuple[TooSmall, ...]:
    """
    Return the pools that are too small, the worst first, each address once.

    Each is looked at by itself: others of its name that are idle do not help its callers.

    pools: the address of each pool object, and its `Reading` or the values of that.
    """
    shares: dict[str, float] = {}
    for address, values in pools:
        shares[address] = max(_share(values), shares.get(address, 0.0))
    found = [
        TooSmall(share, address if len(shares) > 1 else "")
        for address, share in shares.items()
        if share > OFTEN_SATURATED
    ]
    return tuple(sorted(found, reverse=True))


def _share(values: Sequence[Any]) -> float:
    """Return the share of the time; 0 if too little is known, few wait long, or it is closed."""
    watched: float = values[WATCHED_SECONDS]
    if not values[INSTANCES] or not values[WAITED] or watched < LONG_WATCHED:
        return 0.0
    saturated: float = values[SATURATED_SECONDS]
    if saturated <= OFTEN_SATURATED * watched:
        return 0.0
    reading = values if isinstance(values, Reading) else Reading.of(values)
    return saturated / watched if _many_wait_long(reading) else 0.0


def _many_wait_long(reading: Reading) -> bool:
    """Whether more than 1 of 100 callers gave up, or waited longer than the goal of a size."""
    lower_bounds = 0.0, *ACQUIRE_BUCKETS
    waits = zip(lower_bounds, reading.queue_seconds, strict=False)
    long = sum(count for lower, count in waits if lower >= WAIT_P99)
    still_waiting = reading.waiting if reading.oldest_wait_seconds > WAIT_P99 else 0.0
    callers = reading.acquired + reading.gave_up + still_waiting
    return max(long, reading.gave_up) + still_waiting > (1.0 - SHARE) * callers

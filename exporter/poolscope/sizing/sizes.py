"""The sizes that a load needs: what `poolscope size` advises, and what findings compare with."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from poolscope.sizing.queueing import MAX_SIZE, probability_of_waiting, wait_quantile

COMFORTABLE_LOAD: Final = 1.3
"""The comfortable size meets the goal with so many times the load."""

MOST_DATABASE_CONNECTIONS: Final = 50
"""For one pool: half of the default `max_connections` of a PostgreSQL server."""

WAIT_P99: Final = 0.02
"""Seconds. The usual goal; see `Goal.wait_p99`."""


@dataclass(frozen=True, slots=True)
class Goal:
    """
    What the size is to achieve in each process; one of the two.

    wait_p99: seconds that at most one of 100 callers waits longer than.
    probability: the share of callers that wait at all, at most.
    """

    wait_p99: float | None = WAIT_P99
    probability: float | None = None

    def __str__(self) -> str:
        if self.probability is not None:
            return f"at most {self.probability:.2%} of the callers wait"
        return f"99 of 100 callers wait at most {1000 * (self.wait_p99 or 0.0):g} ms"

    def is_met(self, size: int, load: float, hold: float, variation: float) -> bool:
        if self.probability is not None:
            return load < size and probability_of_waiting(size, load) <= self.probability
        return wait_quantile(size, load, hold, variation=variation) <= (self.wait_p99 or 0.0)

    def is_missed(self, measured: tuple[float, float]) -> bool:
        """Whether the bounds of the wait that 99 of 100 callers did not exceed are beyond it."""
        return self.wait_p99 is not None and measured[0] >= self.wait_p99


def smallest_size(goal: Goal, load: float, hold: float, variation: float) -> int:
    """
    Return the smallest size that meets the goal for this load of one process.

    It is `MAX_SIZE` if no smaller one does.
    """
    if not load < MAX_SIZE:
        return MAX_SIZE

    def is_met(size: int) -> bool:
        return goal.is_met(size, load, hold, variation)

    # Most answers are near the load. From there on, larger pools never wait longer.
    low = high = max(1, math.floor(load))
    step = 1
    while high < MAX_SIZE and not is_met(high):
        low, high, step = high + 1, min(MAX_SIZE, high + step), 2 * step
    return low + bisect_left(range(low, high), True, key=is_met)


def comfortable_size(goal: Goal, load: float, hold: float, variation: float) -> int:
    """Return the smallest size that meets the goal for some more load than this."""
    return smallest_size(goal, COMFORTABLE_LOAD * load, hold, variation)


def is_too_large(size: float, comfortable: int) -> bool:
    """Whether a pool may become smaller: one connection more than is comfortable is no fault."""
    return size > comfortable + 1

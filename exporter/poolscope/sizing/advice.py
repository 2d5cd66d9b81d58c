"""The advice: three sizes of a pool, what each would do, and how far the model can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

from poolscope.sizing.measured import Knee, Measured, knee
from poolscope.sizing.queueing import MAX_SIZE, mean_wait, probability_of_waiting, wait_quantile
from poolscope.sizing.sizes import (
    MOST_DATABASE_CONNECTIONS,
    Goal,
    comfortable_size,
    is_too_large,
    smallest_size,
)

TRUSTED_FACTOR: Final = 3.0
"""The model says nothing of other sizes where it is further than this from what was measured."""

NEGLIGIBLE: Final = 0.001
"""Seconds. Shorter waits are those of the machine, and not compared."""

MANY: Final = (1, 2, 4, 8, 16, 32)
"""Processes that are compared."""

FEW_ATTEMPTS: Final = 100
"""Fewer callers say nothing about a pool."""

MAX_LOAD: Final = 50_000.0
"""Connections in use on average. For more there is no advice: it would take long to compute."""

FACTOR_OF_SEED: Final = 1.5
"""The factor of the formula (concurrent requests / queries per request) * 1.5."""


Verdict = Literal["grow", "shrink", "keep", "set", "unreachable", "none", "untrusted"]

Name = Literal["smallest", "comfortable", "ceiling"]


@dataclass(frozen=True, slots=True)
class Server:
    """
    The database server.

    accepts: connections that it accepts from ordinary users.
    others: connections of it that other applications use.
    surge: processes that are there for a while besides, as during a deployment.
    """

    accepts: int | None = None
    others: int = 0
    surge: int = 1

    def ceiling(self, processes: float) -> int:
        """Return the largest size of a pool in each process."""
        if self.accepts is None:
            return MOST_DATABASE_CONNECTIONS
        return max(0, math.floor((self.accepts - self.others) / (processes + self.surge)))


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    A size for the pool in each process, and what it would do.

    name: `smallest` that meets the goal, `comfortable`, or `ceiling` of the server.
    waiting: the share of callers that wait at all.
    wait_p99, wait_mean: in seconds; infinity if the queue would only grow.
    utilization: the share of the connections that is in use on average.
    total: connections of all processes.
    meets_goal: whether the goal is met.
    """

    name: Name
    size: int
    waiting: float
    wait_p99: float
    wait_mean: float
    utilization: float
    total: int
    meets_goal: bool


@dataclass(frozen=True, slots=True)
class Advice:
    """
    What `size` says of one pool.

    verdict: `grow`, `shrink`, `keep`; `set` where there is no limit, or it is not known;
        `unreachable` where the server does not have enough connections; `none` if there is too
        little to go by; `untrusted` if the model is not what was measured.
    size: the present limit of one pool object; infinity without one, NaN if it is not known.
    predicted: the seconds that 99 of 100 callers wait at most at the present size, by the model.
    measured_wait: bounds of the same as it was measured.
    is_assumed: whether nobody has said what the server accepts, so that `ceiling` is what it should
        bear for one pool.
    floor: the size below which nested acquires may deadlock; 0 if there were none.
    split: sizes in each process if so many processes share the load.
    seed: what (concurrent requests / queries per request) * 1.5 would say, for one process.
    """

    measured: Measured
    goal: Goal
    verdict: Verdict
    size: float
    load: float
    variation: float
    predicted: float = 0.0
    measured_wait: tuple[float, float] = (0.0, 0.0)
    candidates: tuple[Candidate, ...] = ()
    ceiling: int | None = None
    is_assumed: bool = False
    floor: int = 0
    split: tuple[tuple[int, int], ...] = ()
    seed: int = 0
    knee: Knee | None = None


def candidate(name: Name, size: int, measured: Measured, goal: Goal, variation: float) -> Candidate:
    """Return what a size of at least 1 would do."""
    processes = max(1.0, measured.instances)
    load, hold = measured.load / processes, measured.hold
    return Candidate(
        name,
        size,
        probability_of_waiting(size, load),
        wait_quantile(size, load, hold, variation=variation),
        mean_wait(size, load, hold, variation),
        min(1.0, load / size),
        round(size * processes),
        goal.is_met(size, load, hold, variation),
    )


def deadlock_floor(measured: Measured) -> int:
    """
    Return the size from which on nested acquires cannot deadlock: callers (connections - 1) + 1.

    Source: HikariCP's wiki, "About Pool Sizing". Callers at once are those that the peaks show;
    each wants two connections.
    """
    if not measured.nested:
        return 0
    at_once = (measured.peak + measured.waiting_peak) / max(1.0, measured.instances)
    return math.ceil(min(at_once, MAX_LOAD)) + 1


def advise(
    measured: Measured, goal: Goal, server: Server | None = None, queries: float = 1.0
) -> Advice:
    """
    Return the advice.

    server: the database server, or None for a pool of something else.
    queries: how many queries a request sends on average, which only the formula of `seed` takes.
    """
    processes = max(1.0, measured.instances)
    load, hold, size = measured.load / processes, measured.hold, measured.size
    variation = max(1.0, measured.holds.variation())
    ceiling = server.ceiling(processes) if server is not None else None
    is_assumed = server is not None and server.accepts is None
    advice = Advice(
        measured, goal, "none", size, load, variation, ceiling=ceiling, is_assumed=is_assumed
    )
    if measured.acquired < FEW_ATTEMPTS or not 0 < measured.load <= MAX_LOAD:
        return advice
    is_limited = 1 <= size < math.inf
    predicted = wait_quantile(int(size), load, hold, variation=variation) if is_limited else 0.0
    waits = measured.wait_range()
    advice = replace(
        advice,
        predicted=predicted,
        measured_wait=waits,
        floor=deadlock_floor(measured),
        seed=math.ceil(min(MAX_SIZE, load / queries * FACTOR_OF_SEED)),
        knee=knee(measured.loads),
    )
    if is_limited and not measured.is_given and not is_trusted(predicted, waits):
        return replace(advice, verdict="untrusted")
    smallest = max(smallest_size(goal, load, hold, variation), advice.floor)
    if is_limited and (goal.is_missed(waits) or measured.many_gave_up):
        smallest = max(smallest, int(size) + 1)
    comfortable = max(smallest, comfortable_size(goal, load, hold, variation))
    sizes: dict[Name, int] = {"smallest": smallest, "comfortable": comfortable}
    if ceiling:
        sizes["ceiling"] = ceiling
    return replace(
        advice,
        verdict=_verdict(size, smallest, comfortable, ceiling),
        candidates=tuple(
            candidate(name, each, measured, goal, variation) for name, each in sizes.items()
        ),
        split=tuple(
            (count, smallest_size(goal, measured.load / count, hold, variation)) for count in MANY
        ),
    )


def is_trusted(predicted: float, measured: tuple[float, float]) -> bool:
    """Whether the model's wait is within the factor of what was measured, or both are short."""
    low, high = measured
    if predicted <= NEGLIGIBLE and low <= NEGLIGIBLE:
        return True
    return low / TRUSTED_FACTOR <= predicted <= max(high, NEGLIGIBLE) * TRUSTED_FACTOR


def _verdict(size: float, smallest: int, comfortable: int, ceiling: int | None) -> Verdict:
    if ceiling is not None and smallest > ceiling:
        return "unreachable"
    if not 1 <= size < math.inf:
        return "set"
    if size < smallest:
        return "grow"
    if is_too_large(size, comfortable) or (ceiling is not None and size > ceiling):
        return "shrink"
    return "keep"

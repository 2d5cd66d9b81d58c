"""What was measured of a pool in its busiest minutes, and what follows from that alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

DECADE: Final = 10.0
"""The first bucket and the last one are taken to be so wide, as a factor."""

STEEPEST, FLATTEST = -30.0, 30.0
"""The powers of the density in a bucket that are tried."""


@dataclass(frozen=True, slots=True)
class Durations:
    """
    How many durations were in which bucket.

    bounds: the upper bound of each bucket in seconds, the last one infinity.
    counts: how many were in each bucket alone.
    total: the sum of all of them, in seconds.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    total: float = 0.0

    @property
    def count(self) -> float:
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """In seconds; 0 if there are none."""
        return self.total / self.count if self.count else 0.0

    def range_of_quantile(self, share: float) -> tuple[float, float]:
        """Return the bounds in seconds of the bucket in which that share of them ends."""
        below, rank = 0.0, share * self.count
        lower = 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            below += count
            if count and below >= rank:
                return lower, bound
            lower = bound
        return lower, lower

    def variation(self) -> float:
        """
        Return the squared coefficient of variation.

        Within each bucket, durations are taken to be spread with a density of x to a power,
        which is chosen so that their sum is the one that was measured.
        """
        if not self.count or not self.mean:
            return 1.0
        buckets = list(self._buckets())
        steep, flat = STEEPEST, FLATTEST
        for _ in range(60):
            power = (steep + flat) / 2
            if (
                sum(count * _moment(1, low, high, power) for low, high, count in buckets)
                > self.total
            ):
                flat = power
            else:
                steep = power
        squares = sum(count * _moment(2, low, high, power) for low, high, count in buckets)
        return max(0.0, squares / self.count / self.mean**2 - 1.0)

    def _buckets(self) -> Iterator[tuple[float, float, float]]:
        """Yield both bounds of each bucket, and how many durations it has."""
        lower = 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count:
                highest = bound if bound < math.inf else DECADE * lower
                yield lower or highest / DECADE, highest, count
            lower = bound


def _moment(order: int, low: float, high: float, power: float) -> float:
    """Return the mean of x to the power of `order`, if x has a density of x to the power."""
    return _integral(low, high, power + order) / _integral(low, high, power)


def _integral(low: float, high: float, power: float) -> float:
    """Return the integral of x to the power, from low to high."""
    exponent = power + 1
    if abs(exponent) < 1e-9:
        return math.log(high / low)
    integral: float = (high**exponent - low**exponent) / exponent
    return integral


@dataclass(frozen=True, slots=True)
class Measured:
    """
    A pool in its busiest minutes; the pool objects of one name, of all processes, added up.

    where: labels and values that tell the pool from others of the same name, such as its service.
    seconds: the length of the time.
    in_use_seconds: connection-seconds.
    attempts: callers that asked for a connection; `acquired` of them got one, `waited` had to wait
        for a free one, `nested` held another already, `gave_up` got none: they timed out or were
        cancelled.
    holds: how long connections were held.
    waits: how long those that had to wait did so.
    limit: the sum of the limits of the pool objects; infinity if there is none.
    instances: how many pool objects there were.
    peak: the highest number of connections in use at once in one of the last minutes.
    waiting_peak: the same of callers that wait.
    loads: of shorter times, the mean number in use and the mean seconds of a hold.
    is_given: whether somebody has given the numbers, so that nobody knows how long callers waited.
    """

    pool: str
    kind: str
    seconds: float
    in_use_seconds: float
    attempts: float
    acquired: float
    waited: float
    gave_up: float
    nested: float
    holds: Durations
    waits: Durations
    limit: float
    instances: float
    peak: float = 0.0
    waiting_peak: float = 0.0
    loads: Sequence[tuple[float, float]] = ()
    where: dict[str, str] = field(default_factory=dict)
    is_given: bool = False

    @property
    def hold(self) -> float:
        """The mean seconds that a connection is held: by Little's law, in-use time by holds."""
        return self.in_use_seconds / self.acquired if self.acquired else 0.0

    @property
    def rate(self) -> float:
        """Callers each second, those included that got no connection."""
        return (self.acquired + self.gave_up) / self.seconds if self.seconds else 0.0

    @property
    def load(self) -> float:
        """
        The connections that would be in use on average if nobody gave up: rate times hold.

        By Little's law; of all pool objects together.
        """
        return self.rate * self.hold

    @property
    def size(self) -> float:
        """The limit of one pool object."""
        return self.limit / self.instances if self.instances else self.limit

    @property
    def many_gave_up(self) -> bool:
        """Whether more than 1 of 100 callers got no connection."""
        return self.gave_up > 0.01 * (self.acquired + self.gave_up)

    def wait_range(self, share: float = 0.99) -> tuple[float, float]:
        """Return bounds in seconds of the wait that this share of all callers did not exceed."""
        asked = self.acquired + self.gave_up
        waited = min(self.waits.count, asked)
        if not asked or waited <= (1.0 - share) * asked:
            return 0.0, 0.0
        return self.waits.range_of_quantile(1.0 - (1.0 - share) * asked / waited)


@dataclass(frozen=True, slots=True)
class Knee:
    """
    Holds take longer the more connections are in use: the database is the bottleneck.

    slope: seconds that each hold takes longer for one more connection in use.
    fit: the share of the variance that this explains, r squared.
    least, most: the load and the mean hold in seconds at both ends.
    """

    slope: float
    fit: float
    least: tuple[float, float]
    most: tuple[float, float]


MIN_WINDOWS: Final = 6
GOOD_FIT: Final = 0.5
MUCH_LONGER: Final = 1.5


def knee(loads: Sequence[tuple[float, float]]) -> Knee | None:
    """
    Return where holds grow with the load, by a line of least squares; None if they do not.

    The idea is that of N. J. Gunther's universal scalability law: beyond the knee, more concurrency
    adds waiting inside the server, and no throughput.
    """
    if len(loads) < MIN_WINDOWS:
        return None
    loads = sorted(loads)
    mean_load = sum(load for load, _ in loads) / len(loads)
    mean_hold = sum(hold for _, hold in loads) / len(loads)
    spread = sum((load - mean_load) ** 2 for load, _ in loads)
    total = sum((hold - mean_hold) ** 2 for _, hold in loads)
    if not spread or not total:
        return None
    together = sum((load - mean_load) * (hold - mean_hold) for load, hold in loads)
    slope, fit = together / spread, together**2 / (spread * total)
    (first, _), (last, _) = loads[0], loads[-1]
    at = [mean_hold + slope * (load - mean_load) for load in (first, last)]
    if slope <= 0 or fit < GOOD_FIT or at[1] < MUCH_LONGER * max(at[0], 0.0):
        return None
    return Knee(slope, fit, (first, max(at[0], 0.0)), (last, at[1]))

"""Exemplars: for each bucket of a histogram, the trace of the slowest value in it of late."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from poolscope.readings.buckets import ACQUIRE_BUCKETS, HOLD_BUCKETS

LASTS: Final = 60.0
"""Seconds after which any value of the bucket takes the place of a slower one."""

BOUNDS: Final[Mapping[str, tuple[float, ...]]] = {
    "acquire_seconds": ACQUIRE_BUCKETS,
    "hold_seconds": HOLD_BUCKETS,
}
"""The bounds of the histograms that have exemplars, by their fields in a `Reading`."""

ACQUIRES, HOLDS = BOUNDS

_FIRST: Final = {ACQUIRES: 0, HOLDS: len(ACQUIRE_BUCKETS) + 1}

NUMBERS: Final = sum(len(bounds) + 1 for bounds in BOUNDS.values())
"""The buckets are numbered through all of these histograms, from 0 up to this."""


class Exemplar(NamedTuple):
    """
    A value and its trace.

    trace: the id of the trace, a number of 128 bits.
    at: the Unix time when it was observed.
    """

    trace: int
    seconds: float
    at: float


Exemplars = Mapping[int, Exemplar]
"""Exemplars by the number of their bucket; of most buckets there are none."""

NO_EXEMPLARS: Final[Exemplars] = {}


def number_of(histogram: str, seconds: float) -> int:
    """Return the number of the bucket of a value."""
    return _FIRST[histogram] + bisect_left(BOUNDS[histogram], seconds)


def of_histogram(exemplars: Exemplars, histogram: str) -> list[Exemplar | None]:
    """Return the exemplar of each bucket of a histogram; an empty list if there are none."""
    if not exemplars or histogram not in BOUNDS:
        return []
    first = _FIRST[histogram]
    return [exemplars.get(first + bucket) for bucket in range(len(BOUNDS[histogram]) + 1)]


def replaces(new: Exemplar, kept: Exemplar | None) -> bool:
    """Whether an exemplar takes the place of one that was observed before."""
    return kept is None or new.seconds > kept.seconds or new.at - kept.at > LASTS


def slowest(several: Iterable[Exemplars]) -> Exemplars:
    """Return the exemplars of several pools together, as if one had observed all of them."""
    found: dict[int, Exemplar] = {}
    for exemplars in several:
        for number, exemplar in exemplars.items():
            kept = found.get(number, exemplar)
            earlier, later = sorted((kept, exemplar), key=lambda each: each.at)
            found[number] = later if replaces(later, earlier) else earlier
    return found

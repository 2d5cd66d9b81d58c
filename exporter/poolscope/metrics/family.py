"""What a metric family is: one row of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, Literal, NamedTuple, TypeVar

from poolscope.readings.reading import Histogram

POOL_LABELS: Final = ("pool", "kind")

S = TypeVar("S")
"""What the samples are taken from: a `Report` of one pool, or a `Scrape` of the exporter."""

Values = Iterable[tuple[tuple[str, ...], float | Histogram]]
"""Samples of a family: the values of its labels, and a number or a histogram."""


class Family(NamedTuple, Generic[S]):
    """
    One metric family.

    labels: the names of the labels, `pool` and `kind` first where it has them.
    samples: returns the samples. Those of a pool's report have no values for `pool` and `kind`.
    buckets: upper bounds in seconds; only histograms have them.
    stays: whether the family is shown for a name that has no live pool: counters are, gauges are
        not.
    """

    name: str
    type: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...]
    samples: Callable[[S], Values]
    buckets: tuple[float, ...] = ()
    stays: bool = True


def gauge(name: str, help: str, samples: Callable[[S], Values], *labels: str) -> Family[S]:
    """Return a family of gauges, which are shown for live pools only."""
    return Family(name, "gauge", help, labels, samples, stays=False)

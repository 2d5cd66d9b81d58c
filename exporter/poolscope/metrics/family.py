"""The type of a metric family, which is one row of the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, Literal, NamedTuple, TypeVar

from poolscope.readings.reading import Histogram

POOL_LABELS: Final = ("pool", "kind")

S = TypeVar("S")
"""The source of the samples: a `Report` of one pool, or a `Scrape` of the exporter."""

Values = Iterable[tuple[tuple[str, ...], float | Histogram]]
"""Samples of a family: for each the values of its labels, and a number or a histogram."""


class Family(NamedTuple, Generic[S]):
    """
    One metric family.

    labels: the names of the labels; `pool` and `kind` come first if the family has them.
    samples: returns the samples of a source; those of a `Report` omit `pool` and `kind`.
    buckets: upper bounds in seconds; only histograms have them.
    stays: whether a name without a live pool keeps its samples: those of counters stay, those of
        gauges go.
    """

    name: str
    type: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...]
    samples: Callable[[S], Values]
    buckets: tuple[float, ...] = ()
    stays: bool = True


def gauge(name: str, help: str, samples: Callable[[S], Values], *labels: str) -> Family[S]:
    """Return a family of gauges, which have samples for live pools only."""
    return Family(name, "gauge", help, labels, samples, stays=False)

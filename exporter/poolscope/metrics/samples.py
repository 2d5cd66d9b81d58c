"""The samples of a family, made from the reports of pools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, overload

from prometheus_client import Metric
from prometheus_client.samples import Sample

from poolscope.errors import internal_errors
from poolscope.metrics.family import Family
from poolscope.metrics.pool_families import INTERNAL_ERRORS
from poolscope.process.pacing import Pacer
from poolscope.readings.reading import Histogram
from poolscope.readings.report import Report

IN_A_PIECE: Final = 100
"""Reports in one piece: freeing many more at once, or their text, takes milliseconds."""


def in_pieces(reports: Sequence[Report]) -> list[Sequence[Report]]:
    """Return the reports in pieces of at most `IN_A_PIECE`."""
    return [reports[start : start + IN_A_PIECE] for start in range(0, len(reports), IN_A_PIECE)]


class Samples(Sequence[Sample]):
    """
    The samples of a family, each of which is created only when it is iterated over.

    Creating the samples of a thousand pools at once would trigger a full garbage collection, which
    blocks the whole process.
    """

    def __init__(self, family: Family[Report], pieces: Sequence[Sequence[Report]]) -> None:
        self._family = family
        self._pieces = pieces

    def __iter__(self) -> Iterator[Sample]:
        pacer = Pacer()
        for sample in self._each():
            pacer.yield_gil()
            yield sample

    def pieces(self) -> Iterator[Metric]:
        """Yield the family once for each piece, with the samples of the pools in that piece."""
        for piece in self._pieces:
            yield collected(self._family, piece)

    def _each(self) -> Iterator[Sample]:
        for report in chain.from_iterable(self._pieces):
            if self._family.stays or report.reading.live:
                yield from _samples(self._family, report)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        return list(self)[index]


def collected(family: Family[Report], *pieces: Sequence[Report]) -> Metric:
    """Return the family as a metric with the samples of all pools."""
    metric = metric_of(family)
    if family is INTERNAL_ERRORS:
        metric.add_sample(family.name, {}, float(internal_errors.count))
    else:
        metric.samples = Samples(family, pieces)  # type: ignore[assignment]  # as good as a list
    return metric


def metric_of(family: Family[Any]) -> Metric:
    """Return the family as a metric without samples."""
    return Metric(family.name.removesuffix("_total"), family.help, family.type)


def _samples(family: Family[Report], report: Report) -> Iterator[Sample]:
    for values, value in family.samples(report):
        yield from samples_of(family, (report.pool, report.kind, *values), value)


def samples_of(
    family: Family[Any], values: Sequence[str], value: float | Histogram
) -> Iterator[Sample]:
    """Yield the sample of a number, or the samples of a histogram, with these label values."""
    labels = dict(zip(family.labels, values, strict=True))
    if isinstance(value, tuple):
        yield from _histogram(family, labels, value)
    else:
        yield Sample(family.name, labels, value)


def _histogram(
    family: Family[Report], labels: dict[str, str], value: Histogram
) -> Iterator[Sample]:
    name, total = f"{family.name}_bucket", 0.0
    for bound, count in zip((*map(str, family.buckets), "+Inf"), value[:-1], strict=True):
        total += count
        yield Sample(name, {**labels, "le": bound}, total)
    yield Sample(f"{family.name}_count", labels, total)
    yield Sample(f"{family.name}_sum", labels, value[-1])

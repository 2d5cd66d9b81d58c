"""Readings -> Prometheus families."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, overload

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from poolscope.courtesy import let_others_run
from poolscope.errors import internal_errors
from poolscope.groups import Groups
from poolscope.metrics import FAMILIES, INTERNAL_ERRORS, Family
from poolscope.reading import Histogram
from poolscope.report import Report

if TYPE_CHECKING:
    from poolscope.exporter_metrics import ExporterFamily


AT_ONCE: Final = 64
"""Samples that are made before others may run: about a millisecond's, in most formats."""


class PoolCollector(Collector):
    """What a registry asks at each scrape: one reading of each pool, all families from it."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups

    def describe(self) -> Iterable[Metric]:
        """Name the families, so that registering does not collect and duplicates are refused."""
        return [metric_of(family) for family in FAMILIES]

    def collect(self) -> Iterable[Metric]:
        if reports := self.groups.reports():
            for family in FAMILIES:
                yield collected(family, reports)


class Samples(Sequence[Sample]):
    """
    The samples of a family, each of which is made only when it is asked for.

    All at once, those of a thousand pools would have Python's garbage collector look at everything
    that there is in the process, and block it for that long.
    """

    def __init__(self, family: Family, reports: Sequence[Report]) -> None:
        self._family = family
        self._reports = reports

    def __iter__(self) -> Iterator[Sample]:
        for number, sample in enumerate(self._each(), 1):
            if not number % AT_ONCE:
                let_others_run()
            yield sample

    def _each(self) -> Iterator[Sample]:
        if self._family is INTERNAL_ERRORS:
            yield Sample(self._family.name, {}, float(internal_errors.count))
        for report in self._reports:
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


def collected(family: Family, reports: Sequence[Report]) -> Metric:
    """Return the family with the samples of all pools."""
    metric = metric_of(family)
    metric.samples = Samples(family, reports)  # type: ignore[assignment]  # as good as a list
    return metric


def metric_of(family: Family | ExporterFamily) -> Metric:
    """Return the family without any sample."""
    return Metric(family.name.removesuffix("_total"), family.help, family.type)


def _samples(family: Family, report: Report) -> Iterator[Sample]:
    if not family.labels:
        return
    for values, value in family.samples(report):
        labels = dict(zip(family.labels, (report.pool, report.kind, *values), strict=True))
        if isinstance(value, tuple):
            yield from _histogram(family, labels, value)
        else:
            yield Sample(family.name, labels, value)


def _histogram(family: Family, labels: dict[str, str], value: Histogram) -> Iterator[Sample]:
    name, total = f"{family.name}_bucket", 0.0
    for bound, count in zip((*map(str, family.buckets), "+Inf"), value[:-1], strict=True):
        total += count
        yield Sample(name, {**labels, "le": bound}, total)
    yield Sample(f"{family.name}_count", labels, total)
    yield Sample(f"{family.name}_sum", labels, value[-1])

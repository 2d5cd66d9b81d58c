"""Readings -> Prometheus families."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from poolscope.errors import internal_errors
from poolscope.groups import Groups
from poolscope.metrics import FAMILIES, INTERNAL_ERRORS, Family
from poolscope.reading import Histogram
from poolscope.report import Report

if TYPE_CHECKING:
    from poolscope.exporter_metrics import ExporterFamily


class PoolCollector(Collector):
    """What a registry asks at each scrape: one reading of each pool, all families from it."""

    def __init__(self, groups: Groups) -> None:
        self.groups = groups

    def describe(self) -> Iterable[Metric]:
        """Name the families, so that registering does not collect and duplicates are refused."""
        return [metric_of(family) for family in FAMILIES]

    def collect(self) -> Iterable[Metric]:
        reports = self.groups.reports()
        return [collected(family, reports) for family in FAMILIES] if reports else []


def collected(family: Family, reports: Sequence[Report]) -> Metric:
    """Return the family with the samples of all pools."""
    metric = metric_of(family)
    if family is INTERNAL_ERRORS:
        metric.samples.append(Sample(family.name, {}, float(internal_errors.count)))
    for report in reports:
        if family.stays or report.reading.live:
            metric.samples.extend(_samples(family, report))
    return metric


def metric_of(family: Family | ExporterFamily) -> Metric:
    """Return the family without any sample."""
    return Metric(family.name.removesuffix("_total"), family.help, family.type)


def _samples(family: Family, report: Report) -> Iterator[Sample]:
    if not family.labels:
        return
    for values, value in family.samples(report):
        labels = dict(zip(family.labels, (report.pool, report.kind, *values), strict=True))
        if isinstance(value, Histogram):
            yield from _histogram(family, labels, value)
        else:
            yield Sample(family.name, labels, value)


def _histogram(family: Family, labels: dict[str, str], value: Histogram) -> Iterator[Sample]:
    name, total = f"{family.name}_bucket", 0.0
    for bound, count in zip((*map(str, family.buckets), "+Inf"), value.counts, strict=True):
        total += count
        yield Sample(name, {**labels, "le": bound}, total)
    yield Sample(f"{family.name}_count", labels, total)
    yield Sample(f"{family.name}_sum", labels, value.sum)

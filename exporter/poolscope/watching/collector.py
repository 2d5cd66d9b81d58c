"""Readings -> Prometheus families."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic

from prometheus_client import Metric
from prometheus_client.registry import Collector

from poolscope.metrics.pool_families import FAMILIES
from poolscope.metrics.samples import collected, in_pieces, metric_of
from poolscope.pacing import Pacer
from poolscope.watching.groups import Groups, M


class PoolCollector(Collector, Generic[M]):
    """What a registry asks at each scrape: one reading of each pool, all families from it."""

    def __init__(self, groups: Groups[M]) -> None:
        self.groups = groups

    def describe(self) -> Iterable[Metric]:
        """Name the families, so that registering does not collect and duplicates are refused."""
        return [metric_of(family) for family in FAMILIES]

    def collect(self) -> Iterable[Metric]:
        pieces = in_pieces(self.groups.reports())
        if not pieces:
            return
        for family in FAMILIES:
            yield collected(family, *pieces)
        # Nobody else has them by now, as the last family, that of our own errors, is of no pool.
        pacer = Pacer()
        while pieces:
            pieces.pop()
            pacer.yield_gil()

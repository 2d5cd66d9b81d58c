"""The Prometheus collector of watched pools."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic

from prometheus_client import Metric
from prometheus_client.registry import Collector

from poolscope.metrics.pool_families import FAMILIES
from poolscope.metrics.samples import collected, in_pieces, metric_of
from poolscope.process.pacing import Pacer
from poolscope.watching.groups import Groups
from poolscope.watching.member import M


class PoolCollector(Collector, Generic[M]):
    """Called by a registry at each scrape: reads each pool once, and makes all families of that."""

    def __init__(self, groups: Groups[M]) -> None:
        self.groups = groups

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that a registry need not collect to name them."""
        return [metric_of(family) for family in FAMILIES]

    def collect(self) -> Iterable[Metric]:
        pieces = in_pieces(self.groups.reports())
        if not pieces:
            return
        for family in FAMILIES:
            yield collected(family, *pieces)
        # The last family, that of internal errors, is not about pools, so nothing else refers to
        # the pieces by now. Freeing many takes time, so other threads may run in between.
        pacer = Pacer()
        while pieces:
            pieces.pop()
            pacer.yield_gil()

"""
PromQL for the metric families of the catalogue.

Families are named without the prefix `connpool_`; an unknown name raises KeyError at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from poolscope.metrics.exporter_families import CATALOGUE

METRIC_PREFIX: Final = "connpool_"
RATE_INTERVAL: Final = "$__rate_interval"
WHOLE_RANGE: Final = "[$__range] @ end()"
"""Ranks do not change from one moment to the next: a graph has the same series all the time."""

FAMILY_TYPES: Final = {family.name: family.type for family in CATALOGUE}
FAMILY_LABELS: Final = {family.name: family.labels for family in CATALOGUE}


def name_of(family: str) -> str:
    """Return the full name of a family; raises KeyError if the catalogue does not have it."""
    name = f"{METRIC_PREFIX}{family}"
    FAMILY_TYPES[name]
    return name


@dataclass(frozen=True, slots=True)
class Queries:
    """
    Builds the queries of dashboards.

    matchers: label matchers that are added to every query.
    """

    matchers: tuple[str, ...] = ()

    def select(self, family: str, *matchers: str, part: str = "") -> str:
        """Return a selector; `part` is `_bucket`, `_sum` or `_count` of a histogram."""
        inside = ", ".join((*self.matchers, *matchers))
        return f"{name_of(family)}{part}{{{inside}}}"

    def gauge(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the sum of a gauge."""
        return _sum(self._of_type("gauge", family, *matchers), by)

    def mean(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the sum of the means of a gauge, to which the rate of a counter is compared."""
        inner = self._of_type("gauge", family, *matchers)
        return _sum(f"avg_over_time({inner}[{RATE_INTERVAL}])", by)

    def maximum(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the maximum of a gauge that must not be summed."""
        inner = self._of_type("gauge", family, *matchers)
        return f"max by ({by}) ({inner})" if by else f"max({inner})"

    def once(
        self,
        family: str,
        *matchers: str,
        by: str = "",
        more: Sequence[str] = (),
        whole_range: bool = False,
    ) -> str:
        """
        Return the sum of a gauge that several targets may report of the same thing, which counts
        once.

        more: the labels that tell things apart besides those of the family.
        whole_range: whether it is the mean in the whole time range.
        """
        each = ", ".join((*more, *FAMILY_LABELS[name_of(family)]))
        inner = self._of_type("gauge", family, *matchers)
        inner = f"avg_over_time({inner}{WHOLE_RANGE})" if whole_range else inner
        inner = f"max by ({each}) ({inner})"
        return inner if by == each else _sum(inner, by)

    def total(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the increase of a counter in the whole time range, at each moment of it."""
        inner = self._of_type("counter", family, *matchers)
        return _sum(f"increase({inner}{WHOLE_RANGE})", by)

    def total_mean(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the sum of the means of a gauge in the whole time range."""
        inner = self._of_type("gauge", family, *matchers)
        return _sum(f"avg_over_time({inner}{WHOLE_RANGE})", by)

    def total_peak(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the sum of the maxima of a gauge in the whole time range."""
        inner = self._of_type("gauge", family, *matchers)
        return _sum(f"max_over_time({inner}{WHOLE_RANGE})", by)

    def total_quantile(self, quantile: float, family: str, by: str) -> str:
        """Return a quantile of what happened in the whole time range."""
        inner = self.select(family, part="_bucket")
        buckets = _sum(f"rate({inner}{WHOLE_RANGE})", f"le, {by}")
        return f"histogram_quantile({quantile:g}, {buckets})"

    def limits(self, *matchers: str, by: str = "") -> str:
        """Return the sum of the limits of pools, without those that have none."""
        return _sum(f"{self._of_type('gauge', 'limit', *matchers)} < +Inf", by)

    def rate(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the per-second rate of a counter; for a counter of seconds, it is a mean."""
        inner = self._of_type("counter", family, *matchers)
        return _sum(f"rate({inner}[{RATE_INTERVAL}])", by)

    def increase(self, family: str, *matchers: str, by: str = "", over: str = RATE_INTERVAL) -> str:
        """Return the increase of a counter."""
        inner = self._of_type("counter", family, *matchers)
        return _sum(f"increase({inner}[{over}])", by)

    def buckets(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the rates of the buckets of a histogram."""
        inner = self.select(family, *matchers, part="_bucket")
        return _sum(f"rate({inner}[{RATE_INTERVAL}])", f"le, {by}" if by else "le")

    def quantile(self, quantile: float, family: str, *matchers: str, by: str = "") -> str:
        """Return a quantile, estimated from a histogram."""
        return f"histogram_quantile({quantile:g}, {self.buckets(family, *matchers, by=by)})"

    def _of_type(self, type: str, family: str, *matchers: str) -> str:
        if FAMILY_TYPES[name_of(family)] != type:
            raise TypeError(f"{family} is not a {type}")
        return self.select(family, *matchers)


def top(number: int, rank: str, expr: str, by: str) -> str:
    """Return the series of an expression that have the highest ranks; both have the labels `by`."""
    return f"{expr} and on ({by}) topk({number}, {rank})"


def _sum(inner: str, by: str) -> str:
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def share(part: str, whole: str) -> str:
    """Return the ratio of two sums; it has no value where the denominator is 0."""
    return f"({part}) / ({whole} > 0)"


def share_of_traffic(part: str, whole: str) -> str:
    """Return the ratio of two sums; it is NaN, not absent, where the denominator is 0."""
    return f"({part}) / ({whole})"

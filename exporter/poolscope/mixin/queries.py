"""
PromQL for the families of the catalogue.

A family is named by a part of its name that is unique, so that a typing error fails at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from poolscope.metrics.exporter_families import EXPORTER_FAMILIES
from poolscope.metrics.pool_families import FAMILIES

METRIC_PREFIX: Final = "connpool_"
RATE_INTERVAL: Final = "$__rate_interval"

FAMILY_LABELS: Final = {family.name: family.labels for family in (*FAMILIES, *EXPORTER_FAMILIES)}
FAMILY_TYPES: Final = {family.name: family.type for family in (*FAMILIES, *EXPORTER_FAMILIES)}


def name_of(family: str) -> str:
    """Return the name of `connpool_FAMILY`; raises KeyError if the catalogue has none."""
    name = f"{METRIC_PREFIX}{family}"
    FAMILY_LABELS[name]
    return name


@dataclass(frozen=True, slots=True)
class Queries:
    """
    Queries that all have some matchers.

    matchers: those of every query, as PromQL has them.
    """

    matchers: tuple[str, ...] = ()

    def select(self, family: str, *matchers: str, part: str = "") -> str:
        """Return a selector; `part` is `_bucket`, `_sum` or `_count` of a histogram."""
        inside = ", ".join((*self.matchers, *matchers))
        return f"{name_of(family)}{part}{{{inside}}}"

    def gauge(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the sum of a gauge."""
        return _sum(self._of_type("gauge", family, *matchers), by)

    def maximum(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the greatest value of a gauge that does not add up."""
        inner = self._of_type("gauge", family, *matchers)
        return f"max by ({by}) ({inner})" if by else f"max({inner})"

    def rate(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the rate of a counter in a second; of seconds it is a mean."""
        inner = self._of_type("counter", family, *matchers)
        return _sum(f"rate({inner}[{RATE_INTERVAL}])", by)

    def increase(self, family: str, *matchers: str, by: str = "", over: str = RATE_INTERVAL) -> str:
        """Return how much a counter has grown."""
        inner = self._of_type("counter", family, *matchers)
        return _sum(f"increase({inner}[{over}])", by)

    def buckets(self, family: str, *matchers: str, by: str = "") -> str:
        """Return the rates of the buckets of a histogram."""
        inner = self.select(family, *matchers, part="_bucket")
        return _sum(f"rate({inner}[{RATE_INTERVAL}])", f"le, {by}" if by else "le")

    def quantile(self, share: float, family: str, *matchers: str, by: str = "") -> str:
        """Return a quantile, estimated from a histogram."""
        return f"histogram_quantile({share:g}, {self.buckets(family, *matchers, by=by)})"

    def _of_type(self, type: str, family: str, *matchers: str) -> str:
        if FAMILY_TYPES[name_of(family)] != type:
            raise TypeError(f"{family} is no {type}")
        return self.select(family, *matchers)


def _sum(inner: str, by: str) -> str:
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def share(part: str, whole: str) -> str:
    """Return the ratio of two sums; nothing where the whole is 0."""
    return f"({part}) / ({whole} > 0)"

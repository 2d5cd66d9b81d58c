"""A scrape as text, in the format that the client asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from prometheus_client import Metric

from poolscope.metrics.exporter_families import EXPORTER_FAMILIES, Scrape
from poolscope.metrics.family import Family
from poolscope.metrics.pool_families import FAMILIES, INTERNAL_ERRORS
from poolscope.metrics.rendering import Rendered, Wanted, rendered, wanted
from poolscope.metrics.samples import collected, metric_of, restricted, samples_of


class _ScrapeRegistry:
    """
    Gives one scrape to an encoder that expects a registry.

    asked: names of samples, such as `connpool_waiting` or `connpool_hold_seconds_count`; only
        these are given. None: all.
    others: families that are given, too.
    """

    def __init__(
        self, scrape: Scrape | None, asked: Collection[str] | None, others: Sequence[Metric] = ()
    ) -> None:
        self._scrape = scrape
        self._asked = asked
        self._others = others

    def collect(self) -> Iterator[Metric]:
        if self._asked is None:
            yield from self._all()
            return
        for metric in self._all():
            # As in prometheus_client, a family of which nothing is asked has no description either.
            selected = restricted(metric, self._asked)
            if selected is not None:
                yield selected

    def _is_asked(self, family: Family[Any]) -> bool:
        """Whether samples of the family may be asked for: the names of all begin with its own."""
        stem = family.name.removesuffix("_total")
        return self._asked is None or any(name.startswith(stem) for name in self._asked)

    def _all(self) -> Iterator[Metric]:
        if self._scrape is not None:
            yield from self._of_scrape(self._scrape)
        yield from self._others

    def _of_scrape(self, scrape: Scrape) -> Iterator[Metric]:
        for family in filter(self._is_asked, FAMILIES):
            # Internal errors are counted in the memory of each process, which serves them itself.
            if family is not INTERNAL_ERRORS:
                yield collected(family, scrape.view.reports)
        for own in filter(self._is_asked, EXPORTER_FAMILIES):
            metric = metric_of(own)
            for values, value in own.samples(scrape):
                metric.samples += samples_of(own, values, value)
            # A family without samples is left out, with its description.
            if metric.samples:
                yield metric


def rendered_scrape(
    scrape: Scrape | None, asked: Wanted, others: Sequence[Metric] = ()
) -> Rendered:
    """
    Return the metrics in the format and compression that a client asks for.

    others: families that are no part of the scrape, and are served with it.
    """
    registry = _ScrapeRegistry(scrape, asked.names, others)
    return rendered(registry, asked._replace(names=None))


def expose(scrape: Scrape, accept: str, asked: Collection[str] | None = None) -> tuple[bytes, str]:
    """
    Return the metrics and their content type, chosen by an Accept header.

    asked: the names of the samples that are wanted; None: all.
    """
    names = None if asked is None else frozenset(asked)
    headers, parts = rendered_scrape(scrape, wanted(accept, "", "")._replace(names=names))
    return b"".join(parts), dict(headers)["Content-Type"]

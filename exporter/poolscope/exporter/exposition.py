"""A scrape as text, in the format that the client asks for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder

from poolscope.metrics.exporter_families import EXPORTER_FAMILIES, Scrape
from poolscope.metrics.pool_families import FAMILIES, INTERNAL_ERRORS
from poolscope.metrics.samples import collected, metric_of, samples_of


class _ScrapeRegistry:
    """Gives one scrape to an encoder that expects a registry."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            # Internal errors are counted in the memory of each process, which serves them itself.
            if family is not INTERNAL_ERRORS:
                yield collected(family, self._scrape.view.reports)
        for own in EXPORTER_FAMILIES:
            metric = metric_of(own)
            for values, value in own.samples(self._scrape):
                metric.samples += samples_of(own, values, value)
            # A family without samples is left out, with its description.
            if metric.samples:
                yield metric


def expose(scrape: Scrape, accept: str) -> tuple[bytes, str]:
    """Return the metrics and their content type, chosen by an Accept header."""
    encode, content_type = choose_encoder(accept)
    return encode(_ScrapeRegistry(scrape)), content_type

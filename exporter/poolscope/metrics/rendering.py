"""
A registry as text, in parts: a text of megabytes, joined and encoded in one piece, would keep every
other thread of the service from running for that long.

The text is that of prometheus_client, whose functions write each part.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_client.registry import Collector

from poolscope.metrics.samples import Samples

COMPRESSION: Final = 1
"""
The level, of 1 to 9: of metrics, the highest one makes 5 % of the text, and the lowest 5.3 % in a
tenth of the time.
"""

GZIP: Final = 31
"""`wbits` of zlib for gzip's format."""


class Rendered(NamedTuple):
    """The body of an answer in parts, and the headers that go with it."""

    headers: list[tuple[str, str]]
    parts: list[bytes]


class _Families(Collector):
    """Stands in the place of a registry that has just these families."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def rendered(
    registry: CollectorRegistry,
    accept: str,
    accept_encoding: str,
    query: Mapping[str, Sequence[str]],
) -> Rendered:
    """
    Return the metrics of a registry in the format, and compressed, as the two headers ask for.

    query: of the address; `name[]` are the only names of samples that are wanted. Whatever a
        collector raises is passed on, before there is any part.
    """
    encode, content_type = choose_encoder(accept)
    headers = [("Content-Type", content_type)]
    asked: Any = registry
    if "name[]" in query:
        asked = registry.restricted_registry(query["name[]"])
    parts = list(_texts(asked, encode))
    if gzip_accepted(accept_encoding):
        headers.append(("Content-Encoding", "gzip"))
        parts = _compressed(parts)
    headers.append(("Content-Length", str(sum(map(len, parts)))))
    return Rendered(headers, parts)


def _texts(registry: Any, encode: Callable[[Collector], bytes]) -> Iterator[bytes]:
    end = encode(_Families())  # OpenMetrics has a line for that
    for family in registry.collect():
        head, *texts = [encode(_Families(piece)).removesuffix(end) for piece in _pieces(family)]
        yield b"".join((head, *(text.removeprefix(head) for text in texts)))
    if end:
        yield end


def _pieces(family: Metric) -> Iterator[Metric]:
    """Yield what is one text each; where there is more than one, the first has no samples."""
    if isinstance(family.samples, Samples):
        yield Metric(family.name, family.documentation, family.type)
        yield from family.samples.pieces()
    else:
        yield family


def _compressed(parts: Sequence[bytes]) -> list[bytes]:
    compressor = zlib.compressobj(COMPRESSION, wbits=GZIP)
    compressed = [compressor.compress(part) for part in parts]
    return [part for part in (*compressed, compressor.flush()) if part]

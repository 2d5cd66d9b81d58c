"""
The metrics of a registry as text, in parts.

A text of megabytes that is joined and encoded in one piece holds the GIL for that long, and no
other thread of the service can run. prometheus_client's own functions write each part.
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
The compression level, 1 to 9. For metrics, level 9 compresses to 5 % of the size, and level 1 to
5.3 % in a tenth of the time.
"""

GZIP: Final = 31
"""The value of zlib's `wbits` that selects the gzip format."""


class Rendered(NamedTuple):
    """The headers of a response, and its body in parts."""

    headers: list[tuple[str, str]]
    parts: list[bytes]


class _Families(Collector):
    """Acts as a registry that contains exactly these families."""

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
    Return the metrics of a registry in the format and compression that two headers ask for.

    accept, accept_encoding: the values of the request's headers.
    query: the parsed query string; `name[]` restricts the samples to those names.

    Raises what a collector raises; nothing has been sent by then.
    """
    encode, content_type = choose_encoder(accept)
    headers = [("Content-Type", content_type)]
    selected: Any = registry
    if "name[]" in query:
        selected = registry.restricted_registry(query["name[]"])
    parts = list(_texts(selected, encode))
    if gzip_accepted(accept_encoding):
        headers.append(("Content-Encoding", "gzip"))
        parts = _compressed(parts)
    headers.append(("Content-Length", str(sum(map(len, parts)))))
    return Rendered(headers, parts)


def _texts(registry: Any, encode: Callable[[Collector], bytes]) -> Iterator[bytes]:
    end = encode(_Families())  # the `# EOF` of OpenMetrics, or nothing
    since = bool(end)
    for family in registry.collect():
        head, *texts = [
            encode(_Families(piece)).removesuffix(end) for piece in _pieces(family, since)
        ]
        yield b"".join((head, *(text.removeprefix(head) for text in texts)))
    if end:
        yield end


def _pieces(family: Metric, since: bool) -> Iterator[Metric]:
    """
    Yield the family in pieces; if there are several, the first one has no samples.

    since: whether it says since when it counts; see `Samples`.
    """
    if isinstance(family.samples, Samples):
        yield Metric(family.name, family.documentation, family.type)
        yield from family.samples.pieces(since)
    else:
        yield family


def _compressed(parts: Sequence[bytes]) -> list[bytes]:
    compressor = zlib.compressobj(COMPRESSION, wbits=GZIP)
    compressed = [compressor.compress(part) for part in parts]
    return [part for part in (*compressed, compressor.flush()) if part]

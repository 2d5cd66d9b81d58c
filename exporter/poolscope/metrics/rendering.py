"""
The metrics of a registry as text, in parts.

A text of megabytes that is joined and encoded in one piece holds the GIL for that long, and no
other thread of the service can run. prometheus_client's own functions write each part.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from prometheus_client import Metric
from prometheus_client.registry import Collector

from poolscope.metrics.negotiation import VARY, Format, accepts_gzip, choose_format
from poolscope.metrics.registries import has_created
from poolscope.metrics.samples import Samples, is_selection

COMPRESSION: Final = 1
"""
The compression level, 1 to 9. For metrics, level 9 compresses to 5 % of the size, and level 1 to
5.3 % in a tenth of the time.
"""

GZIP: Final = 31
"""The value of zlib's `wbits` that selects the gzip format."""


_LEGACY_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


class Wanted(NamedTuple):
    """
    What a client asks for: the same for two clients that may get the same bytes.

    names: of samples, only which are served; None: all.
    """

    format: Format
    gzip: bool
    names: frozenset[str] | None


def wanted(accept: str, accept_encoding: str, query: str) -> Wanted:
    """
    Return what a request asks for.

    accept, accept_encoding: the values of its headers; of several, joined by commas.
    query: its query string; each `name[]` in it names samples. What is no query string names none.
    """
    names = parse_qs(query, errors="replace").get("name[]")
    selected = None if names is None else frozenset(names)
    return Wanted(choose_format(accept), accepts_gzip(accept_encoding), selected)


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


def rendered(registry: Any, asked: Wanted) -> Rendered:
    """
    Return the metrics of a registry in the format and compression that a client asks for.

    Raises what a collector raises; nothing has been sent by then.
    """
    headers = [("Content-Type", asked.format.content_type), VARY]
    if asked.names is not None:
        registry = registry.restricted_registry(asked.names)
    parts = list(_texts(registry, asked.format))
    if asked.gzip:
        headers.append(("Content-Encoding", "gzip"))
        parts = _compressed(parts)
    headers.append(("Content-Length", str(sum(map(len, parts)))))
    return Rendered(headers, parts)


def _texts(registry: Any, as_format: Format) -> Iterator[bytes]:
    end = as_format.encoder(True)(_Families())  # the `# EOF` of OpenMetrics, or nothing
    since = bool(end) and has_created()
    for family in registry.collect():
        encode = as_format.encoder(_has_legacy_names(family))
        head, *texts = [
            encode(_Families(piece)).removesuffix(end) for piece in _pieces(family, since)
        ]
        samples = [text.removeprefix(head) for text in texts]
        if any(samples) or not is_selection(family):
            yield b"".join((head, *samples))
    if end:
        yield end


def _has_legacy_names(family: Metric) -> bool:
    if isinstance(family.samples, Samples):
        return True
    names = {family.name, *(sample.name for sample in family.samples)}
    labels = {label for sample in family.samples for label in sample.labels or ()}
    return all(map(_LEGACY_NAME.fullmatch, names)) and not any(
        ":" in label or not _LEGACY_NAME.fullmatch(label) for label in labels
    )


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

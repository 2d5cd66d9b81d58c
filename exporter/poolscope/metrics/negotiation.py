"""
Which format and which compression a client asks for, by its headers Accept and Accept-Encoding.

There are three formats: the text format 0.0.4, which everybody reads and which is the answer to
whatever is not understood; the text format 1.0.0, which differs where a name is no legacy name; and
OpenMetrics 1.0.0. No other version is served, so none is claimed. A range with a wildcard says
nothing of what the client can parse, so it means the text format 0.0.4 unless that is refused.

prometheus_client's `choose_encoder` ignores weights and quotes, raises for a version that is no
number, claims any version that is asked for, and renames every family for `escaping=values`.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_open_metrics

VARY: Final = ("Vary", "Accept, Accept-Encoding")
"""The header of every answer, so that a cache gives no client the format of another one."""

ALLOW_UTF_8: Final = "allow-utf-8"
UNDERSCORES: Final = "underscores"
ESCAPINGS: Final = (ALLOW_UTF_8, UNDERSCORES, "values")
"""The ways of writing other names that leave legacy names as they are."""

_WEIGHT: Final = re.compile(r"0?\.[0-9]+|[01](\.0*)?|0\.[0-9]*", re.ASCII)
"""A weight from 0 to 1; some clients send more than three digits, or none before the point."""

_QUOTED: Final = r'"(?:[^"\\]|\\.)*+"?'
_BETWEEN_COMMAS: Final = re.compile(rf'(?:[^,"]|{_QUOTED})++', re.DOTALL)
_BETWEEN_SEMICOLONS: Final = re.compile(rf'(?:[^;"]|{_QUOTED})++', re.DOTALL)
"""Elements and parameters: a separator within quotes separates nothing. They take linear time."""


class Format(NamedTuple):
    """
    A format of metrics.

    escaping: how names are written that are no legacy names; None if the client did not say.
    """

    media_type: str
    version: str
    escaping: str | None = None

    @property
    def content_type(self) -> str:
        """The value of the header Content-Type."""
        text = f"{self.media_type}; version={self.version}; charset=utf-8"
        return text if self.escaping is None else f"{text}; escaping={self.escaping}"

    def encoder(self, has_legacy_names: bool) -> Callable[[Any], bytes]:
        """
        Return the function that writes a registry in this format.

        has_legacy_names: whether all names in the registry are legacy names, which no escaping
            changes. prometheus_client would change the colons in them.
        """
        function: Any = generate_latest if self.media_type == TEXT else generate_open_metrics
        # The first versions of prometheus_client know no names but legacy ones, and no escaping.
        if "escaping" not in inspect.signature(function).parameters:
            return function  # type: ignore[no-any-return]  # as declared
        escaping = ALLOW_UTF_8 if has_legacy_names else self.escaping or UNDERSCORES
        return functools.partial(function, escaping=escaping)


TEXT: Final = "text/plain"
OPEN_METRICS: Final = "application/openmetrics-text"
PLAIN: Final = Format(TEXT, "0.0.4")

_SERVED: Final = {
    TEXT: {"": PLAIN, "0.0.4": PLAIN, "1.0.0": Format(TEXT, "1.0.0")},
    OPEN_METRICS: {
        "": Format(OPEN_METRICS, "1.0.0"),
        "1.0.0": Format(OPEN_METRICS, "1.0.0"),
    },
}
"""The formats by media type, and by the version that is asked for; an empty one if none is."""


class _Element(NamedTuple):
    """
    An element of a list in a header, such as `text/*;q=0.5`, in lower case.

    value: what it begins with.
    """

    value: str
    parameters: Mapping[str, str]
    weight: float


def choose_format(accept: str) -> Format:
    """
    Return the format that an Accept header prefers; of several headers, joined by commas.

    Of formats with the same weight, the client gets the one that it names first.
    """
    named: dict[Format, _Place] = {}
    ranges: dict[str, _Place] = {}
    for number, (value, parameters, weight) in enumerate(_elements(accept)):
        version = parameters.get("version", "")
        place = _Place(weight, -number, bool(version))
        found = _SERVED.get(value, {}).get(version)
        if found is None:
            ranges.setdefault(value, place)
            continue
        found = _escaped(found, parameters)
        # `text/plain;version=0.0.4` says more than `text/plain`.
        if found not in named or place.is_exact > named[found].is_exact:
            named[found] = place
    if PLAIN not in named:
        named[PLAIN] = _of_ranges(ranges, "text/*")
    elif not named[PLAIN].weight:  # refused, so that a wildcard must mean something else
        named.setdefault(_SERVED[OPEN_METRICS][""], _of_ranges(ranges, "application/*"))
    best = max(named, key=named.__getitem__)
    return best if named[best].weight else PLAIN


class _Place(NamedTuple):
    """
    How much a client wants a format; the greater, the more.

    order: minus the place in the header. is_exact: whether the version is given.
    """

    weight: float
    order: int = -sys.maxsize
    is_exact: bool = False


def _of_ranges(ranges: Mapping[str, _Place], name: str) -> _Place:
    """Return what the range says, such as `text/*`, or else the one of everything."""
    return ranges.get(name) or ranges.get("*/*") or ranges.get("*") or _Place(0.0)


def _escaped(found: Format, parameters: Mapping[str, str]) -> Format:
    """
    Return the format with the escaping that the client asks for, as far as it is served.

    `dots` would rename every family of ours, because all have underscores. A client that asks for
    it gets `underscores`, and is told so.
    """
    asked = parameters.get("escaping")
    if found == PLAIN or asked is None:
        return found
    return found._replace(escaping=asked if asked in ESCAPINGS else UNDERSCORES)


def accepts_gzip(accept_encoding: str) -> bool:
    """
    Return whether an Accept-Encoding header accepts gzip, and prefers nothing that is not packed.

    A client that does not name gzip, nor a wildcard, gets the text as it is.
    """
    weights: dict[str, float] = {}
    for value, _, weight in _elements(accept_encoding):
        weights.setdefault("gzip" if value == "x-gzip" else value, weight)
    packed = weights.get("gzip", weights.get("*", 0.0))
    return packed > 0.0 and packed >= weights.get("identity", 0.0)


def _elements(header: str) -> Iterator[_Element]:
    """Yield the elements of a header; what is none, or has a weight that is none, is left out."""
    for text in _BETWEEN_COMMAS.findall(header.lower()):
        value, *rest = (part.strip() for part in _BETWEEN_SEMICOLONS.findall(text) or [""])
        parameters: dict[str, str] = {}
        for parameter in rest:
            name, equals, content = parameter.partition("=")
            if equals:
                parameters.setdefault(name.strip(), _unquoted(content.strip()))
        weight = parameters.get("q", "1")
        if value and _WEIGHT.fullmatch(weight):
            yield _Element(value, parameters, float(weight))


def _unquoted(text: str) -> str:
    if len(text) < 2 or not text[0] == text[-1] == '"':
        return text
    return re.sub(r"\\(.)", r"\1", text[1:-1])

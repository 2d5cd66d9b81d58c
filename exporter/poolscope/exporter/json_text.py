"""A JSON document as text, which many clients get."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from poolscope.exporter.answers import answer
from poolscope.metrics.negotiation import accepts_gzip

GZIP_LEVEL: Final = 3


@dataclass(frozen=True, slots=True)
class JsonText:
    """A JSON document as text, as it is and compressed; the tag is the same for the same text."""

    text: bytes
    compressed: bytes
    tag: str

    def answer(self, request: web.BaseRequest) -> web.Response:
        """Return the answer to a request: compressed if it may be, empty if the client has it."""
        headers = {"ETag": self.tag, "Vary": "Accept-Encoding", "Cache-Control": "no-cache"}
        if self.tag in re.findall(r'"[^"]*"', request.headers.get("If-None-Match", "")):
            return web.Response(status=304, headers=headers)
        body = self.text
        if accepts_gzip(request.headers.get("Accept-Encoding", "")):
            body, headers["Content-Encoding"] = self.compressed, "gzip"
        headers["Content-Type"] = "application/json; charset=utf-8"
        return answer([body], headers)


def json_text(document: dict[str, Any]) -> JsonText:
    """
    Return the text of a document whose `pools` are many.

    The encoder lets no other thread run before it has finished, so it gets one pool at a time.
    """
    text = "".join(_pieces(document)).encode()
    tag = f'"{hashlib.sha256(text).hexdigest()[:32]}"'
    return JsonText(text, gzip.compress(text, GZIP_LEVEL, mtime=0), tag)


def _pieces(document: dict[str, Any]) -> Iterator[str]:
    rest = {name: value for name, value in document.items() if name != "pools"}
    yield json.dumps(rest)[:-1]
    yield ', "pools": [' if rest else '"pools": ['
    for number, pool in enumerate(document["pools"]):
        yield ", " if number else ""
        yield json.dumps(pool)
    yield "]}"

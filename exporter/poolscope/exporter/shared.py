"""An answer that takes long is made once for all who wait for it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from aiohttp import web

R = TypeVar("R")

GZIP_LEVEL: Final = 3


class Shared(Generic[R]):
    """Makes something, and gives it to all who ask before it is finished."""

    def __init__(self, make: Callable[[], Awaitable[R]]) -> None:
        self._make = make
        self._making: asyncio.Future[R] | None = None

    async def get(self) -> R:
        """Return what is made; raises what making it raises."""
        if self._making is None or self._making.done():
            self._making = asyncio.ensure_future(self._make())
        # Shielded: a client that disconnects must not cancel what others wait for.
        return await asyncio.shield(self._making)


@dataclass(frozen=True, slots=True)
class Rendered:
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
        if _accepts_gzip(request.headers.get("Accept-Encoding", "")):
            body, headers["Content-Encoding"] = self.compressed, "gzip"
        return web.Response(
            body=body, content_type="application/json", charset="utf-8", headers=headers
        )


def render(document: dict[str, Any]) -> Rendered:
    """
    Render a document whose `pools` are many.

    The encoder lets no other thread run before it has finished, so it gets one pool at a time.
    """
    text = "".join(_pieces(document)).encode()
    tag = f'"{hashlib.sha256(text).hexdigest()[:32]}"'
    return Rendered(text, gzip.compress(text, GZIP_LEVEL, mtime=0), tag)


def _pieces(document: dict[str, Any]) -> Iterator[str]:
    rest = {name: value for name, value in document.items() if name != "pools"}
    yield json.dumps(rest)[:-1]
    yield ', "pools": [' if rest else '"pools": ['
    for number, pool in enumerate(document["pools"]):
        yield ", " if number else ""
        yield json.dumps(pool)
    yield "]}"


def _accepts_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        name, _, parameter = part.partition(";")
        if name.strip() in ("gzip", "*"):
            quality = parameter.partition("=")[2].strip()
            return not quality or quality.strip("0.") != ""
    return False

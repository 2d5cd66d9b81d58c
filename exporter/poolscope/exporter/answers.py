"""Answers that may have megabytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Final

from aiohttp import web

PIECE_BYTES: Final = 32768
"""
The most that is given to a connection at once; more follows when the client has read.

What is given is copied for each client. The parts themselves are shared by all who got them.
"""


def answer(
    parts: Sequence[bytes], headers: Mapping[str, str] | Iterable[tuple[str, str]]
) -> web.Response:
    """Return an answer whose body has these parts."""
    size = sum(map(len, parts))
    if size <= PIECE_BYTES:
        return web.Response(body=b"".join(parts), headers=dict(headers))
    return LargeAnswer(parts, size, headers)


class LargeAnswer(web.Response):
    """
    An answer that is sent in pieces.

    text_number: those who share its text have the same one, and no others. text_bytes: its size.
    """

    def __init__(
        self,
        parts: Sequence[bytes],
        size: int,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
    ) -> None:
        super().__init__(body=_sent(parts), headers={**dict(headers), "Content-Length": f"{size}"})
        self.text_number: Final = id(next(filter(None, parts)))
        self.text_bytes: Final = size


async def _sent(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Give aiohttp the next piece after it has waited for the client to read."""
    for piece in _pieces(parts):
        yield piece


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield pieces of the largest size, but for the last one."""
    piece = bytearray()
    for part in parts:
        for start in range(0, len(part), PIECE_BYTES):
            piece += part[start : start + PIECE_BYTES]
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece[:PIECE_BYTES])
                del piece[:PIECE_BYTES]
    yield bytes(piece)

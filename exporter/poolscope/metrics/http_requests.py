"""The request line and the headers of a request, as Python's own HTTP server reads them."""

from __future__ import annotations

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from poolscope.metrics.responses import Request, Response, text_response

ENDS: Final = b"\r\n\r\n", b"\n\n", b"\n\r\n"
"""What ends the headers of a request; some clients send no carriage returns."""


class Asked(NamedTuple):
    """A request, and the path that it is for."""

    path: str
    request: Request


def parse(head: bytes) -> Asked | Response:
    """Return the request that begins with these bytes, up to their end, or why it is none."""
    try:
        parser = _Parser(head.lstrip(b"\r\n"))
        if parser.is_right:
            return _asked(parser)
        status = parser.status
    except Exception:  # whatever a client sends, it is the client's fault
        status = HTTPStatus.BAD_REQUEST
    return text_response(status, status.phrase, "this is no request for metrics", "GET")


def _asked(parser: _Parser) -> Asked:
    headers: Any = parser.headers
    accept, accept_encoding = (
        ",".join(map(str, headers.get_all(name, ()))) for name in ("Accept", "Accept-Encoding")
    )
    target = urlsplit(parser.path)
    return Asked(
        unquote(target.path), Request(parser.command, accept, accept_encoding, target.query)
    )


class _Parser(BaseHTTPRequestHandler):
    """Reads bytes instead of a connection, and writes nothing."""

    protocol_version = "HTTP/1.1"

    def __init__(self, head: bytes) -> None:
        self.rfile = BytesIO(head)
        self.raw_requestline = self.rfile.readline()
        self.status = HTTPStatus.BAD_REQUEST
        self.is_right = self.parse_request()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.status = HTTPStatus(code)

    def handle_expect_100(self) -> bool:
        return True  # no body is wanted, so the answer is a final one

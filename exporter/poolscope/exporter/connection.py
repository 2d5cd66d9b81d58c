"""One connection of a client: aiohttp's, with our limits, headers and log lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import StreamReader, web

from poolscope.exporter.answers import LargeAnswer
from poolscope.exporter.guard import IDLE_SECONDS, REQUEST_SECONDS, Place, Stage
from poolscope.exporter.logs import Brief

MAX_LINE_BYTES: Final = 16384
"""The longest request line; the live page keeps its filter there."""

MAX_HEADER_BYTES: Final = 8190
"""The longest header of a request."""

MAX_HEAD_BYTES: Final = 65536
"""Of a request line and all headers; a client whose headers have not ended by then is cut off."""

BODY_SECONDS: Final = 5.0
"""How long the rest of the body of a request is read, after its answer; no path needs one."""

END_OF_HEADERS: Final = b"\r\n\r\n"

Headers = Callable[[], Mapping[str, str]]


class Connection(web.RequestHandler):
    """
    Serves the requests of one connection.

    place: its place among the connections.
    headers: returns the headers that every answer gets, those to malformed requests included.
    any_host: whether a client may name any host in its requests.
    """

    def __init__(
        self,
        server: web.Server,
        place: Place,
        headers: Headers,
        any_host: bool,
        brief: Brief,
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # as aiohttp's own documentation has it
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=BODY_SECONDS,
            auto_decompress=False,  # no path needs a body
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )
        self.place = place
        self.any_host = any_host
        self._headers = headers
        self._brief = brief
        self._last_bytes = b""
        self._head_bytes = 0
        self._body: StreamReader | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        self.place.transport = stream
        self.place.close = stream.abort
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.place.received()
        if self.place.stage is Stage.REQUESTING and self._head_bytes > MAX_HEAD_BYTES:
            self._brief.info("headers of %s are too long", self.place.network)
            self.place.close()
            return
        seen = self._last_bytes + data
        is_of_body = self._body is not None and not self._body.is_eof()
        is_of_head = not is_of_body and END_OF_HEADERS not in seen
        self._head_bytes = self._head_bytes + len(data) if is_of_head else 0
        self._last_bytes = seen[-len(END_OF_HEADERS) :]
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.place.leave()
        super().connection_lost(exc)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Any:
        """Send an answer: every one goes through here, also those to malformed requests."""
        if isinstance(resp, web.HTTPException):
            resp = error_response(resp.status)  # its text may repeat what the client sent
        for name, value in self._headers().items():
            resp.headers.setdefault(name, value)
        self.place.idle_seconds = IDLE_SECONDS if resp.status < 400 else REQUEST_SECONDS
        self.place.written = lambda: request.writer.output_size
        self.place.enter(Stage.SENDING)
        if isinstance(resp, LargeAnswer):
            self.place.begin_text(resp.text_number, resp.text_bytes)
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            # Of the next request, a part may have come together with this one.
            ended = self._last_bytes == END_OF_HEADERS
            self._head_bytes = 0
            self._body = request.content
            self.place.enter(Stage.IDLE if ended else Stage.REQUESTING)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a malformed request, or to one whose handler has failed."""
        if status < 500:
            kind = type(exc).__name__ if exc else "unknown"
            self._brief.info("refused a malformed request of %s: %s", self.place.network, kind)
        else:
            self._brief.error("cannot answer a request of %s", self.place.network, cause=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of another answer was sent already")
        response = error_response(status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """Log what aiohttp would log with a traceback, which may have headers in it."""
        error = kwargs.get("exc_info")
        cause = error if isinstance(error, BaseException) else None
        self._brief.error("cannot serve a connection of %s", self.place.network, cause=cause)

    def log_debug(self, *args: Any, **kwargs: Any) -> None:
        """Log nothing: a client that leaves early is no error."""


def error_response(status: int) -> web.Response:
    """Return an answer of one line, which repeats nothing of the request."""
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Error"
    return web.Response(status=status, text=f"{status}: {reason}\n")

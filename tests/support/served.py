"""Applications behind a real server on a free port of loopback, in this process."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, make_server

import uvicorn
from aiohttp import web

from support.waiting import PATIENCE, until


class Answer(NamedTuple):
    """A response, whose redirect nobody has followed."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(port: int, method: str, path: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers={"Connection": "close"})
        with connection.getresponse() as response:
            return Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
    finally:
        connection.close()


@contextmanager
def asgi(app: Any) -> Iterator[int]:
    """Serve an ASGI app by uvicorn; yield the port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), "uvicorn has started")
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Write nothing on stderr."""


@contextmanager
def wsgi(app: Any) -> Iterator[int]:
    """Serve a WSGI app by the server of the standard library; yield the port."""
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join(PATIENCE)


@contextmanager
def aiohttp_web(app: Any) -> Iterator[int]:
    """Serve an application of aiohttp.web; yield the port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = web.AppRunner(app)

    def do(coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(PATIENCE)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()

    try:
        do(start())
        yield runner.addresses[0][1]
        do(runner.cleanup())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


SERVERS: Final[dict[str, Callable[[Any], AbstractContextManager[int]]]] = {
    "asgi": asgi,
    "wsgi": wsgi,
    "aiohttp": aiohttp_web,
}

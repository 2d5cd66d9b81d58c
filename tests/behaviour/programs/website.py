"""
A web server that programs send requests to, in a thread of its own.

    /json      a small answer, the number of requests that this path had
    /stream    a body in parts
    /large     a body that does not fit into the buffers of a client
    /echo      the body of the request; as a websocket, each message
    /login     sets a cookie; `/account` is 401 without it
    /busy      503 to every other request
    /missing   404, with a body
    /never     no answer at all
    /old       redirects to /json
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Iterator

from aiohttp import web

PARTS = 20


class Website:
    """The handlers, and what they count."""

    def __init__(self) -> None:
        self._asked = itertools.count(1)
        self._busy = itertools.count()

    async def json(self, request: web.Request) -> web.Response:
        return web.json_response({"asked": next(self._asked)})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(PARTS):
            await response.write(bytes(1024))
        await response.write_eof()
        return response

    async def large(self, request: web.Request) -> web.Response:
        return web.Response(body=bytes(2**21))

    async def echo(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade") != "websocket":
            return web.Response(body=await request.read())
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async def login(self, request: web.Request) -> web.Response:
        response = web.Response(text="welcome")
        response.set_cookie("session", "open")
        return response

    async def account(self, request: web.Request) -> web.Response:
        if "session" not in request.cookies:
            raise web.HTTPUnauthorized
        return web.Response(text="your account")

    async def busy(self, request: web.Request) -> web.Response:
        if next(self._busy) % 2 == 0:
            raise web.HTTPServiceUnavailable
        return web.Response(text="done")

    async def missing(self, request: web.Request) -> web.Response:
        raise web.HTTPNotFound(text="nothing here " * 100)

    async def never(self, request: web.Request) -> web.Response:
        await request.read()
        await asyncio.Event().wait()
        raise AssertionError

    async def old(self, request: web.Request) -> web.Response:
        raise web.HTTPFound("/json")

    def application(self) -> web.Application:
        app = web.Application()
        for name in (
            "json", "stream", "large", "echo", "login", "account", "busy", "missing", "never",
            "old",
        ):  # fmt: skip
            app.router.add_route("*", f"/{name}", getattr(self, name))
        return app


@contextlib.contextmanager
def website() -> Iterator[str]:
    """Run the web server on a free port of loopback, and return its address."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(Website().application(), access_log=None, shutdown_timeout=0.01)

    async def start() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    thread = threading.Thread(target=loop.run_forever, name="website")
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

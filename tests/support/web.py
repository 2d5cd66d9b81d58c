"""A web server whose responses a test ends, and short forms of a snapshot."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from typing import Any

import aiohttp
from aiohttp import web

from poolscope import Watch
from poolscope.readings.hosts import HostReading


class Server:
    """
    A web server on a free port of the loopback interface. Paths are `/WHAT/WORD`.

    `stream` sends headers, and ends when the test calls `tell(WORD)`; `later` sends nothing
    before that; `much` sends more than a client buffers that does not read.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.told: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.reached: set[str] = set()
        self.server = web.Server(self.serve, access_log=None)
        self.runner = web.ServerRunner(self.server, shutdown_timeout=0.01)

    async def start(self) -> None:
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self.tls).start()
        self.port = self.runner.addresses[0][1]
        self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        _, what, word = request.path.split("/")
        if what == "socket":
            upgraded = web.WebSocketResponse()
            await upgraded.prepare(request)
            async for _ in upgraded:
                pass
            return upgraded
        if what == "now":
            return web.Response(text=word)
        response = web.StreamResponse()
        if what in ("stream", "much"):
            await response.prepare(request)
            await response.write(b"begun " if what == "stream" else bytes(2**20))
        self.reached.add(word)
        await self.told[word].wait()
        if what in ("stream", "much") and request.transport is not None:
            await response.write_eof(b"ended")
        return response

    def tell(self, word: str) -> None:
        self.told[word].set()

    def connections(self) -> int:
        # A lost connection stays in the list until the handler of its request has ended.
        return sum(protocol.transport is not None for protocol in self.server.connections)

    def hang_up(self) -> None:
        for protocol in self.server.connections:
            protocol.force_close()

    async def stop(self) -> None:
        for word in self.reached:
            self.tell(word)
        await self.runner.cleanup()


def state(watch: Watch) -> tuple[int, int, int, int]:
    """Return in use, idle, opening and waiting."""
    now = watch.snapshot()
    return now.in_use, now.idle, now.opening, now.waiting


def opened(watch: Watch) -> tuple[int, int, int]:
    """Return how many connections were opened, failed to open, and were closed."""
    now = watch.snapshot()
    return now.opened, now.open_failed, now.closed


def ends(watch: Watch) -> tuple[int, int, int, int]:
    """Return how many attempts succeeded, timed out, were cancelled, and failed."""
    now = watch.snapshot()
    return now.acquired, now.timed_out, now.cancelled, now.failed


def hosts(watch: Watch) -> list[HostReading]:
    """Return the connections by host, of the pool objects that are alive."""
    return [reading for ledger in watch._pool.ledgers for reading in ledger.hosts()]


def kept(session: aiohttp.ClientSession) -> int:
    """Return how many open connections the connector keeps; aiohttp 3.9 keeps closed ones too."""
    connector: Any = session.connector
    kept = [protocol for queue in connector._conns.values() for protocol, _ in queue]
    return sum(protocol.is_connected() for protocol in kept)

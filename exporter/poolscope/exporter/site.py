"""A listening socket whose connections have limits."""

from __future__ import annotations

import asyncio
import errno
import socket
from functools import partial
from ipaddress import ip_address
from ssl import SSLContext, SSLError
from typing import Any, Final

from aiohttp import web

from poolscope.exporter.connection import Connection, Headers
from poolscope.exporter.guard import REQUEST_SECONDS, Guard, Place
from poolscope.exporter.logs import Brief
from poolscope.exporter.networks import network_of
from poolscope.metrics.unsent import limit_unsent

ACCEPTED_AT_ONCE: Final = 128
"""Connections that are accepted before others are served."""

TLS_CLOSE_SECONDS: Final = 1.0
"""How long to wait for a client that is to confirm the end of a TLS connection."""

PAUSE_SECONDS: Final = 0.05
"""
How long nothing is accepted when the process has no descriptor left.

Meanwhile the connections that made room are closed.
"""

EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Site:
    """
    Accepts the connections of one socket, and serves them with one TLS context or without TLS.

    aiohttp's own sites know a client only after its TLS handshake, and cannot refuse one.
    """

    def __init__(
        self,
        runner: web.BaseRunner,
        own: socket.socket,
        context: SSLContext | None,
        guard: Guard,
        headers: Headers,
        brief: Brief,
    ) -> None:
        self._runner = runner
        self._socket = own
        self._context = context
        self._guard = guard
        self._headers = headers
        self._brief = brief
        self._any_host = not _is_loopback(own.getsockname())
        self._resumption: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to accept connections."""
        self._socket.setblocking(False)
        limit_unsent(self._socket)
        self._resume()

    async def stop(self) -> None:
        """Accept no more; open connections stay."""
        if self._resumption is not None:
            self._resumption.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _resume(self) -> None:
        self._resumption = None
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                client, peer = self._socket.accept()
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._pause(error)
                return  # nobody is waiting any more, or the client has left already
            self._admit(client, network_of(peer))

    def _pause(self, error: OSError) -> None:
        self._brief.error("cannot accept connections", cause=error)
        self._guard.shrink()
        self._loop.remove_reader(self._socket)
        self._resumption = self._loop.call_later(PAUSE_SECONDS, self._resume)

    def _admit(self, client: socket.socket, network: str) -> None:
        place = self._guard.admit(network)
        client.setblocking(False)
        task = self._loop.create_task(self._serve(client, place))
        place.close = task.cancel
        self._tasks.add(task)
        task.add_done_callback(partial(self._served, client, place))

    def _served(self, client: socket.socket, place: Place, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if place.transport is None:
            # It never was aiohttp's. The task may not even have begun before it was cancelled, and
            # its exception keeps the socket for as long as it lives.
            place.leave()
            client.close()

    async def _serve(self, client: socket.socket, place: Place) -> None:
        """Hand a connection to aiohttp, after its TLS handshake."""
        tls: dict[str, Any] = {}
        if self._context is not None:
            tls = {
                "ssl": self._context,
                "ssl_handshake_timeout": REQUEST_SECONDS,
                "ssl_shutdown_timeout": TLS_CLOSE_SECONDS,
            }
        try:
            await self._loop.connect_accepted_socket(lambda: self._connect(place), client, **tls)
        except OSError as error:
            if isinstance(error, SSLError):
                self._brief.info("a TLS handshake of %s failed", place.network, cause=error)

    def _connect(self, place: Place) -> asyncio.Protocol:
        server = self._runner.server
        if server is None:  # the exporter ends
            place.leave()
            return asyncio.Protocol()
        return Connection(server, place, self._headers, self._any_host, self._brief)


def _is_loopback(name: object) -> bool:
    """Return whether a socket of this name is reached only from this host, by an IP address."""
    if not isinstance(name, tuple):
        return False
    address = ip_address(str(name[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback

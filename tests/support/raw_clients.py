"""Clients that write bytes of their own to a server, or nothing at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from support.waiting import PATIENCE


@dataclass
class Answer:
    """What a server sent before it closed the connection."""

    status: int
    headers: dict[str, str]
    text: str


class RawClients:
    """Opens connections to a port of the loopback interface; they are closed with the test."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(
        self, data: bytes = b"", source: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection from an address of this host, and send these bytes."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(source, 0), limit=2**26
        )
        self._writers.append(writer)
        writer.write(data)
        return reader, writer

    async def ask(self, data: bytes, source: str = "127.0.0.1") -> Answer:
        """Send these bytes, and return the first answer; the client ends its side then."""
        reader, writer = await self.connect(data, source)
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().split("\r\n")[:-2]
            headers = dict(line.split(": ", 1) for line in lines)
            body = await reader.readexactly(int(headers.get("Content-Length", 0)))
        writer.close()
        return Answer(int(first.split()[1]), headers, body.decode())

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Wait until the server closes a connection, and say that it did."""
    async with asyncio.timeout(PATIENCE):
        try:
            while await reader.read(2**16):
                pass
        except ConnectionError:
            pass
    return True


def never_reading(port: int, source: str = "127.0.0.1") -> socket.socket:
    """Return a connection whose answers find no room."""
    client = socket.socket()
    client.bind((source, 0))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    client.connect(("127.0.0.1", port))
    return client


@pytest.fixture
async def raw() -> AsyncIterator[object]:
    """Returns a function that makes clients of a port."""
    made: list[RawClients] = []

    def make(port: int) -> RawClients:
        made.append(RawClients(port))
        return made[-1]

    yield make
    for clients in made:
        await clients.close()

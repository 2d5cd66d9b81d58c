"""Answers of megabytes: whole for who reads them, and of bounded memory for who does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from poolscope.exporter import application, kept_texts
from poolscope.exporter.addresses import TcpAddress, listen
from poolscope.exporter.answers import PIECE_BYTES, answer
from poolscope.exporter.application import Exporter
from poolscope.exporter.guard import Guard, Stage
from poolscope.exporter.json_text import JsonText
from poolscope.exporter.listener import Listener
from poolscope.exporter.probes import Probes
from poolscope.fleet.fleet import Fleet
from poolscope.metrics.rendering import Rendered
from support.raw_clients import never_reading
from support.waiting import eventually

PARTS = [bytes([number]) * 2**20 for number in range(16)]


SIZE = sum(map(len, PARTS))


class Running:
    """An exporter whose answers are `PARTS`."""

    def __init__(self, port: int, guard: Guard) -> None:
        self.port, self.guard = port, guard

    def unread(self) -> list[int]:
        """Return for each client whose answer is being sent what it has not read, in bytes."""
        return [
            place.transport.get_write_buffer_size()
            for place in self.guard
            if place.transport is not None and place.stage is Stage.SENDING
        ]


@pytest.fixture
async def running(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    whole = b"".join(PARTS)
    monkeypatch.setattr(application, "rendered_scrape", lambda *_: Rendered([], PARTS))
    monkeypatch.setattr(application, "json_text", lambda _: JsonText(whole, whole, '"tag"'))
    fleet = Fleet(folder)
    app = Exporter(fleet, Probes(()), Probes(()), per_process=False).make_application()
    endpoints = listen([TcpAddress("127.0.0.1", 0)])
    listener = Listener(endpoints)
    listener.install(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await listener.start(runner)
    yield Running(endpoints[0].socket.getsockname()[1], listener._guard)
    await listener.close()
    await runner.cleanup()
    fleet.close()


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/pools"])
class TestLargeAnswers:
    async def test_take_little_memory_of_each_client_that_does_not_read(
        self, running: Running, path: str
    ) -> None:
        clients = [never_reading(running.port) for _ in range(5)]
        for client in clients:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await eventually(5, lambda: len([each for each in running.unread() if each]))
        assert max(running.unread()) <= 4 * PIECE_BYTES
        for client in clients:
            client.close()

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_are_whole_for_who_reads(self, running: Running, path: str, method: str) -> None:
        url = f"http://127.0.0.1:{running.port}{path}"
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            for _ in range(2):  # the connection can be used again
                async with session.request(method, url) as response:
                    body = await response.read()
                assert str(16 * 2**20) == response.headers["Content-Length"]
                assert body == (b"" if method == "HEAD" else b"".join(PARTS))
        await eventually(0, lambda: len(running.unread()))


async def test_clients_that_do_not_read_keep_no_more_texts_than_there_is_room_for(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each text is new, as where many ask one after the other. The oldest ones have to go."""

    copies: list[Rendered] = []

    def copy(*_: object) -> Rendered:
        copies.append(Rendered([], [bytes(bytearray(part)) for part in PARTS]))
        return copies[-1]

    monkeypatch.setattr(kept_texts, "MOST_BYTES", 3 * SIZE)
    monkeypatch.setattr(application, "rendered_scrape", copy)
    clients = []
    for number in range(1, 9):
        clients.append(never_reading(running.port))
        clients[-1].sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await eventually(number, lambda: len(copies))
        await eventually(min(number, 4), lambda: len(running.unread()))
    assert 4 * SIZE == running.guard.texts.bytes
    assert 4 == len(running.unread())
    url = f"http://127.0.0.1:{running.port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert SIZE == len(await response.read())
    assert 3 * SIZE == running.guard.texts.bytes
    for client in clients:
        client.close()
    await eventually(0, lambda: running.guard.texts.bytes)


async def test_clients_that_share_a_text_may_be_many(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_texts, "MOST_BYTES", SIZE - 1)
    clients = [never_reading(running.port) for _ in range(20)]
    for client in clients:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await eventually(20, lambda: len(running.unread()))
    assert SIZE == running.guard.texts.bytes
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    "parts",
    [
        [], [b""], [b"a"], [b"a" * PIECE_BYTES], [b"a" * PIECE_BYTES, b"b"], [b"ab"] * PIECE_BYTES,
        [b"a", b"b" * (3 * PIECE_BYTES + 1), b"", b"c"],
    ],
)  # fmt: skip
async def test_an_answer_has_all_parts_in_pieces(parts: list[bytes]) -> None:
    body: Any = answer(parts, {}).body
    pieces = [body] if isinstance(body, bytes) else [piece async for piece in body._iter]
    assert b"".join(parts) == b"".join(pieces)
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)

"""aiohttp: TLS, proxies, tunnels through proxies, and sessions that share or lose a connector."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from poolscope import Watch
from poolscope.readings.hosts import HostReading
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.certificates import needs_openssl
from support.histograms import count_of
from support.ports import closed_port
from support.waiting import eventually
from support.web import Server, ends, hosts, kept, opened, state


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(folder / "key"), "-out", str(folder / "certificate")),
        ),
        check=True,
        capture_output=True,
    )
    both = folder / "both"
    both.write_bytes((folder / "key").read_bytes() + (folder / "certificate").read_bytes())
    return both


@pytest.fixture
async def safe_server(certificate: Path) -> AsyncIterator[Server]:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    server = Server(tls)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


class Proxy:
    """
    A proxy: passes a CONNECT on to the host that it names, anything else to `behind`.

    gate: set when the proxy may begin; refuses: whether it answers a CONNECT with 403.
    """

    def __init__(self, behind: Server) -> None:
        self.behind = behind
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuses = False
        self.clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self.listening = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.listening.sockets[0].getsockname()[1]}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.clients.add(task)
        head = await reader.readuntil(b"\r\n\r\n")
        await self.gate.wait()
        with suppress(ConnectionError):
            if head.startswith(b"CONNECT") and self.refuses:
                writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
            else:
                await self.pass_on(head, reader, writer)
        writer.close()
        self.clients.discard(task)

    async def pass_on(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.behind.port)
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            method, url, rest = head.split(b" ", 2)
            back.write(b" ".join((method, b"/" + url.split(b"/", 3)[3], rest)))
        copies = (copy(reader, back), copy(there, writer))
        await asyncio.gather(*copies)

    async def stop(self) -> None:
        self.listening.close()
        # Handlers that pass bytes on end with their clients; the others wait at the gate.
        self.gate.set()
        await asyncio.gather(*self.clients, return_exceptions=True)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


def open_seconds(watch: Watch) -> tuple[float, float]:
    """Return how many connections were attempted, and how long that took."""
    histogram = watch._pool._groups.read(watch._pool).open_seconds
    return count_of(histogram), histogram[-1]


@needs_openssl
class TestTls:
    async def test_a_connection_is_reused(
        self, safe_server: Server, sessions: Any, watches: Watches, trusting: ssl.SSLContext
    ) -> None:
        session = sessions(ssl=trusting)
        watch = watches.watch(session, registry=None)
        for turn in range(3):
            async with session.get(f"{safe_server.url}/now/x") as response:
                assert "x" == await response.text()
            assert (0, 1, 0, 0) == state(watch)
            assert turn == watch.snapshot().reused
        assert 1 == safe_server.connections()
        assert [HostReading(f"127.0.0.1:{safe_server.port}", 0, 1, 0, 0, opened=1)] == hosts(watch)
        safe_server.hang_up()
        await eventually((0, 0, 0, 0), lambda: state(watch))

    async def test_opening_takes_as_long_as_the_handshake(
        self, sessions: Any, watches: Watches, clock: FakeClock
    ) -> None:
        reached = asyncio.Event()

        class Mute(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                reached.set()

        loop = asyncio.get_running_loop()
        mute = await loop.create_server(Mute, "127.0.0.1", 0)
        session = sessions()
        watch = watches.watch(session, registry=None)
        port = mute.sockets[0].getsockname()[1]
        asking = asyncio.create_task(session.get(f"https://127.0.0.1:{port}/"))
        await reached.wait()
        assert (0, 0, 1, 0) == state(watch)
        clock.advance(3.0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (1, 3.0) == open_seconds(watch)
        assert (0, 1, 0) == opened(watch)
        assert (0, 0, 1, 0) == ends(watch)
        mute.close()

    async def test_an_untrusted_certificate_is_an_error(
        self, safe_server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"{safe_server.url}/now/x")
        assert (0, 0, 0, 0) == state(watch)
        assert (0, 1, 0) == opened(watch)
        assert (0, 0, 0, 1) == ends(watch)
        await eventually(0, safe_server.connections)


class TestProxies:
    @pytest.fixture
    async def proxy(self, server: Server) -> AsyncIterator[Proxy]:
        proxy = Proxy(server)
        await proxy.start()
        yield proxy
        await proxy.stop()

    async def test_connections_through_a_proxy_count_for_the_host_behind_it(
        self, server: Server, proxy: Proxy, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        for turn in range(2):
            async with session.get(f"http://far.example/now/{turn}", proxy=proxy.url) as response:
                assert str(turn) == await response.text()
            assert (0, kept(session), 0, 0) == state(watch)
        now = watch.snapshot()
        assert (2, kept(session)) == (now.opened + now.reused, now.opened - now.closed)
        assert [HostReading("far.example:80", 0, kept(session), 0, 0, opened=now.opened)] == hosts(
            watch
        )

    @pytest.fixture
    async def tunnel(self, safe_server: Server) -> AsyncIterator[Proxy]:
        proxy = Proxy(safe_server)
        await proxy.start()
        yield proxy
        await proxy.stop()

    @needs_openssl
    async def test_a_tunnel_is_one_connection(
        self,
        safe_server: Server,
        tunnel: Proxy,
        sessions: Any,
        watches: Watches,
        trusting: ssl.SSLContext,
        clock: FakeClock,
    ) -> None:
        session = sessions(ssl=trusting)
        watch = watches.watch(session, registry=None)
        tunnel.gate.clear()
        url = f"{safe_server.url}/stream/held"
        asking = asyncio.create_task(session.get(url, proxy=tunnel.url))
        await eventually(1, lambda: len(tunnel.clients))
        assert (0, 0, 1, 0) == state(watch)
        clock.advance(2.0)
        tunnel.gate.set()
        response = await asking
        assert (1, 0, 0, 0) == state(watch)
        assert (1, 2.0) == open_seconds(watch)
        safe_server.tell("held")
        await response.read()
        assert (0, 1, 0, 0) == state(watch)
        async with session.get(f"{safe_server.url}/now/x", proxy=tunnel.url) as response:
            await response.read()
        assert (1, 0, 0) == opened(watch)
        assert 1 == watch.snapshot().reused == safe_server.connections()
        safe_server.hang_up()
        await eventually((0, 0, 0, 0), lambda: state(watch))

    @needs_openssl
    async def test_a_tunnel_that_the_proxy_refuses(
        self, safe_server: Server, tunnel: Proxy, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        tunnel.refuses = True
        with pytest.raises(aiohttp.ClientHttpProxyError):
            await session.get(f"{safe_server.url}/now/x", proxy=tunnel.url)
        await eventually((0, 0, 0, 0), lambda: state(watch))
        assert (0, 0, 0, 1) == ends(watch)
        now = watch.snapshot()
        assert (1, 0) == (now.open_failed, now.opened - now.closed)

    async def test_a_proxy_that_does_not_listen(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        with pytest.raises(aiohttp.ClientProxyConnectionError):
            await session.get(f"{server.url}/now/x", proxy=f"http://127.0.0.1:{closed_port()}")
        assert (0, 1, 0) == opened(watch)
        assert (0, 0, 0, 1) == ends(watch)


class TestSessions:
    async def test_a_session_that_borrows_a_connector_may_be_dropped(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(limit=2)
        watch = watches.watch(session, registry=None)
        other = aiohttp.ClientSession(connector=session.connector, connector_owner=False)
        assert watch is watches.watch(other, registry=None)
        held = [
            await session.get(f"{server.url}/stream/a"),
            await other.get(f"{server.url}/stream/b"),
        ]
        await other.close()
        assert (2, 0, 0, 0) == state(watch)
        for word in "ab":
            server.tell(word)
        for response in held:
            await response.read()
        assert (0, 2, 0, 0) == state(watch)
        assert 1 == watch.snapshot().instances

    async def test_a_session_is_closed_with_a_request_of_each_kind(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(limit=3, ssl=False)
        watch = watches.watch(session, registry=None)
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        mute = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = mute.sockets[0].getsockname()[1]
        held = await session.get(f"{server.url}/stream/held")
        unanswered = asyncio.create_task(session.post(f"{server.url}/later/x"))
        await eventually((2, 0, 0, 0), lambda: state(watch))
        opening = asyncio.create_task(session.get(f"https://127.0.0.1:{port}/"))
        await eventually((2, 0, 1, 0), lambda: state(watch))
        waiting = asyncio.create_task(session.get(f"{server.url}/now/x"))
        await eventually((2, 0, 1, 1), lambda: state(watch))
        await session.close()
        assert (0, 0) == state(watch)[:2]
        for task in (unanswered, opening, waiting):
            task.cancel()
        await asyncio.gather(unanswered, opening, waiting, return_exceptions=True)
        held.close()
        assert (0, 0, 0, 0) == state(watch)
        assert (2, 1, 2) == opened(watch)
        assert (3, 0, 2, 0) == ends(watch)
        assert 0 == watch.snapshot().instances
        await eventually(0, server.connections)
        mute.close()

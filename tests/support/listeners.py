"""A listener that serves a small application, with certificates and clients for it."""

from __future__ import annotations

import asyncio
import base64
import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
from aiohttp import web

from poolscope.exporter.addresses import TcpAddress, listen
from poolscope.exporter.listener import Listener
from support.certificates import Certificate, certificate

TLS = "tls_server_config: {{cert_file: {}.crt, key_file: {}.key{}}}\n"
VERIFY = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"


def users(**passwords: str) -> str:
    """Return the part of a web config file that lists these users."""
    hashes = {
        user: bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        for user, password in passwords.items()
    }
    lines = "".join(f"  {user}: {hashed}\n" for user, hashed in hashes.items())
    return f"basic_auth_users:\n{lines}"


def tls(name: str = "server", more: str = "") -> str:
    """Return the part of a web config file that serves TLS with the certificate of this name."""
    return TLS.format(name, name, more)


class Served:
    """An application that a listener serves, with its web config file."""

    def __init__(self, path: Path, text: str | None, tick: Any, host: str) -> None:
        self.path = path
        self.endpoints = listen([TcpAddress(host, 0)])
        self.bound = self.endpoints[0].socket
        self.port: int = self.bound.getsockname()[1]
        if text is not None:
            path.write_text(text)
        web_config = None if text is None else path
        self.listener = Listener(self.endpoints, web_config, *([] if tick is None else [tick]))
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        app = web.Application()
        app.router.add_get("/", self.answer)
        app.router.add_get("/later", self.later)
        app.router.add_get("/much", self.much)
        app.router.add_get("/fails", self.fails)
        self.listener.install(app)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def answer(self, request: web.Request) -> web.Response:
        return web.Response(text="here", headers={"X-Frame-Options": "sameorigin"})

    async def later(self, request: web.Request) -> web.Response:
        self.reached.set()
        await self.go.wait()
        return web.Response(text="later")

    async def much(self, request: web.Request) -> web.Response:
        return web.Response(body=bytes(2**24))

    async def fails(self, request: web.Request) -> web.Response:
        raise ValueError(*request.headers.values(), request.query_string)

    async def start(self) -> None:
        await self.runner.setup()
        await self.listener.start(self.runner)

    async def write(self, text: str) -> None:
        """Write the web config file, and load it."""
        self.path.write_text(text)
        await self.load()

    async def load(self) -> None:
        """Load changed files; only the second check finds that they are stable."""
        for _ in range(2):
            await self.listener.reload_if_changed()

    async def stop(self) -> None:
        await self.listener.close()
        await self.runner.cleanup()


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Returns a function that starts an application with this web config file, or with none."""
    started = []

    async def serve(text: str | None = None, tick: Any = None, host: str = "127.0.0.1") -> Served:
        started.append(Served(tmp_path / "web.yml", text, tick, host))
        await started[-1].start()
        return started[-1]

    yield serve
    for served in started:
        await served.stop()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates of servers and clients."""
    folder = tmp_path_factory.mktemp("certificates")
    ca = certificate(folder, "ca", "DNS:ca")
    certificate(folder, "other-ca", "DNS:ca")
    certificate(folder, "server", by=ca)
    certificate(folder, "renewed", by=ca)
    certificate(folder, "prometheus", "DNS:prometheus", by=ca)
    certificate(folder, "stranger", "DNS:prometheus")
    return folder


@pytest.fixture
def certificates(made: Path, tmp_path: Path) -> Path:
    """Copies of the certificates beside the web config file, which a test may replace."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def trusting(folder: Path, client: str | None = None) -> ssl.SSLContext:
    """Return the context of a client that trusts the CA, and may have a certificate itself."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    if client is not None:
        own = Certificate(folder / f"{client}.crt", folder / f"{client}.key")
        context.load_cert_chain(own.cert, own.key)
    return context


async def get(
    served: Served,
    context: ssl.SSLContext | None = None,
    user: str | None = None,
    session: aiohttp.ClientSession | None = None,
    path: str = "/",
) -> tuple[int, str]:
    """Send a request on a new connection, or in `session`; return status and text."""
    headers = {}
    if user is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    url = f"http{'s' if context else ''}://127.0.0.1:{served.port}{path}"
    new_session = None if session else aiohttp.ClientSession()
    client = session or new_session
    assert client is not None
    try:
        async with client.get(url, ssl=context or True, headers=headers) as response:
            return response.status, await response.text()
    finally:
        if new_session is not None:
            await new_session.close()


async def name_of(served: Served, context: ssl.SSLContext) -> str:
    """Connect, and return the common name in the certificate of the server."""
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
    peer = writer.get_extra_info("peercert")
    writer.close()
    await writer.wait_closed()
    (((_, name),),) = peer["subject"]
    return str(name)

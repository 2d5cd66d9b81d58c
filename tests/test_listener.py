"""The exporter's socket, with TLS and users that change while it is served."""

from __future__ import annotations

import asyncio
import base64
import logging
import shutil
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import pytest
from aiohttp import web

from poolscope.server.listener import Listener, bind
from poolscope.server.web_config import WebConfigError
from support.certificates import Certificate, certificate, needs_openssl
from support.waiting import eventually

TLS = "tls_server_config: {{cert_file: {}.crt, key_file: {}.key{}}}\n"
VERIFY = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"


def users(**passwords: str) -> str:
    hashes = {
        user: bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        for user, password in passwords.items()
    }
    lines = "".join(f"  {user}: {hashed}\n" for user, hashed in hashes.items())
    return f"basic_auth_users:\n{lines}"


def tls(name: str = "server", more: str = "") -> str:
    return TLS.format(name, name, more)


class Served:
    """An application behind a listener, with the file that says how."""

    def __init__(self, path: Path, text: str | None, tick: Any) -> None:
        self.path = path
        self.bound = bind("127.0.0.1", 0)
        self.port: int = self.bound.getsockname()[1]
        if text is not None:
            path.write_text(text)
        given = None if text is None else path
        self.listener = Listener(self.bound, given, *([] if tick is None else [tick]))
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        app = web.Application()
        app.router.add_get("/", self.answer)
        app.router.add_get("/later", self.later)
        self.listener.install(app)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def answer(self, request: web.Request) -> web.Response:
        return web.Response(text="here", headers={"X-Frame-Options": "sameorigin"})

    async def later(self, request: web.Request) -> web.Response:
        self.reached.set()
        await self.go.wait()
        return web.Response(text="later")

    async def start(self) -> None:
        await self.runner.setup()
        await self.listener.start(self.runner)

    async def says(self, text: str) -> bool:
        """Let the file say this, and have it loaded."""
        self.path.write_text(text)
        return await self.listener.reload()

    async def stop(self) -> None:
        await self.listener.close()
        await self.runner.cleanup()


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    made = []

    async def serve(text: str | None = None, tick: Any = None) -> Served:
        made.append(Served(tmp_path / "web.yml", text, tick))
        await made[-1].start()
        return made[-1]

    yield serve
    for served in made:
        await served.stop()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates, of servers and of clients."""
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
    """The same beside the web config file, where a test may replace them."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def trusting(folder: Path, client: str | None = None) -> ssl.SSLContext:
    """What a client needs that trusts the server, and is this one itself."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    if client is not None:
        mine = Certificate(folder / f"{client}.crt", folder / f"{client}.key")
        context.load_cert_chain(mine.cert, mine.key)
    return context


async def get(
    served: Served,
    context: ssl.SSLContext | None = None,
    user: str | None = None,
    session: aiohttp.ClientSession | None = None,
    path: str = "/",
) -> tuple[int, str]:
    """Ask over a new connection, or that of the session; return status and text."""
    headers = {}
    if user is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    url = f"http{'s' if context else ''}://127.0.0.1:{served.port}{path}"
    own = None if session else aiohttp.ClientSession()
    asking = session or own
    assert asking is not None
    try:
        async with asking.get(url, ssl=context or True, headers=headers) as response:
            return response.status, await response.text()
    finally:
        if own is not None:
            await own.close()


async def name_of(served: Served, context: ssl.SSLContext) -> str:
    """Return the name in the certificate of the server."""
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
    peer = writer.get_extra_info("peercert")
    writer.close()
    await writer.wait_closed()
    (((_, name),),) = peer["subject"]
    return str(name)


class TestBind:
    @pytest.mark.parametrize(
        ("host", "addresses"),
        [
            ("127.0.0.1", ("127.0.0.1",)),
            ("0.0.0.0", ("0.0.0.0",)),  # noqa: S104 - as users may
            ("localhost", ("127.0.0.1", "::1")),
            ("::1", ("::1",)),
        ],
    )
    def test_a_socket_that_listens(self, host: str, addresses: tuple[str, ...]) -> None:
        try:
            bound = bind(host, 0)
        except OSError:
            if ":" in host:
                pytest.skip("there is no IPv6")
            raise
        with bound:
            address, port = bound.getsockname()[:2]
            assert address in addresses
            connected = "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104 - as above
            socket.create_connection((connected, port)).close()
            with pytest.raises(OSError, match="in use"):
                bind(host, port)

    def test_where_there_is_none(self) -> None:
        with pytest.raises(OSError, match=r".+"):
            bind("192.0.2.1", 0)
        with pytest.raises(OSError, match=r".+"):
            bind("no such host", 0)


class TestPlain:
    async def test_without_a_file(self, serve: Serve) -> None:
        served = await serve()
        assert f"http://127.0.0.1:{served.port}" == served.listener.url
        assert (200, "here") == await get(served)
        assert await served.listener.reload()

    async def test_headers_of_the_file_win(self, serve: Serve) -> None:
        headers = "{X-Frame-Options: deny, X-XSS-Protection: '0'}"
        served = await serve(f"http_server_config: {{headers: {headers}}}")
        async with aiohttp.ClientSession() as session:
            for path in ("/", "/nothing"):
                async with session.get(f"{served.listener.url}{path}") as response:
                    given = response.headers
                    assert ("deny", "0") == (given["X-Frame-Options"], given["X-XSS-Protection"])

    async def test_an_end(self, serve: Serve) -> None:
        served = await serve()
        await served.listener.close()
        assert -1 == served.bound.fileno()
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(served)

    async def test_a_file_that_is_wrong(self, serve: Serve, tmp_path: Path) -> None:
        with pytest.raises(WebConfigError, match="tls: unknown key"):
            await serve("tls: 1")


class TestUsers:
    async def test_a_password_is_asked_for(self, serve: Serve) -> None:
        served = await serve(users(ann="secret"))
        assert (200, "here") == await get(served, user="ann:secret")
        for user in (None, "ann:wrong", "bob:secret"):
            assert (401, "401: Unauthorized\n") == await get(served, user=user)
            assert 401 == (await get(served, user=user, path="/nothing"))[0]
        async with aiohttp.ClientSession() as session, session.get(served.listener.url) as response:
            assert 'Basic realm="poolscope"' == response.headers["WWW-Authenticate"]

    async def test_they_change(self, serve: Serve) -> None:
        served = await serve(users(ann="old"))
        async with aiohttp.ClientSession() as session:
            assert 200 == (await get(served, user="ann:old", session=session))[0]
            assert await served.says(users(ann="new", bob="other"))
            statuses = [
                (await get(served, user=user, session=session))[0]
                for user in ("ann:old", "ann:new", "bob:other")
            ]
            assert [401, 200, 200] == statuses
            assert await served.says("")
            assert 200 == (await get(served, session=session))[0]

    async def test_a_thousand_that_guess(self, serve: Serve) -> None:
        served = await serve(users(ann="secret"))
        assert 200 == (await get(served, user="ann:secret"))[0]
        connector = aiohttp.TCPConnector(limit=200)
        async with aiohttp.ClientSession(connector=connector) as crowd:
            guesses = asyncio.gather(
                *(get(served, user=f"ann:{number}", session=crowd) for number in range(1000))
            )
            while not guesses.done():
                assert (200, "here") == await get(served, user="ann:secret")
            assert {status for status, _ in await guesses} <= {401, 503}


@needs_openssl
class TestTls:
    async def test_it_is_all_that_is_served(self, serve: Serve, certificates: Path) -> None:
        served = await serve(tls())
        assert f"https://127.0.0.1:{served.port}" == served.listener.url
        assert (200, "here") == await get(served, trusting(certificates))
        with pytest.raises(aiohttp.ClientError):
            await get(served)

    async def test_client_certificates(self, serve: Serve, certificates: Path) -> None:
        served = await serve(tls(more=VERIFY))
        assert (200, "here") == await get(served, trusting(certificates, "prometheus"))
        for client in (None, "stranger"):
            with pytest.raises((aiohttp.ClientError, OSError)):
                await get(served, trusting(certificates, client))

    async def test_client_certificates_of_some_names(
        self, serve: Serve, certificates: Path
    ) -> None:
        allowed = "client_allowed_sans: [prometheus, 10.0.0.1]"
        served = await serve(tls(more=f"{VERIFY}, {allowed}"))
        assert (200, "here") == await get(served, trusting(certificates, "prometheus"))
        assert (403, "403: no name of the certificate is among client_allowed_sans\n") == (
            await get(served, trusting(certificates, "server"))
        )

    async def test_client_certificates_if_given(self, serve: Serve, certificates: Path) -> None:
        more = VERIFY.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
        served = await serve(tls(more=more))
        for client in (None, "prometheus"):
            assert (200, "here") == await get(served, trusting(certificates, client))
        with pytest.raises((aiohttp.ClientError, OSError)):
            await get(served, trusting(certificates, "stranger"))

    @pytest.mark.parametrize(
        ("more", "most", "answers"),
        [
            ("", ssl.TLSVersion.TLSv1_3, True),
            ("", ssl.TLSVersion.TLSv1_2, True),
            ("", ssl.TLSVersion.TLSv1_1, False),
            (", min_version: TLS11", ssl.TLSVersion.TLSv1_1, True),
            (", min_version: TLS11", ssl.TLSVersion.TLSv1, False),
            (", min_version: TLS10", ssl.TLSVersion.TLSv1, True),
            (", min_version: TLS13", ssl.TLSVersion.TLSv1_2, False),
        ],
    )
    async def test_versions(
        self, serve: Serve, certificates: Path, more: str, most: ssl.TLSVersion, answers: bool
    ) -> None:
        client = trusting(certificates)
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            client.minimum_version, client.maximum_version = ssl.TLSVersion.TLSv1, most
        client.set_ciphers("DEFAULT:@SECLEVEL=0")
        served = await serve(tls(more=more))
        if answers:
            assert (200, "here") == await get(served, client)
        else:
            with pytest.raises(aiohttp.ClientError):
                await get(served, client)


@needs_openssl
class TestReload:
    async def test_to_tls_and_back(self, serve: Serve, certificates: Path) -> None:
        served = await serve("")
        context = trusting(certificates)
        for _ in range(3):
            assert await served.says(tls())
            assert (200, "here") == await get(served, context)
            with pytest.raises(aiohttp.ClientError):
                await get(served)
            assert await served.says("")
            assert (200, "here") == await get(served)
            with pytest.raises(aiohttp.ClientError):
                await get(served, context)
        assert 1 == len(served.runner.sites)

    async def test_a_certificate_in_place(self, serve: Serve, certificates: Path) -> None:
        served = await serve(tls())
        context = trusting(certificates)
        assert "server" == await name_of(served, context)
        for kind in ("crt", "key"):
            shutil.copy(certificates / f"renewed.{kind}", certificates / f"server.{kind}")
        assert await served.listener.reload()
        assert "renewed" == await name_of(served, context)

    async def test_nobody_is_refused_meanwhile(self, serve: Serve, certificates: Path) -> None:
        served = await serve(tls() + users(ann="secret"))
        context = trusting(certificates)

        async def ask() -> list[tuple[int, str]]:
            return [await get(served, context, user="ann:secret") for _ in range(20)]

        asking = asyncio.gather(*(ask() for _ in range(10)))
        turn = 0
        while not asking.done():
            name = ("renewed", "server")[turn % 2]
            assert await served.says(tls(name) + users(ann="secret", bob=f"{turn}"))
            turn += 1
        assert [[(200, "here")] * 20] * 10 == await asking
        assert turn > 2

    async def test_a_request_that_is_being_answered_is(
        self, serve: Serve, certificates: Path
    ) -> None:
        served = await serve("")
        asking = asyncio.create_task(get(served, path="/later"))
        await served.reached.wait()
        assert await served.says(tls())
        served.go.set()
        assert (200, "later") == await asking

    async def test_a_connection_with_the_old_certificate_gets_one_more_answer(
        self, serve: Serve, certificates: Path
    ) -> None:
        served = await serve(tls())
        context = trusting(certificates)
        url = served.listener.url
        async with aiohttp.ClientSession() as session:
            kept = []
            for text in (None, tls("renewed"), None):
                if text:
                    assert await served.says(text)
                async with session.get(url, ssl=context) as response:
                    assert "here" == await response.text()
                    kept.append("close" != response.headers.get("Connection"))
            assert [True, False, True] == kept

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("", tls()),
            (tls(), ""),
            (tls(), tls(more=VERIFY)),
            (tls(more=VERIFY), tls(more=VERIFY.replace("ca.crt", "other-ca.crt"))),
            (tls(more=VERIFY), tls(more=f"{VERIFY}, client_allowed_sans: [nobody]")),
        ],
    )
    async def test_a_connection_of_one_who_may_not_enter_now(
        self, serve: Serve, certificates: Path, before: str, after: str
    ) -> None:
        served = await serve(before)
        context = trusting(certificates, "prometheus") if before else None
        async with aiohttp.ClientSession() as session:
            assert (200, "here") == await get(served, context, session=session)
            assert await served.says(after)
            assert (421, "421: the configuration has changed; connect again\n") == (
                await get(served, context, session=session)
            )


class Log:
    """What the exporter has said, by its level."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        caplog.set_level(logging.INFO, "poolscope.exporter")

    def errors(self) -> list[str]:
        errors = [r.getMessage() for r in self.caplog.records if r.levelname == "ERROR"]
        self.caplog.clear()
        return errors


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    return Log(caplog)


class TestFilesThatBreak:
    async def test_what_was_loaded_before_is_kept(self, serve: Serve, log: Log) -> None:
        served = await serve(users(ann="secret"))
        assert not await served.says("tls: 1")
        (error,) = log.errors()
        assert error.startswith(f"kept what was loaded before: {served.path}: tls: unknown key")
        assert 200 == (await get(served, user="ann:secret"))[0]
        assert 401 == (await get(served))[0]

    async def test_each_is_told_of_once(self, serve: Serve, log: Log) -> None:
        served = await serve(users(ann="secret"))
        for text in ("tls: 1", "tls: 10", "tls: 1"):
            served.path.write_text(text)
            for _ in range(5):
                await served.listener.look()
            assert 1 == len(log.errors())
        served.path.unlink()
        for _ in range(5):
            await served.listener.look()
        missing = f"{served.path}: cannot be read: No such file or directory"
        assert [f"kept what was loaded before: {missing}"] == log.errors()
        served.path.write_text(users(bob="other"))
        await served.listener.look()
        await served.listener.look()
        assert 200 == (await get(served, user="bob:other"))[0]
        assert [] == log.errors()

    @needs_openssl
    async def test_a_key_that_comes_later_than_its_certificate(
        self, serve: Serve, certificates: Path, log: Log
    ) -> None:
        served = await serve(tls())
        context = trusting(certificates)
        shutil.copy(certificates / "renewed.crt", certificates / "server.crt")
        for _ in range(3):
            await served.listener.look()
        assert "server" == await name_of(served, context)
        (error,) = log.errors()
        assert "key_file" in error
        shutil.copy(certificates / "renewed.key", certificates / "server.key")
        for _ in range(3):
            await served.listener.look()
        assert "renewed" == await name_of(served, context)
        assert [] == log.errors()

    @needs_openssl
    async def test_a_site_that_cannot_start(
        self, serve: Serve, certificates: Path, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served = await serve(users(ann="secret"))
        start = web.SockSite.start

        async def fail(site: web.SockSite) -> None:
            await start(site)
            raise OSError("no more files")

        with monkeypatch.context() as patch:
            patch.setattr(web.SockSite, "start", fail)
            assert not await served.says(tls())
        assert ["kept what was loaded before: no more files"] == log.errors()
        assert (401, 200) == (
            (await get(served))[0],
            (await get(served, user="ann:secret"))[0],
        )
        assert 1 == len(served.runner.sites)
        for _ in range(2):
            await served.listener.look()
        assert (200, "here") == await get(served, trusting(certificates))


class TestLooking:
    async def test_files_that_are_the_same_are_not_loaded(
        self, serve: Serve, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "poolscope.exporter")
        served = await serve(users(ann="secret"))
        for _ in range(5):
            await served.listener.look()
        assert [] == caplog.messages
        served.path.touch()
        for _ in range(5):
            await served.listener.look()
        assert [f"loaded {served.path} again"] == caplog.messages

    async def test_a_file_that_is_being_written_is_not_read(self, serve: Serve) -> None:
        served = await serve(users(ann="secret"))
        served.path.write_text("")
        await served.listener.look()
        assert 401 == (await get(served))[0]
        served.path.write_text(users(bob="other"))
        await served.listener.look()
        assert [401, 401] == [(await get(served, user=user))[0] for user in (None, "bob:other")]
        await served.listener.look()
        assert 200 == (await get(served, user="bob:other"))[0]

    @needs_openssl
    async def test_links_are_followed(self, serve: Serve, certificates: Path) -> None:
        current = certificates / "current"
        current.symlink_to("server.crt")
        (certificates / "current.key").symlink_to("server.key")
        served = await serve(
            "tls_server_config: {cert_file: current, key_file: current.key}\n",
        )
        for name in ("current", "current.key"):
            (certificates / name).unlink()
        current.symlink_to("renewed.crt")
        (certificates / "current.key").symlink_to("renewed.key")
        for _ in range(2):
            await served.listener.look()
        assert "renewed" == await name_of(served, trusting(certificates))

    async def test_at_each_tick(self, serve: Serve) -> None:
        ticks: asyncio.Queue[None] = asyncio.Queue()
        served = await serve("", ticks.get)
        served.path.write_text(users(ann="secret"))
        for _ in range(3):
            ticks.put_nowait(None)
        await eventually(True, lambda: bool(served.listener._config.users))
        assert 401 == (await get(served))[0]
        await served.listener.close()
        assert served.listener._polling is not None
        assert served.listener._polling.done()

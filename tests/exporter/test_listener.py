"""The listening socket: TLS, passwords, and changes of both while it serves."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import threading
import warnings
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from poolscope.exporter import hashes
from poolscope.exporter.web_config import WebConfigError
from support.certificates import needs_openssl
from support.listeners import Serve, certificates, get, made, name_of, serve, tls, trusting, users
from support.waiting import PATIENCE, eventually

__all__ = ["certificates", "get", "made", "name_of", "serve", "tls", "trusting", "users"]

TLS = "tls_server_config: {{cert_file: {}.crt, key_file: {}.key{}}}\n"
VERIFY = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"


class TestPlainHttp:
    async def test_without_a_file(self, serve: Serve) -> None:
        served = await serve()
        assert [f"http://127.0.0.1:{served.port}"] == served.listener.urls
        assert (200, "here") == await get(served)

    async def test_headers_of_the_file_override_others(self, serve: Serve) -> None:
        headers = "{X-Frame-Options: deny, X-XSS-Protection: '0'}"
        served = await serve(f"http_server_config: {{headers: {headers}}}")
        async with aiohttp.ClientSession() as session:
            for path in ("/", "/nothing"):
                async with session.get(f"{served.listener.urls[0]}{path}") as response:
                    given = response.headers
                    assert ("deny", "0") == (given["X-Frame-Options"], given["X-XSS-Protection"])

    async def test_after_close_nothing_listens(self, serve: Serve) -> None:
        served = await serve()
        await served.listener.close()
        assert -1 == served.bound.fileno()
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(served)

    async def test_a_malformed_file_is_an_error_at_the_start(
        self, serve: Serve, tmp_path: Path
    ) -> None:
        with pytest.raises(WebConfigError, match="tls: unknown key"):
            await serve("tls: 1")


class TestUsers:
    async def test_every_path_requires_a_password(self, serve: Serve) -> None:
        served = await serve(users(ann="secret"))
        assert (200, "here") == await get(served, user="ann:secret")
        for user in (None, "ann:wrong", "bob:secret"):
            assert (401, "401: Unauthorized\n") == await get(served, user=user)
            assert 401 == (await get(served, user=user, path="/nothing"))[0]
        async with (
            aiohttp.ClientSession() as session,
            session.get(served.listener.urls[0]) as response,
        ):
            assert 'Basic realm="poolscope"' == response.headers["WWW-Authenticate"]

    async def test_passwords_change(self, serve: Serve) -> None:
        served = await serve(users(ann="old"))
        async with aiohttp.ClientSession() as session:
            assert 200 == (await get(served, user="ann:old", session=session))[0]
            await served.write(users(ann="new", bob="other"))
            statuses = [
                (await get(served, user=user, session=session))[0]
                for user in ("ann:old", "ann:new", "bob:other")
            ]
            assert [401, 200, 200] == statuses
            await served.write("{}")
            assert 200 == (await get(served, session=session))[0]


@needs_openssl
class TestTls:
    async def test_plain_http_is_rejected(self, serve: Serve, certificates: Path) -> None:
        served = await serve(tls())
        assert [f"https://127.0.0.1:{served.port}"] == served.listener.urls
        assert (200, "here") == await get(served, trusting(certificates))
        with pytest.raises(aiohttp.ClientError):
            await get(served)

    async def test_client_certificates(self, serve: Serve, certificates: Path) -> None:
        served = await serve(tls(more=VERIFY))
        assert (200, "here") == await get(served, trusting(certificates, "prometheus"))
        for client in (None, "stranger"):
            with pytest.raises((aiohttp.ClientError, OSError)):
                await get(served, trusting(certificates, client))

    async def test_client_certificates_with_allowed_names(
        self, serve: Serve, certificates: Path
    ) -> None:
        allowed = "client_allowed_sans: [prometheus, 10.0.0.1]"
        served = await serve(tls(more=f"{VERIFY}, {allowed}"))
        assert (200, "here") == await get(served, trusting(certificates, "prometheus"))
        assert (403, "403: client_allowed_sans has no name of this certificate\n") == (
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
            await served.write(tls())
            assert (200, "here") == await get(served, context)
            with pytest.raises(aiohttp.ClientError):
                await get(served)
            await served.write("{}")
            assert (200, "here") == await get(served)
            with pytest.raises(aiohttp.ClientError):
                await get(served, context)

    async def test_a_certificate_file_is_replaced(self, serve: Serve, certificates: Path) -> None:
        served = await serve(tls())
        context = trusting(certificates)
        assert "server" == await name_of(served, context)
        for kind in ("crt", "key"):
            shutil.copy(certificates / f"renewed.{kind}", certificates / f"server.{kind}")
        await served.load()
        assert "renewed" == await name_of(served, context)

    async def test_no_request_fails_during_reloads(self, serve: Serve, certificates: Path) -> None:
        served = await serve(tls() + users(ann="secret"))
        context = trusting(certificates)

        async def ask() -> list[tuple[int, str]]:
            answers: list[tuple[int, str]] = []
            while turn < 3 or len(answers) < 20:
                answers.append(await get(served, context, user="ann:secret"))
            return answers

        turn = 0
        asking = asyncio.gather(*(ask() for _ in range(10)))
        while not asking.done():
            name = ("renewed", "server")[turn % 2]
            await served.write(tls(name) + users(ann="secret", bob=f"{turn}"))
            turn += 1
        assert {(200, "here")} == {answer for answers in await asking for answer in answers}

    async def test_a_request_in_progress_is_answered(
        self, serve: Serve, certificates: Path
    ) -> None:
        served = await serve("")
        asking = asyncio.create_task(get(served, path="/later"))
        await served.reached.wait()
        await served.write(tls())
        served.go.set()
        assert (200, "later") == await asking

    async def test_a_connection_with_the_old_certificate_gets_one_more_answer(
        self, serve: Serve, certificates: Path
    ) -> None:
        served = await serve(tls())
        context = trusting(certificates)
        (url,) = served.listener.urls
        async with aiohttp.ClientSession() as session:
            kept = []
            for text in (None, tls("renewed"), None):
                if text:
                    await served.write(text)
                async with session.get(url, ssl=context) as response:
                    assert "here" == await response.text()
                    kept.append("close" != response.headers.get("Connection"))
            assert [True, False, True] == kept

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("", tls()),
            (tls(), "{}"),
            (tls(), tls(more=VERIFY)),
            (tls(more=VERIFY), tls(more=VERIFY.replace("ca.crt", "other-ca.crt"))),
            (tls(more=VERIFY), tls(more=f"{VERIFY}, client_allowed_sans: [nobody]")),
        ],
    )
    async def test_an_open_connection_does_not_bypass_new_rules(
        self, serve: Serve, certificates: Path, before: str, after: str
    ) -> None:
        served = await serve(before)
        context = trusting(certificates, "prometheus") if before else None
        async with aiohttp.ClientSession() as session:
            assert (200, "here") == await get(served, context, session=session)
            await served.write(after)
            assert (421, "421: the configuration has changed; open a new connection\n") == (
                await get(served, context, session=session)
            )

    @pytest.mark.parametrize(
        ("after", "status"),
        [
            (users(ann="secret"), 200),
            ("{}", 200),
            (users(ann="another"), 401),
            (users(bob="secret"), 401),
            (tls() + users(ann="secret"), 421),
        ],
        ids=["the same", "none", "another password", "another user", "TLS"],
    )
    async def test_a_password_that_is_being_checked_does_not_bypass_new_rules(
        self,
        serve: Serve,
        certificates: Path,
        monkeypatch: pytest.MonkeyPatch,
        after: str,
        status: int,
    ) -> None:
        matches, go = hashes.matches, threading.Event()

        def when_told(*args: Any) -> bool:
            go.wait(PATIENCE)
            return matches(*args)

        monkeypatch.setattr(hashes, "matches", when_told)
        served = await serve(users(ann="secret"))
        asking = asyncio.create_task(get(served, user="ann:secret"))
        await eventually(True, lambda: served.listener._auth._queue._running is not None)
        await served.write(after)
        go.set()
        assert status == (await asking)[0]

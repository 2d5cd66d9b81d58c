"""A web config that is refused while the exporter serves changes nothing, at any of its parts."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import socket
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web

from poolscope.exporter.addresses import TcpAddress, UnixAddress, listen
from poolscope.exporter.listener import Listener
from support.certificates import needs_openssl
from support.listeners import Serve, Served, certificates, get, made, serve, tls, trusting, users
from support.logs import messages_of_poolscope

__all__ = ["certificates", "made", "serve"]

pytestmark = needs_openssl

HEADERS = "http_server_config: {{headers: {{X-Frame-Options: {}, X-XSS-Protection: '{}'}}}}\n"
BEFORE = tls(more=", min_version: TLS13") + users(ann="old") + HEADERS.format("deny", "before")
AFTER = tls("renewed") + HEADERS.format("sameorigin", "after")
"""Other TLS versions, another certificate and other headers, and users that are to be added."""

HASH = users(bob="new").rpartition(": ")[2].strip()


class State(NamedTuple):
    """What a client sees: the certificate, the version of TLS, the headers, who is let in."""

    name: str
    oldest: str
    headers: tuple[str, str]
    ann: int
    bob: int


async def seen(served: Served, folder: Path) -> State:
    context = trusting(folder)
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=context)
    serial = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    await writer.wait_closed()
    older = trusting(folder)
    older.maximum_version = older.minimum_version = older.maximum_version.TLSv1_2
    try:
        await get(served, older)
        oldest = "TLS 1.2"
    except aiohttp.ClientError:
        oldest = "TLS 1.3"
    async with aiohttp.ClientSession() as session:
        url = f"https://127.0.0.1:{served.port}/"
        async with session.get(url, ssl=trusting(folder)) as answer:
            headers = (
                answer.headers["X-Frame-Options"], answer.headers["X-XSS-Protection"]
            )  # fmt: skip
    ann = (await get(served, trusting(folder), user="ann:old"))[0]
    bob = (await get(served, trusting(folder), user="bob:new"))[0]
    return State(serial, oldest, headers, ann, bob)


def half(path: Path) -> None:
    text = path.read_bytes()
    path.write_bytes(text[: len(text) // 2])


def half_a_chain(path: Path) -> None:
    """Leave the whole certificate, and half of the next one in its chain."""
    text = path.read_bytes()
    path.write_bytes(text + text[: len(text) // 2])


NEW_USERS = f"basic_auth_users: {{bob: {HASH}}}\n"

REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "the key of another certificate": (
        "", lambda d: shutil.copy(d / "server.key", d / "renewed.key"), "is not the key of",
    ),
    "half a certificate": ("", lambda d: half(d / "renewed.crt"), "has no certificate in PEM"),
    "half a chain": ("", lambda d: half_a_chain(d / "renewed.crt"), "has no certificate in PEM"),
    "half a key": ("", lambda d: half(d / "renewed.key"), "has no private key in PEM format"),
    "an empty certificate": ("", lambda d: (d / "renewed.crt").write_text(""), "has no cert"),
    "a missing key": ("", lambda d: (d / "renewed.key").unlink(), "cannot be read: No such file"),
    "a hash that is cut off": (
        f"basic_auth_users: {{bob: {HASH[:30]}}}", lambda d: None, "must be a bcrypt hash",
    ),
    "a name that cannot be encoded": (
        f'basic_auth_users: {{bob: {HASH}, "\\ud800": {HASH}}}', lambda d: None,
        "must be printable",
    ),
    "a name with a line break": (
        f'basic_auth_users: {{"b\\nob": {HASH}}}', lambda d: None, "must be printable",
    ),
    "users without content": ("basic_auth_users:\n", lambda d: None, "users: is empty"),
    "an unknown key": ("users: {}", lambda d: None, "users: unknown key"),
    "a cut off line": ("basic_auth_us", lambda d: None, "is not valid YAML"),
    "a key twice": ("http_server_config: {}", lambda d: None, "appears twice"),
}  # fmt: skip
"""By what is wrong: what is added to the file, what is done to others, and the error."""


def errors_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what poolscope has logged as an error; a handshake that fails is none."""
    return [
        entry.getMessage()
        for entry in caplog.records
        if "poolscope" in entry.name and entry.levelno >= logging.ERROR
    ]


@pytest.mark.parametrize("wrong", REFUSED)
async def test_whatever_is_wrong_the_old_configuration_is_in_use(
    serve: Serve, certificates: Path, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(BEFORE)
    before = await seen(served, certificates)
    assert ("TLS 1.3", ("deny", "before"), 200, 401) == before[1:]
    intact = shutil.copytree(certificates, certificates / "intact", dirs_exist_ok=True)
    added, damage, message = REFUSED[wrong]
    users_too = "" if "basic_auth" in added else NEW_USERS
    damage(certificates)
    caplog.set_level(logging.ERROR, "poolscope.exporter")
    await served.write(AFTER + users_too + added)
    await served.load()
    assert before == await seen(served, certificates)
    (text,) = errors_of(caplog)
    assert message in text
    assert "\n" not in text
    assert text.startswith(f"cannot reload, keeping the old configuration: {served.path}: ")
    shutil.copytree(intact, certificates, dirs_exist_ok=True)
    await served.write(AFTER + NEW_USERS)
    after = await seen(served, certificates)
    assert before.name != after.name
    assert ("TLS 1.2", ("sameorigin", "after"), 401, 200) == after[1:]


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n"])
async def test_a_file_without_content_does_not_let_everybody_in(
    serve: Serve, certificates: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(BEFORE)
    await served.write(text)
    assert 401 == (await get(served, trusting(certificates)))[0]
    assert ["is empty; write {} to have no TLS and no passwords"] == [
        message.rpartition("web.yml: ")[2] for message in errors_of(caplog)
    ]


async def test_without_descriptors_the_old_configuration_is_in_use(
    serve: Serve, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(BEFORE)
    before = await seen(served, certificates)

    def dup(_: socket.socket) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "dup", dup)
        await served.write(AFTER + NEW_USERS)
    assert before == await seen(served, certificates)
    await served.load()
    assert 200 == (await seen(served, certificates)).bob


async def test_a_hang_up_loads_a_file_that_has_not_changed(
    serve: Serve, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(BEFORE)
    caplog.set_level(logging.INFO, "poolscope.exporter")
    await served.load()
    assert [] == messages_of_poolscope(caplog)
    for _ in range(2):
        served.listener.reload_soon()
        await served.load()
    assert [f"reloaded {served.path}"] * 2 == messages_of_poolscope(caplog)


async def test_a_hang_up_repeats_the_error(
    serve: Serve, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    served = await serve(BEFORE)
    await served.write("nothing: 1")
    await served.load()
    assert 1 == len(messages_of_poolscope(caplog))
    served.listener.reload_soon()
    await served.load()
    assert 2 == len(messages_of_poolscope(caplog))


async def test_the_same_rules_are_in_force_at_every_address(
    certificates: Path, tmp_path: Path, short_path: Path
) -> None:
    path = tmp_path / "web.yml"
    path.write_text(BEFORE)
    endpoints = listen(
        [TcpAddress("127.0.0.1", 0), TcpAddress("", 0), UnixAddress(short_path / "x.sock")]
    )
    ports = [each.socket.getsockname()[1] for each in endpoints[:2]]
    listener = Listener(endpoints, path)
    app = web.Application()
    listener.install(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await listener.start(runner)
    assert [f"https://127.0.0.1:{ports[0]}", f"https://[::]:{ports[1]}"] == listener.urls[:2]

    async def statuses(password: str) -> list[int]:
        given = b64encode(password.encode()).decode()
        head = f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {given}\r\n\r\n"
        found = []
        for endpoint in endpoints:
            target = endpoint.socket.getsockname()
            options: dict[str, Any] = {
                "ssl": trusting(certificates), "server_hostname": "127.0.0.1"
            }  # fmt: skip
            if isinstance(target, str):
                reader, writer = await asyncio.open_unix_connection(target, **options)
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", target[1], **options)
            writer.write(head.encode())
            found.append(int((await reader.readline()).split()[1]))
            writer.close()
            await writer.wait_closed()
        return found

    try:
        assert ([404] * 3, [401] * 3) == (await statuses("ann:old"), await statuses("bob:new"))
        path.write_text(AFTER + NEW_USERS)
        for _ in range(2):
            await listener.reload_if_changed()
        assert ([401] * 3, [404] * 3) == (await statuses("ann:old"), await statuses("bob:new"))
    finally:
        await listener.close()
        await runner.cleanup()
    assert not (short_path / "x.sock").exists()
    assert [-1] * 3 == [each.socket.fileno() for each in endpoints]

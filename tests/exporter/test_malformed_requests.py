"""What the exporter answers and logs when requests are malformed, refused, or fail."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from poolscope.exporter import logs
from poolscope.exporter.hosts import Hosts
from poolscope.exporter.pages import SECURITY_HEADERS
from support.listeners import Serve, get, serve, users
from support.raw_clients import is_closed, raw

__all__ = ["raw", "serve"]

SECRET = "hunter2"  # noqa: S105 - what no line may have
HOST = b"Host: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = b"Content-Encoding: gzip\r\n"

REFUSED: dict[str, tuple[bytes, int]] = {
    "another version": (b"GET / HTTP/9.9\r\n\r\n", 400),
    "a header without a colon": (b"GET / HTTP/1.1\r\nAuthorization Basic hunter2\r\n\r\n", 400),
    "a header with a bad name": (b"GET / HTTP/1.1\r\nX Y: hunter2\r\n\r\n", 400),
    "a header with a control character": (b"GET / HTTP/1.1\r\nX: hunter2\x00\r\n\r\n", 400),
    "a long header": (b"GET / HTTP/1.1\r\nX: hunter2" + b"x" * 20_000 + b"\r\n\r\n", 400),
    "a long line": (b"GET /?hunter2" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 400),
    "binary": (b"\x00\xff\xfehunter2\r\n\r\n", 400),
    "a TLS handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hunter2\r\n\r\n", 400),
    "a bad chunk": (b"GET / HTTP/1.1\r\n" + HOST + CHUNKED + b"hunter2\r\n", 400),
    "two lengths": (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "a bad length": (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: hunter2\r\n\r\n", 400),
    "an odd method": (b"HUNTER2\x80 / HTTP/1.1\r\n\r\n", 400),
    "an unknown path": (b"GET /hunter2?hunter2 HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "an unknown method": (b"POST / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "an unknown expectation": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Expect: hunter2\r\n\r\n",
        417,
    ),
    "a handler that fails": (
        b"GET /fails?hunter2 HTTP/1.1\r\n" + HOST + b"Authorization: Basic hunter2\r\n\r\n",
        500,
    ),
}

BAD_BODIES: dict[str, list[bytes]] = {
    "a bad chunk": [CHUNKED + b"1\r\na\r\n", b"hunter2\r\n"],
    "a bad end of a chunk": [CHUNKED + b"1\r\na", b"hunter2\r\n"],
    "one that is not compressed": [GZIP + b"Content-Length: 7\r\n\r\n", b"hunter2"],
    "one that is cut off": [b"Content-Length: 9\r\n\r\n", b"hunter2"],
}
"""Bodies that turn out to be malformed after the answer; no path needs one."""

UNAUTHORIZED = b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: Basic hunter2\r\n\r\n"


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """All lines that any logger writes; nothing was logged before the test."""
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp", "aiohttp.server", "poolscope", "poolscope.exporter"):
        caplog.set_level(logging.DEBUG, name)
    monkeypatch.setattr(logs.BRIEF, "_said", {})
    monkeypatch.setattr(logs.BRIEF, "_left_out", {})
    return caplog


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
class TestErrors:
    async def test_have_one_line_and_the_same_headers(
        self, serve: Serve, raw: Any, data: bytes, status: int
    ) -> None:
        served = await serve("http_server_config: {headers: {X-Frame-Options: deny}}")
        answer = await raw(served.port).ask(data)
        assert status == answer.status
        assert re.fullmatch(rf"{status}: [A-Z][A-Za-z -]+\n", answer.text), answer.text
        expected = {**SECURITY_HEADERS, "X-Frame-Options": "deny"}
        assert expected == {name: answer.headers.get(name) for name in expected}
        assert SECRET not in str(answer).lower()
        assert "aiohttp" not in str(answer).lower()

    async def test_are_logged_as_one_line_however_many_there_are(
        self, serve: Serve, raw: Any, log: Any, data: bytes, status: int
    ) -> None:
        served = await serve()
        clients = raw(served.port)
        for _ in range(20):
            await clients.ask(data)
        ours = [each for each in log.records if each.name != "asyncio"]
        assert len(ours) == (1 if status in (400, 500) else 0), log.text
        assert all("\n" not in each.getMessage() for each in ours)
        assert SECRET not in log.text.lower()
        assert "Traceback" not in log.text


BEFORE_LONG_HEADERS: dict[str, bytes] = {
    "the first request": b"",
    "a later request": b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "one after a body": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n\r\n\r\nx",
}


@pytest.mark.parametrize("before", BEFORE_LONG_HEADERS.values(), ids=BEFORE_LONG_HEADERS)
async def test_who_sends_headers_without_an_end_is_cut_off(
    serve: Serve, raw: Any, before: bytes
) -> None:
    served = await serve()
    reader, writer = await raw(served.port).connect(before)
    if before:
        await reader.readuntil(b"\r\n\r\n")
    writer.write(b"GET / HTTP/1.1\r\n" + HOST)
    for number in range(100):
        writer.write(b"X-%d: %s\r\n" % (number, bytes([120]) * 8000))
        await asyncio.sleep(0)
    assert await is_closed(reader)
    assert (200, "here") == await get(served)


async def test_many_headers_and_a_large_body_are_no_long_headers(
    serve: Serve, raw: Any, log: Any
) -> None:
    served = await serve()
    headers = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 4000) for number in range(10))
    reader, writer = await raw(served.port).connect()
    for _ in range(3):
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + headers + b"\r\n")
        assert b" 200 " in await reader.readuntil(b"here")
    writer.write(b"POST / HTTP/1.1\r\n" + HOST + headers + b"Content-Length: 200000\r\n\r\n")
    assert b" 405 " in await reader.readuntil(b"\r\n\r\n")
    for _ in range(20):
        writer.write(b"x" * 10_000)
        await asyncio.sleep(0)
    assert "too long" not in log.text


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("parts", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_a_body_that_is_malformed_is_no_error_of_ours(
    serve: Serve, raw: Any, log: Any, method: bytes, parts: list[bytes]
) -> None:
    served = await serve()
    reader, writer = await raw(served.port).connect(method + b" / HTTP/1.1\r\n" + HOST + parts[0])
    assert (await reader.readline()).split()[1] in (b"200", b"405")
    writer.write(parts[1])
    writer.write_eof()
    assert await is_closed(reader)
    ours = [each for each in log.records if each.name != "asyncio"]
    assert all(each.levelno <= logging.INFO for each in ours), log.text
    assert SECRET not in log.text


async def test_a_wrong_password_is_answered_likewise(serve: Serve, raw: Any, log: Any) -> None:
    served = await serve(users(ann="secret"))
    answer = await raw(served.port).ask(UNAUTHORIZED)
    assert (401, "401: Unauthorized\n") == (answer.status, answer.text)
    assert SECURITY_HEADERS == {name: answer.headers.get(name) for name in SECURITY_HEADERS}
    assert SECRET not in log.text


class TestBriefLines:
    @pytest.fixture
    def brief(self) -> tuple[logs.Brief, list[float]]:
        now = [0.0]
        return logs.Brief(lambda: now[0]), now

    def test_of_one_kind_there_is_one_in_a_minute(self, brief: Any, log: Any) -> None:
        lines, now = brief
        for second in range(121):
            now[0] = float(second)
            lines.error("cannot %s", second)
            lines.warning("another kind")
        own = [each for each in log.messages if each.startswith("cannot")]
        left_out = "(and 59 times since the last line)"
        assert ["cannot 0", f"cannot 60 {left_out}", f"cannot 120 {left_out}"] == own

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (ValueError("hunter2"), "ValueError"),
            (OSError(24, "hunter2", "/hunter2"), "Too many open files"),
            (OSError("hunter2"), "OSError"),
            (UnicodeDecodeError("utf-8", b"hunter2", 0, 1, "hunter2"), "UnicodeDecodeError"),
        ],
    )
    def test_an_error_is_its_kind(
        self, brief: Any, log: Any, error: Exception, expected: str
    ) -> None:
        try:
            raise error
        except Exception as raised:
            brief[0].error("cannot", cause=raised)
        (line,) = log.messages
        assert re.fullmatch(rf"cannot: {expected} at test_malformed_requests\.py:\d+", line), line


class TestHosts:
    @pytest.mark.parametrize(
        "host",
        [
            "localhost", "LocalHost:10464", "localhost.", "pools.localhost:80", "127.0.0.1",
            "127.1.2.3:9", "[::1]", "[::1]:10464", "[::ffff:127.0.0.1]:1", "given", "GIVEN:80",
            "pools.example:8443", "10.1.2.3",
        ],
    )  # fmt: skip
    def test_of_this_machine_are_allowed(self, host: str) -> None:
        hosts = Hosts(("given", "https://pools.example/shop/", "10.1.2.3", ""))
        assert hosts.allows(host)

    @pytest.mark.parametrize(
        "host",
        [
            "", ":80", "evil.example", "evil.example:10464", "localhost.evil.example",
            "127.0.0.1.evil.example", "notlocalhost", "127.0.0.1@evil.example", "10.0.0.1",
            "[::]", "[::2]", "[fe80::1]", "2130706433", "[", "evil.example#localhost", "0",
            "evil.example/localhost", "localhost@evil.example", "given.evil.example", "\x00",
        ],
    )  # fmt: skip
    def test_of_others_are_refused(self, host: str) -> None:
        assert not Hosts(("given",)).allows(host)

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            (b"Host: localhost\r\n", 200),
            (b"", 200),  # no browser
            (b"Host: evil.example\r\n", 403),
            (b"Host:\r\n", 403),
            (b"Host: evil.example\r\nX-Forwarded-Host: localhost\r\n", 403),
            (b"Host: evil.example\r\nOrigin: http://localhost\r\n", 403),
        ],
    )
    @pytest.mark.parametrize("path", [b"/", b"/nothing", b"/fails"])
    async def test_a_listener_of_this_host_accepts_no_others(
        self, serve: Serve, raw: Any, headers: bytes, status: int, path: bytes
    ) -> None:
        served = await serve()
        answer = await raw(served.port).ask(b"GET %s HTTP/1.0\r\n%s\r\n" % (path, headers))
        expected = {b"/nothing": 404, b"/fails": 500}.get(path, 200) if status == 200 else status
        assert expected == answer.status
        if status == 403:
            assert "--web.external-url" in answer.text
            assert 1 == answer.text.count("\n")
            assert "evil" not in answer.text

    @pytest.mark.parametrize(
        ("target", "status"),
        [
            (b"http://localhost/", 200),
            (b"http://127.0.0.1:80/", 200),
            (b"http://evil.example/", 403),
            (b"HTTP://evil.example/", 403),
            (b"http://localhost@evil.example/", 403),
            (b"http://evil.example", 403),
            (b"/?http://evil.example/", 200),
        ],
    )
    async def test_a_host_in_the_request_line_counts_like_the_header(
        self, serve: Serve, raw: Any, target: bytes, status: int
    ) -> None:
        served = await serve()
        answer = await raw(served.port).ask(b"GET %s HTTP/1.1\r\n%s\r\n" % (target, HOST))
        assert status == answer.status

    async def test_a_listener_of_all_addresses_accepts_any(self, serve: Serve, raw: Any) -> None:
        served = await serve(host="0.0.0.0")  # noqa: S104 - as users may
        answer = await raw(served.port).ask(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert 200 == answer.status

    @pytest.mark.parametrize("method", [b"GET", b"OPTIONS"])
    async def test_no_other_site_is_told_that_it_may_read(
        self, serve: Serve, raw: Any, method: bytes
    ) -> None:
        served = await serve()
        cross = b"Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n"
        data = b"%s / HTTP/1.1\r\n%s%s\r\n" % (method, HOST, cross)
        answer = await raw(served.port).ask(data)
        assert [] == [name for name in answer.headers if name.lower().startswith("access-control")]

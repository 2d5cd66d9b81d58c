"""Servers that are no Prometheus and no exporter, or answer badly: one line each, no password."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any, Final

import pytest

from poolscope.cli import main
from poolscope.sizing import http
from poolscope.sizing.http import SourceError
from support.http_servers import Answer, http_servers

SECRET: Final = "open-sesame"  # noqa: S105 - of no server


def answer(
    text: str | bytes,
    code: int = 200,
    reason: str | None = None,
    length: int | None = None,
    location: str | None = None,
) -> Answer:
    body = text.encode() if isinstance(text, str) else text

    def send(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code, reason)
        for name, value in (("Content-Length", length), ("Location", location)):
            if value is not None:
                request.send_header(name, str(value))
        request.end_headers()
        request.wfile.write(body)

    return send


def result(*series: Any) -> Answer:
    return answer(json.dumps({"status": "success", "data": {"result": list(series)}}))


def redirect(to: str) -> Answer:
    return answer("", 302, location=to)


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Returns a function that serves an answer at every path, and returns the address."""
    with http_servers() as start:
        yield lambda send: f"http://127.0.0.1:{start(send)}"


def with_password(url: str) -> str:
    return url.replace("://", f"://me:{SECRET}@")


KEY: Final = {"pool": "orders", "kind": "asyncpg"}

ODD: Final = {
    "not found": answer("", 404),
    "no such user": answer("", 401),
    "a reason of two lines": answer("", 500, "two\x1b lines"),
    "HTML": answer("<html>"),
    "nothing": answer(""),
    "bytes": answer(b"\xff\xfe\x00"),
    "only a part": answer('{"data":', length=10_000),
    "no HTTP": lambda request: request.wfile.write(b"\x00\x01 garbage\r\n\r\n"),
    "a null": answer("null"),
    "a number": answer("5"),
    "a list": answer("[]"),
    "deep": answer("[" * 100_000),
    "metrics of others": answer("# TYPE node_cpu counter\nnode_cpu_total 1\n"),
    "a broken line": answer('connpool_instances{pool="a"\n'),
    "no value": answer('connpool_instances{pool="a",kind="x"} abc\n'),
    "another file": redirect("file:///etc/passwd"),
    "another protocol": redirect("ftp://me@127.0.0.1/"),
    "itself": redirect("/metrics"),
    "an error": answer('{"status": "error", "error": "query timed out"}', 422),
    "an error that is none": answer('{"status": "error", "error": "query timed out"}'),
    "no result": answer('{"data": {"result": null}}'),
    "a result that is a text": answer('{"data": {"result": "abc"}}'),
    "series without points": result({"metric": KEY}),
    "series with other points": result({"metric": KEY, "values": [["a", "b"]]}),
    "series without labels": result({"values": [[1, "2"]]}),
    "no points": result({"metric": KEY, "values": []}),
}


@pytest.mark.parametrize("command", ["size --prometheus", "size --url", "check --url", "top --url"])
@pytest.mark.parametrize("odd", ODD)
def test_a_server_that_answers_otherwise(
    serve: Callable[[Answer], str], capsys: pytest.CaptureFixture[str], odd: str, command: str
) -> None:
    url = with_password(serve(ODD[odd]))
    expected = 1 if command.startswith("size") else 3
    assert expected == main([*command.split(), url])
    printed = capsys.readouterr()
    assert ("", 1) == (printed.out, printed.err.count("\n"))
    assert printed.err.startswith(f"poolscope {command.split(maxsplit=1)[0]}: ")
    assert printed.err.removesuffix("\n").isprintable()
    assert SECRET not in printed.err
    assert len(printed.err) < 250


@pytest.mark.parametrize("odd", ["an error", "an error that is none"])
def test_prometheus_says_what_is_wrong(
    serve: Callable[[Answer], str], capsys: pytest.CaptureFixture[str], odd: str
) -> None:
    assert 1 == main(["size", "--prometheus", serve(ODD[odd])])
    assert capsys.readouterr().err.endswith(": query timed out\n")


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "1e400", "-5"])
def test_series_with_strange_numbers_get_no_advice(
    serve: Callable[[Answer], str], capsys: pytest.CaptureFixture[str], value: str
) -> None:
    labels = {**KEY, "outcome": "ok", "le": "x"}
    series = {"metric": labels, "values": [[1, value], [2, "1"]], "value": [1, value]}
    assert 0 == main(["size", "--prometheus", serve(result(series))])
    assert "orders (asyncpg)" in capsys.readouterr().out
    names = ("instances", "limit", "acquires_total", "in_use_seconds_total", "hold_seconds_bucket")
    lines = [f'connpool_{n}{{pool="o",kind="k",le="x",outcome="ok"}} {value}\n' for n in names]
    assert 0 == main(["size", "--url", serve(answer("".join(lines))), "--for", "1s"])
    assert "o (k): no advice" in capsys.readouterr().out


def test_a_password_is_sent_to_nobody_else(serve: Callable[[Answer], str]) -> None:
    seen: list[str | None] = []

    def note(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers["Authorization"])
        answer("here")(request)

    other = serve(note)
    assert b"here" == http.get(with_password(serve(redirect(f"{other}/there"))))
    assert [None] == seen
    http.get(with_password(other))
    assert seen[1] is not None


def test_an_answer_that_does_not_end(serve: Callable[[Answer], str]) -> None:
    ended = Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        answer("")(request)
        try:
            while True:
                request.wfile.write(b"# and so on\n")
                time.sleep(0.001)
        except OSError:
            ended.set()

    url = serve(drip)
    with pytest.raises(SourceError, match="its answer does not end"):
        http.get(url, timeout=0.5)
    assert ended.wait(60.0)


def test_an_answer_that_is_too_long(
    serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_BYTES", 1 << 20)
    url = serve(answer(b"#" * (2 << 20)))
    with pytest.raises(SourceError, match="its answer is longer than 1 MiB"):
        http.get(url)

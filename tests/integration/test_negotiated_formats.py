"""Each server gives each client the format, and each method the status, that it must have."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import uvicorn
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as text_families

import poolscope
from support.accept_headers import ACCEPT, OPEN, PLAIN
from support.exporters import ExporterProcess
from support.waiting import PATIENCE, until

SHOWN: Final = "connpool_exporter_bad_segments"
"""The family that all of the servers show."""


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Server(NamedTuple):
    """A server at a URL."""

    url: str

    def ask(
        self,
        *headers: tuple[str, str],
        method: str = "GET",
        path: str = "/metrics",
        body: bytes | None = None,
    ) -> Answer:
        """Send exactly these headers, besides Host."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(
            str(address.hostname), address.port, timeout=PATIENCE
        )
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge(SHOWN, "Of the test", registry=registry)
    return registry


@contextmanager
def embedded(registry: CollectorRegistry, _: Path) -> Iterator[str]:
    server, thread = poolscope.start_http_server(0, registry=registry)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(PATIENCE)


@contextmanager
def asgi(registry: CollectorRegistry, _: Path) -> Iterator[str]:
    app: Any = poolscope.make_asgi_app(registry)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        until(lambda: server.started, "uvicorn has started")
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(PATIENCE)


class SilentHandler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def wsgi(registry: CollectorRegistry, _: Path) -> Iterator[str]:
    app: Any = poolscope.make_wsgi_app(registry)
    with make_server("127.0.0.1", 0, app, handler_class=SilentHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(PATIENCE)


@contextmanager
def exporter(_: CollectorRegistry, folder: Path) -> Iterator[str]:
    process = ExporterProcess(folder)
    yield process.url
    process.kill()


SERVERS: Final = (embedded, asgi, wsgi, exporter)


@pytest.fixture(scope="module", params=SERVERS, ids=lambda run: run.__name__)
def server(
    request: pytest.FixtureRequest,
    registry: CollectorRegistry,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    with request.param(registry, tmp_path_factory.mktemp("folder") / "poolscope") as url:
        yield Server(url)


def check(answer: Answer, content_type: str) -> None:
    """Check that the answer is what it says it is."""
    assert (200, content_type) == (answer.status, answer.headers["Content-Type"])
    assert ["Accept, Accept-Encoding"] == answer.headers.get_all("Vary")
    assert [str(len(answer.body))] == answer.headers.get_all("Content-Length")
    body = answer.body
    if answer.headers["Content-Encoding"] == "gzip":
        body = gzip.decompress(body)
    parse: Any = open_families if OPEN.split(";")[0] in content_type else text_families
    assert SHOWN in [family.name for family in parse(body.decode())]


@pytest.mark.parametrize("accept", ACCEPT)
def test_each_client_gets_its_format(server: Server, accept: str) -> None:
    answer = server.ask(("Accept", accept))
    check(answer, ACCEPT[accept])
    assert answer.headers["Content-Encoding"] is None


def test_a_client_without_any_header_gets_text(server: Server) -> None:
    check(server.ask(), PLAIN)


def test_several_headers_are_one_list(server: Server) -> None:
    several = "text/html", "application/openmetrics-text;q=0.5", "text/plain;q=0.4"
    encodings = ("Accept-Encoding", "br"), ("Accept-Encoding", "gzip;q=0.5")
    answer = server.ask(*(("Accept", each) for each in several), *encodings)
    check(answer, OPEN)
    assert "gzip" == answer.headers["Content-Encoding"]


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("*", "gzip"),
        ("identity;q=0, gzip;q=0.5", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0, *", None),
        ("identity", None),
        ("br", None),
        ("", None),
    ],
)
def test_each_client_gets_its_compression(
    server: Server, accept_encoding: str, expected: str | None
) -> None:
    for accept in ("", OPEN):
        answer = server.ask(("Accept", accept), ("Accept-Encoding", accept_encoding))
        check(answer, OPEN if accept else PLAIN)
        assert expected == answer.headers["Content-Encoding"]


HEADERS: Final = "Content-Type", "Content-Length", "Content-Encoding", "Vary"


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", f"/metrics?name[]={SHOWN}"])
@pytest.mark.parametrize("accept_encoding", ["gzip", "identity"])
def test_head_is_get_without_the_body(server: Server, path: str, accept_encoding: str) -> None:
    # The seconds of a scrape differ in their length from one to the next.
    stable = path if "?" in path else f"{path}?name[]={SHOWN}"
    asked = ("Accept", OPEN), ("Accept-Encoding", accept_encoding)
    got, head = (server.ask(*asked, method=method, path=stable) for method in ("GET", "HEAD"))
    assert (200, 200, b"") == (got.status, head.status, head.body)
    assert [got.headers[name] for name in HEADERS] == [head.headers[name] for name in HEADERS]


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]
)
@pytest.mark.parametrize("body", [None, b"x" * 1000])
def test_other_methods_are_not_allowed(server: Server, method: str, body: bytes | None) -> None:
    answer = server.ask(method=method, body=body)
    assert 405 == answer.status
    assert {"GET", "HEAD"} == {each.strip() for each in answer.headers["Allow"].split(",")}
    assert "Accept, Accept-Encoding" == answer.headers["Vary"]
    assert SHOWN.encode() not in answer.body


@pytest.mark.parametrize(
    ("query", "shows"),
    [
        ("", True),
        ("name[]", True),
        ("name[]=", True),
        ("&&==&;%zz%", True),
        ("a=b=c&d", True),
        (f"name%5B%5D={SHOWN}", True),
        (f"name[]={SHOWN}&name[]=%ff%00%", True),
        ("name[]=nothing", False),
        ("name[]=%ff", False),
        ("name[]=" + "x" * 5000, False),
    ],
)
def test_no_query_is_an_error(server: Server, query: str, shows: bool) -> None:
    answer = server.ask(path=f"/metrics?{query}")
    assert (200, shows) == (answer.status, SHOWN.encode() in answer.body)

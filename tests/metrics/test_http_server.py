"""`/metrics` of a service: as a server of its own, and mounted in FastAPI."""

from __future__ import annotations

import asyncio
import errno
import gzip
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import sqlalchemy
from fastapi import FastAPI
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    generate_latest,
)
from prometheus_client.openmetrics import parser
from prometheus_client.openmetrics.exposition import generate_latest as open_metrics_text
from prometheus_client.registry import Collector

import poolscope
from poolscope.metrics.rendering import rendered, wanted
from poolscope.watching.watch import Watch
from poolscope.watching.watches import Watches
from support.created import without_created
from support.waiting import PATIENCE


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def engine(sqlite: Callable[..., sqlalchemy.Engine]) -> sqlalchemy.Engine:
    return sqlite(pool_size=3)


@pytest.fixture
def watch(watches: Watches, engine: sqlalchemy.Engine, registry: CollectorRegistry) -> Watch:
    return watches.watch(engine, "orders", registry=registry)


@pytest.fixture
def address(watch: Watch, registry: CollectorRegistry) -> Iterator[str]:
    server, thread = poolscope.start_http_server(port=0, registry=registry)
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


parse: Any = parser.text_string_to_metric_families  # it has no type annotations

IN_USE = 'connpool_connections{kind="sqlalchemy",pool="orders",state="in_use"} 1.0'


def test_the_server_serves_the_current_numbers(address: str, engine: sqlalchemy.Engine) -> None:
    with engine.connect(), urllib.request.urlopen(address) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        assert IN_USE in response.read().decode().splitlines()


def test_the_server_negotiates_open_metrics_and_gzip(
    address: str, engine: sqlalchemy.Engine
) -> None:
    headers = {"Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"}
    request = urllib.request.Request(address, headers=headers)
    with engine.connect(), urllib.request.urlopen(request) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        text = gzip.decompress(response.read()).decode()
    families = {family.name: family for family in parse(text)}
    states = {
        sample.labels["state"]: sample.value for sample in families["connpool_connections"].samples
    }
    assert {"in_use": 1.0, "idle": 0.0, "opening": 0.0} == states


def test_the_server_listens_on_the_loopback_interface_by_default(watch: Watch) -> None:
    server, thread = poolscope.start_http_server(port=0, registry=CollectorRegistry())
    assert "127.0.0.1" == server.server_address[0]
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_error_names_a_port_that_is_in_use(
    watch: Watch, engine: sqlalchemy.Engine, registry: CollectorRegistry
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            OSError, match=rf"cannot serve metrics at 127\.0\.0\.1:{port}: .*in use"
        ) as raised:
            poolscope.start_http_server(port=port, registry=registry)
    assert errno.EADDRINUSE == raised.value.errno
    assert "set POOLSCOPE_DIR and run poolscope exporter" in str(raised.value)
    engine.connect().close()
    assert 1 == watch.snapshot().acquired


async def test_the_app_can_be_mounted_in_a_fastapi_app(
    watch: Watch, engine: sqlalchemy.Engine, registry: CollectorRegistry
) -> None:
    app = FastAPI()
    app.mount("/metrics", poolscope.make_asgi_app(registry=registry))

    @app.get("/orders")
    def orders() -> int:
        with engine.connect() as connection:
            return int(connection.scalar(sqlalchemy.text("SELECT 7")) or 0)

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        assert 7 == (await client.get("/orders")).json()
        response = await client.get("/metrics")
    lines = response.text.splitlines()
    assert 200 == response.status_code
    assert 'connpool_acquires_total{kind="sqlalchemy",outcome="ok",pool="orders"} 1.0' in lines
    assert 'connpool_connections{kind="sqlalchemy",pool="orders",state="idle"} 1.0' in lines


ACCEPTED: dict[str, tuple[Callable[[Any], bytes], str]] = {
    "": (generate_latest, "text/plain; version=0.0.4; charset=utf-8"),
    "text/plain;version=0.0.4": (generate_latest, "text/plain; version=0.0.4; charset=utf-8"),
    "application/openmetrics-text": (
        open_metrics_text,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    ),
    "application/openmetrics-text;version=1.0.0,text/plain;q=0.5": (
        open_metrics_text,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    ),
}


@pytest.mark.parametrize("accept", ACCEPTED)
@pytest.mark.parametrize("names", [None, ["python_info", "connpool_acquires_total"], ["nothing"]])
def test_the_parts_are_the_text_of_prometheus_client(
    watch: Watch, registry: CollectorRegistry, accept: str, names: list[str] | None
) -> None:
    Counter("orders", "Orders", registry=registry).inc(exemplar={"trace": "7"})
    Histogram("paid", "Payments", ["by"], registry=registry).labels("card").observe(0.5)
    selected: Any = registry
    query = ""
    if names is not None:
        selected = registry.restricted_registry(names)
        query = "&".join(f"name[]={name}" for name in names)
    encode, content_type = ACCEPTED[accept]
    plain = rendered(registry, wanted(accept, "", query))
    expected = encode(selected)
    # Those of pools that say since when they count are not in prometheus_client's text.
    body = b"".join(plain.parts)
    assert expected == without_created(body)
    assert {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "Vary": "Accept, Accept-Encoding",
    } == dict(plain.headers)
    compressed = rendered(registry, wanted(accept, "br;q=1.0, gzip;q=0.8", query))
    body = b"".join(compressed.parts)
    assert expected == without_created(gzip.decompress(body))
    headers = dict(compressed.headers)
    assert ("gzip", str(len(body))) == (headers["Content-Encoding"], headers["Content-Length"])


@pytest.fixture
def many_pools(watches: Watches, registry: CollectorRegistry) -> list[Any]:
    """50 pools in the registry."""
    pools = [sqlalchemy.QueuePool(lambda: None) for _ in range(50)]  # type: ignore[arg-type]
    for number, pool in enumerate(pools):
        watches.watch(pool, f"pool-{number}", registry=registry)
    return pools


def test_each_part_is_a_fraction_of_the_text(
    many_pools: list[Any], registry: CollectorRegistry
) -> None:
    sizes = [len(part) for part in rendered(registry, wanted("", "", "")).parts]
    assert max(sizes) < sum(sizes) / 4


def test_a_compressed_text_is_smaller(many_pools: list[Any], registry: CollectorRegistry) -> None:
    plain, compressed = (
        rendered(registry, wanted("", accept, "")).parts for accept in ("", "gzip")
    )
    assert sum(map(len, compressed)) < sum(map(len, plain)) / 10


async def test_the_app_serves_only_the_names_in_the_query(
    watch: Watch, registry: CollectorRegistry
) -> None:
    app = poolscope.make_asgi_app(registry)
    _, body = await get(app, query=b"name[]=connpool_limit&name[]=connpool_waiting")
    names = ["connpool_limit", "connpool_waiting"]
    assert generate_latest(registry.restricted_registry(names)) == body
    assert b"connpool_limit{" in body


def test_the_wsgi_app_gives_the_parts_one_by_one(
    many_pools: list[Any], registry: CollectorRegistry
) -> None:
    app = poolscope.make_wsgi_app(registry)
    started: list[Any] = []
    query = "name[]=connpool_limit&name[]=connpool_waiting"
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/metrics",
        "QUERY_STRING": query,
        "HTTP_ACCEPT": "application/openmetrics-text",
        "HTTP_ACCEPT_ENCODING": "gzip",
    }
    parts = list(app(environ, lambda *arguments: started.append(arguments)))
    expected = rendered(registry, wanted("application/openmetrics-text", "gzip", query))
    assert ([("200 OK", expected.headers)], expected.parts) == (started, parts)
    assert len(parts) > 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics/", 200),
        ("HEAD", "/metrics", 200),
        ("HEAD", "/metrics/", 200),
        ("OPTIONS", "/metrics", 405),
        ("POST", "/metrics", 405),
        ("DELETE", "/metrics/", 405),
        ("GET", "/favicon.ico", 404),
        ("GET", "/", 404),
        ("HEAD", "/nothing", 404),
        ("GET", "/metrics/nothing", 404),
    ],
)
def test_the_server_answers_each_method_and_path(
    address: str, registry: CollectorRegistry, method: str, path: str, status: int
) -> None:
    answer = httpx.request(method, httpx.URL(address).join(path), timeout=PATIENCE)
    shows_metrics = (method, status) == ("GET", 200)
    assert (status, shows_metrics) == (answer.status_code, "connpool_limit" in answer.text)
    if method == "HEAD":
        assert "" == answer.text
        assert int(answer.headers["Content-Length"]) > 0
    assert "Accept, Accept-Encoding" == answer.headers["Vary"]
    if status == 405:
        assert "GET, HEAD" == answer.headers["Allow"]
    if status == 404:
        assert method == "HEAD" or "404 Not Found: the metrics are at /metrics\n" == answer.text


def test_the_default_registry_is_that_of_prometheus_client(address: str, sqlite: Any) -> None:
    engine = sqlite()
    with poolscope.watch(engine, "default registry"):
        server, thread = poolscope.start_http_server(port=0)
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        text = urllib.request.urlopen(url).read().decode()
        server.shutdown()
        server.server_close()
        thread.join()
    assert 'connpool_instances{kind="sqlalchemy",pool="default registry"} 1.0' in text
    assert "python_info" in text


class BlockingCollector(Collector):
    """Blocks in `collect` until `released` is set."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def collect(self) -> Iterable[Metric]:
        if not self.released.wait(PATIENCE):
            raise TimeoutError
        return []


async def get(
    app: Any, kind: str = "http", query: bytes = b"", **headers: str
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of the app's answer."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
    await app({"type": kind, "headers": raw_headers, "query_string": query}, None, send)
    start, *parts = messages
    assert (200, False) == (start["status"], parts[-1].get("more_body", False))
    return (
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(part["body"] for part in parts),
    )


@pytest.mark.parametrize("threads", ["free", "busy"])
async def test_the_event_loop_keeps_running_while_the_app_collects(
    registry: CollectorRegistry, threads: str
) -> None:
    """Even if all threads of the service are busy, for example waiting for connections."""
    collector, end = BlockingCollector(), threading.Event()
    registry.register(collector)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as executor:
        loop.set_default_executor(executor)
        if threads == "busy":
            loop.run_in_executor(None, end.wait)
        answer = asyncio.create_task(get(poolscope.make_asgi_app(registry), accept="text/plain"))
        loop.call_later(0.0, collector.released.set)
        headers, body = await answer
        end.set()
    assert (b"", "0") == (body, headers["content-length"])


def test_the_app_does_not_need_asyncio(watch: Watch, registry: CollectorRegistry) -> None:
    """A server may use the event loop of another library."""
    request = get(poolscope.make_asgi_app(registry))
    with pytest.raises(StopIteration) as ended:
        request.send(None)
    _, body = ended.value.value
    assert generate_latest(registry) == body


async def test_the_app_refuses_anything_but_http(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="HTTP only, not by websocket"):
        await get(poolscope.make_asgi_app(registry), "websocket")


async def test_a_collector_that_fails_leaves_no_half_of_a_response(
    watch: Watch, registry: CollectorRegistry, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    collector = BlockingCollector()
    collector.released = None  # type: ignore[assignment]  # so that it fails
    registry.register(collector)
    with pytest.raises(AttributeError):
        await get(poolscope.make_asgi_app(registry))
    assert 500 == (await asyncio.to_thread(httpx.get, address, timeout=PATIENCE)).status_code
    (record,) = (record for record in caplog.records if record.name == "poolscope")
    assert "AttributeError" in caplog.text
    assert "cannot serve the metrics" in record.message


def test_promtool_has_no_complaint_about_the_metrics(
    address: str, engine: sqlalchemy.Engine, promtool: str
) -> None:
    engine.connect().close()
    text = urllib.request.urlopen(address).read()
    result = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (0, b"", b"") == (result.returncode, result.stdout, result.stderr)

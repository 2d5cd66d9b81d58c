"""`/metrics` from inside a service: as a server, and mounted in FastAPI."""

from __future__ import annotations

import gzip
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import parser

import poolscope
from poolscope.watch import Watch, Watches


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def engine() -> sqlalchemy.Engine:
    return sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool, pool_size=3)


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


parse: Any = parser.text_string_to_metric_families  # which has no types

IN_USE = 'connpool_connections{kind="sqlalchemy",pool="orders",state="in_use"} 1.0'


def test_the_server_serves_what_is_now(address: str, engine: sqlalchemy.Engine) -> None:
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


def test_it_listens_on_loopback_only_unless_told_otherwise(watch: Watch) -> None:
    server, thread = poolscope.start_http_server(port=0, registry=CollectorRegistry())
    assert "127.0.0.1" == server.server_address[0]
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_port_that_is_in_use_is_named(
    watch: Watch, engine: sqlalchemy.Engine, registry: CollectorRegistry
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            OSError, match=rf"cannot serve metrics at 127\.0\.0\.1:{port}: .*in use"
        ):
            poolscope.start_http_server(port=port, registry=registry)
    engine.connect().close()
    assert 1 == watch.snapshot().acquired


async def test_it_is_mounted_in_a_fastapi_app(
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
        response = await client.get("/metrics/")
    lines = response.text.splitlines()
    assert 200 == response.status_code
    assert 'connpool_acquires_total{kind="sqlalchemy",outcome="ok",pool="orders"} 1.0' in lines
    assert 'connpool_connections{kind="sqlalchemy",pool="orders",state="idle"} 1.0' in lines


def test_the_default_registry_is_prometheus_clients_own(address: str) -> None:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
    with poolscope.watch(engine, "default registry"):
        server, thread = poolscope.start_http_server(port=0)
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        text = urllib.request.urlopen(url).read().decode()
        server.shutdown()
        server.server_close()
        thread.join()
    assert 'connpool_instances{kind="sqlalchemy",pool="default registry"} 1.0' in text
    assert "python_info" in text


def test_promtool_finds_nothing_to_say_about_the_metrics(
    address: str, engine: sqlalchemy.Engine, promtool: str
) -> None:
    engine.connect().close()
    text = urllib.request.urlopen(address).read()
    result = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (0, b"", b"") == (result.returncode, result.stdout, result.stderr)

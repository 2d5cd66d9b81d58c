"""The exporter and a real PostgreSQL: the pools' numbers beside those of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import sqlalchemy
from playwright.async_api import expect

from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches
from support.browsers import opened_tab
from support.exporters import ExporterProcess
from support.ports import closed_port
from support.waiting import eventually

NOWHERE = f"127.0.0.1:{closed_port()}"


@pytest.fixture
def exporter(folder: Path, postgres: Any) -> Iterator[ExporterProcess]:
    """An exporter that asks the real server, and one that does not exist."""
    nowhere = f"postgresql://exporter:secret@{NOWHERE}/postgres"
    exporter = ExporterProcess(folder, "--postgres", postgres.dsn, "--postgres", nowhere)
    yield exporter
    exporter.kill()


@pytest.fixture
def name(postgres: Any) -> str:
    """The name of the server in the exporter."""
    return f"{unquote(postgres.dsn.partition('host=')[2])}:5432"


@pytest.fixture
def orders(exporter: Any, folder: Path, engines: Any) -> Iterator[sqlalchemy.Engine]:
    """A pool of this process, in the folder, with one connection in use and one idle."""
    watches = Watches(folder=Folder(folder))
    engine = engines(pool_size=5, max_overflow=295)
    watches.watch(engine, "orders", registry=None, application_name="shop")
    with engine.connect() as connection:
        engine.connect().close()
        connection.begin()
        yield engine


def connections(exporter: Any) -> dict[str, float]:
    """Return the number of the pool's connections by state, as the server sees them."""
    return {
        dict(labels)["state"]: value
        for (family, labels), value in exporter.scrape().items()
        if family == "connpool_server_connections" and ("application", "shop:orders") in labels
    }


async def test_the_connections_that_the_server_sees_are_beside_those_of_the_pool(
    exporter: Any, orders: sqlalchemy.Engine, name: str
) -> None:
    await eventually({"idle": 2.0}, lambda: connections(exporter))
    samples = exporter.scrape()
    servers = {"connpool_server_up": 1.0, "connpool_server_limit": 100.0}
    for family, value in servers.items():
        assert value == samples[family, frozenset({("server", name)})]
    assert 0.0 == samples["connpool_server_up", frozenset({("server", NOWHERE)})]
    rule = {"rule": "overcommitted", "severity": "warning"}
    labels = {"pool": "orders", "kind": "sqlalchemy", **rule}
    assert 1.0 == samples["connpool_finding", frozenset(labels.items())]
    document = json.loads(exporter.get("/api/v1/pools")[2])
    (pool,) = document["pools"]
    assert [{"server": name, "connections": 2}] == pool["servers"]
    (finding,) = [f for f in pool["findings"] if f["rule"] == "overcommitted"]
    accepts = int(100 - samples["connpool_server_reserved", frozenset({("server", name)})])
    assert finding["message"] == (
        f"{name} accepts {accepts} connections, but the pools that connect to it may open 300"
    )
    up, down = document["servers"]
    assert (True, 300, False, None) == (up["up"], up["promised"], down["up"], down["promised"])
    assert b"secret" not in exporter.get("/metrics")[2] + json.dumps(document).encode()


async def test_the_page_shows_the_pool_and_both_servers(
    exporter: Any, orders: sqlalchemy.Engine, name: str
) -> None:
    async with opened_tab(f"{exporter.url}/pools") as tab:
        pool, up, down = (tab.page.locator(".pool").nth(number) for number in range(3))
        await expect(pool.locator(".facts")).to_contain_text(f"{name} sees2 connections")
        await expect(up.locator("h2")).to_have_text(name)
        await expect(up.locator(".numbers")).to_contain_text(
            "the pools that connect to it may open 300"
        )
        await expect(down.locator(".state")).to_have_text("does not answer")
        await up.locator("summary").click()
        await expect(up.locator("tbody")).to_contain_text("shop:orders:")
        await tab.picture("servers")
        assert [] == tab.complaints


def test_no_password_is_in_the_log(exporter: Any) -> None:
    assert NOWHERE == exporter.wait_for_event("server-down")["server"]
    exporter.stop()
    assert "secret" not in json.dumps(exporter.log)

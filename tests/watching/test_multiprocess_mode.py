"""In prometheus_client's multiprocess mode, a service is told how to get metrics of its pools."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from poolscope.fleet.folder import Folder
from poolscope.watching.multiprocess_mode import VARIABLES
from poolscope.watching.watches import Watches
from support.logs import messages_of_poolscope
from support.waiting import PATIENCE


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture(autouse=True)
def off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode is off until a test turns it on."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def line(variable: str) -> str:
    return (
        f"{variable} is set, but the page of prometheus_client's multiprocess mode has no metrics "
        "of pools, and each process serves only its own; set POOLSCOPE_DIR and run poolscope "
        "exporter"
    )


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLES[0], str(tmp_path))


@pytest.mark.parametrize("variable", VARIABLES)
async def test_one_line_says_what_to_set(
    watches: Watches,
    registry: CollectorRegistry,
    sqlite: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
) -> None:
    monkeypatch.setenv(variable, "/somewhere")
    async with aiohttp.ClientSession() as session:
        targets = asyncpg.create_pool(min_size=0), sqlite(), session
        for target in (*targets, targets[0]):
            watches.watch(target, registry=registry)
    assert [line(variable)] == messages_of_poolscope(caplog)
    (record,) = caplog.records
    assert ("poolscope", "WARNING") == (record.name, record.levelname)


@pytest.mark.usefixtures("on")
def test_threads_that_watch_at_once_log_it_once(
    watches: Watches, registry: CollectorRegistry, sqlite: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engines = [sqlite() for _ in range(4)]
    together = threading.Barrier(len(engines), timeout=PATIENCE)

    def begin(engine: Any) -> None:
        together.wait()
        watches.watch(engine, registry=registry)

    with ThreadPoolExecutor(len(engines)) as threads:
        list(threads.map(begin, engines))
    assert [line(VARIABLES[0])] == messages_of_poolscope(caplog)


@pytest.mark.usefixtures("on")
def test_pools_that_are_shared_need_no_line(
    registry: CollectorRegistry,
    sqlite: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = sqlite()
    Watches(folder=Folder(folder)).watch(given, registry=registry)
    monkeypatch.setenv("POOLSCOPE_DIR", str(folder))
    named = sqlite()
    Watches().watch(named, registry=CollectorRegistry())
    assert [] == messages_of_poolscope(caplog)


@pytest.mark.usefixtures("on")
def test_a_pool_without_a_registry_needs_no_line(
    watches: Watches, sqlite: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = sqlite()
    watches.watch(engine, registry=None)
    assert [] == messages_of_poolscope(caplog)


def test_without_the_mode_there_is_no_line(
    watches: Watches, registry: CollectorRegistry, sqlite: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = sqlite()
    watches.watch(engine, registry=registry)
    assert [] == messages_of_poolscope(caplog)

"""Fixtures that every test may use."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg
import pytest
import sqlalchemy

from poolscope.callsites import traces
from poolscope.errors import internal_errors
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support import environment
from support.tools import required
from support.tracing import Tracing
from support.web import Server
from support.workers import Worker

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres


def pytest_configure() -> None:
    environment.leave_out()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL server, the same for all tests."""
    from poolscope.demo.postgres import embedded_postgres

    with embedded_postgres() as server:
        yield server


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for Unix sockets, whose paths have at most 107 bytes, wherever tests write."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def tracing() -> Iterator[Tracing]:
    """The test's own traces of OpenTelemetry."""
    traces.look_for_tracing()
    assert traces.tracers
    yield Tracing()
    traces.tracers.clear()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def watches(clock: FakeClock) -> Watches:
    """A set of watches of the test's own, whose clock the test advances."""
    return Watches(clock)


@pytest.fixture(autouse=True)
def no_tracing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have imported changes nothing: only `tracing` brings OpenTelemetry."""
    if "tracing" not in request.fixturenames:
        monkeypatch.setattr(traces, "_MODULE", "a module that nobody imports")
        traces.tracers.clear()


@pytest.fixture(autouse=True)
def no_internal_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test if a hook of poolscope failed, unless the test makes one fail."""
    before = internal_errors.count
    yield
    if "makes_hooks_fail" in request.keywords:
        internal_errors.count, internal_errors._numbers = before, itertools.count(before + 1)
    assert internal_errors.count == before


@pytest.fixture
def collect() -> Iterator[None]:
    """Collect garbage before and after, for tests that depend on what was collected."""
    gc.collect()
    yield
    gc.collect()


@pytest.fixture(scope="session")
def promtool() -> str:
    """
    The path of promtool, or what PROMTOOL says. Without it the test is skipped, and fails in CI.
    """
    return os.environ.get("PROMTOOL") or required("promtool", "prometheus")


@pytest.fixture(scope="session")
def amtool() -> str:
    """The path of amtool, as above."""
    return required("amtool", "prometheus-alertmanager")


@pytest.fixture(scope="session")
def openssl_program() -> str:
    """The path of openssl. Without it the test is skipped, and fails in CI."""
    return required("openssl", "openssl")


@pytest.fixture
def engines(postgres: EmbeddedPostgres) -> Iterator[Any]:
    """Makes engines on the real server, and disposes of them."""
    made = []

    def make(**options: Any) -> sqlalchemy.Engine:
        engine = sqlalchemy.create_engine(postgres.sqlalchemy_url("psycopg"), **options)
        made.append(engine)
        return engine

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def sqlite() -> Iterator[Callable[..., sqlalchemy.Engine]]:
    """Makes engines without a server, and disposes of them."""
    made = []

    def make(**options: Any) -> sqlalchemy.Engine:
        # This thread has to close connections that another thread has opened.
        shared = {"connect_args": {"check_same_thread": False}}
        options = {"poolclass": sqlalchemy.QueuePool, **shared, **options}
        made.append(sqlalchemy.create_engine("sqlite://", **options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
async def pools(postgres: EmbeddedPostgres) -> AsyncIterator[Any]:
    """Makes asyncpg pools on the real server, and terminates them."""
    made = []

    def make(**options: Any) -> Any:
        made.append(asyncpg.create_pool(postgres.dsn, **{"min_size": 0, "max_size": 2, **options}))
        return made[-1]

    yield make
    for pool in made:
        if pool._initialized:
            pool.terminate()
        for holder in pool._holders:
            # Before 0.32 a closed pool does not close a connection in use.
            holder.terminate()
    await asyncio.sleep(0)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A web server whose responses end when the test ends them."""
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def sessions() -> AsyncIterator[Any]:
    """Makes aiohttp sessions with a connector of the given options, and closes them."""
    made = []

    def make(trace: aiohttp.TraceConfig | None = None, **options: Any) -> aiohttp.ClientSession:
        configs = [trace] if trace else []
        connector = aiohttp.TCPConnector(**options)
        made.append(aiohttp.ClientSession(connector=connector, trace_configs=configs))
        return made[-1]

    yield make
    for session in made:
        await session.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that processes share (POOLSCOPE_DIR)."""
    return tmp_path / "pools"


@pytest.fixture
def workers(folder: Path) -> Iterator[Callable[..., Worker]]:
    """Starts processes whose pools are in the folder, and kills them afterwards."""
    made: list[Worker] = []

    def make(name: str = "orders", within: Sequence[str] = (), **options: Any) -> Worker:
        made.append(Worker(folder, name, within, **options))
        return made[-1]

    yield make
    for worker in made:
        worker.kill()

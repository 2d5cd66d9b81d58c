"""The line in the log when a pool is closed with connections in use: for every kind of pool."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import aiohttp
import pytest
import sqlalchemy
from sqlalchemy import pool as classes

from contract.pools import PoolUnderTest, Session
from contract.test_holds import asks
from poolscope import Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.logs import without_places
from support.web import Server

# Connections that come back to a pool that was replaced are collected with it.
pytestmark = [
    pytest.mark.usefixtures("collect"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*garbage collector:sqlalchemy.exc.SAWarning"),
]


def lines(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """Return the records about closing."""
    records: list[Any] = [record for record in caplog.records if hasattr(record, "poolscope")]
    return [record for record in records if record.poolscope["event"] == "closing"]


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches) -> Watch:
    return watches.watch(pool.target, "pool", registry=None)


async def closed_with(pool: PoolUnderTest, *connections: Any) -> None:
    """Close the pool; return these connections as soon as it is being closed."""
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    for connection in connections:
        if isinstance(pool, Session):
            connection.close()
        else:
            await pool.release(connection)
    await closing


async def test_a_pool_that_is_closed_says_who_holds_its_connections(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    first = await pool.acquire()
    clock.advance(2.0)
    second = await pool.acquire()
    clock.advance(1.0)
    site = watch.holders()[0].site
    assert str(site).endswith(f" in {asks(pool)}")
    await closed_with(pool, first, second)
    (line,) = lines(caplog)
    assert {
        "event": "closing",
        "pool": "pool",
        "kind": pool.kind,
        "in_use": 2,
        "abandoned": 0,
        "holders": [{"site": site, "operation": None, "count": 2, "oldest_seconds": 3.0}],
    } == without_places(line.poolscope)
    assert line.levelname == "WARNING"
    message = without_places(line.getMessage())
    assert message.startswith(
        f"pool 'pool' ({pool.kind}): it is being closed with 2 in use, 0 of them abandoned; "
    )
    assert message.endswith(f"; held by 2 x {site} (oldest 3.0 s)")
    assert {
        "sqlalchemy": "; they stay open until they are returned; ",
        "asyncpg": "; it waits until they are returned; ",
        "aiohttp": "; they are cut off; ",
    }[pool.kind] in message


async def test_a_pool_that_is_closed_in_order_says_nothing(
    pool: PoolUnderTest, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    await pool.release(await pool.acquire())
    await pool.close()
    await pool.close()
    assert (1, []) == (watch.snapshot().acquired, lines(caplog))


async def test_a_pool_that_is_no_longer_watched_says_nothing(
    pool: PoolUnderTest, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    held = await pool.acquire()
    watch.unwatch()
    await closed_with(pool, held)
    assert [] == lines(caplog)


async def test_a_lost_connection_is_named_as_such(
    pools: Any, watches: Watches, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await pools()
    watches.watch(pool, registry=None)

    async def lose() -> None:
        await pool.acquire(timeout=1)

    await asyncio.create_task(lose())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.close(), 0.01)
    (line,) = lines(caplog)  # although `close` calls `terminate` when it is cancelled
    assert (1, 1) == (line.poolscope["in_use"], line.poolscope["abandoned"])
    assert ".lose (" in line.getMessage()


async def test_a_pool_that_is_terminated(
    pools: Any, watches: Watches, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await pools()
    watches.watch(pool, registry=None)
    held = await pool.acquire(timeout=1)
    pool.terminate()
    pool.terminate()
    (line,) = lines(caplog)
    assert "; they are cut off; " in line.getMessage()
    del held


class TestEnginesThatAreDisposedOf:
    """What is no mistake has no line."""

    def said(self, engine: Any, watches: Watches, caplog: Any, **how: bool) -> list[str]:
        watches.watch(engine, registry=None)
        with engine.connect():
            engine.dispose(**how)
        return [line.getMessage().split("; ")[1] for line in lines(caplog)]

    @pytest.mark.parametrize(
        ("poolclass", "said"),
        [
            (classes.QueuePool, ["they stay open until they are returned"]),
            (classes.NullPool, []),
            (classes.StaticPool, ["they are closed now"]),
            (classes.SingletonThreadPool, ["they are closed now"]),
        ],
    )
    def test_each_class(
        self, poolclass: Any, said: list[str], sqlite: Any, watches: Watches, caplog: Any
    ) -> None:
        assert said == self.said(sqlite(poolclass=poolclass), watches, caplog)

    def test_a_pool_that_is_only_replaced(self, sqlite: Any, watches: Watches, caplog: Any) -> None:
        assert [] == self.said(sqlite(), watches, caplog, close=False)

    def test_a_detached_connection(self, sqlite: Any, watches: Watches, caplog: Any) -> None:
        engine = sqlite()
        watches.watch(engine, registry=None)
        with engine.connect() as connection:
            connection.detach()
            engine.dispose()
        assert [] == lines(caplog)


class TestSessions:
    async def test_a_session_that_does_not_own_its_connector(
        self, server: Server, watches: Watches, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with aiohttp.TCPConnector() as connector:
            session = aiohttp.ClientSession(connector=connector, connector_owner=False)
            watches.watch(session, registry=None)
            response = await session.get(f"{server.url}/stream/x")
            await session.close()
            assert [] == lines(caplog)
            response.close()

    async def test_nothing_is_logged_when_a_session_is_collected(
        self, server: Server, watches: Watches, caplog: pytest.LogCaptureFixture
    ) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        session = aiohttp.ClientSession()
        watch = watches.watch(session, registry=None)
        response = await session.get(f"{server.url}/stream/x")
        del session
        gc.collect()
        assert [] == lines(caplog)
        response.close()
        del response
        gc.collect()
        assert 0 == watch.snapshot().in_use


def test_a_thread_that_holds_a_connection(
    engines: Any, watches: Watches, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engines()
    watches.watch(engine, registry=None)
    with engine.connect() as connection:
        engine.dispose()
        connection.execute(sqlalchemy.text("SELECT 1"))  # it works until it is returned
    engine.dispose()
    assert 1 == len(lines(caplog))

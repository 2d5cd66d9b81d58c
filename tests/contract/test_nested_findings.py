"""To nest is a mistake only where a caller may have to wait: in a pool that is half full."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool, SingletonThreadPool, StaticPool

from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.callsites.borrower import Borrower
from poolscope.ledger.ledger import Ledger
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE, eventually
from support.web import Server

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

Take = Callable[[], Any]


def nests(watch: Watch) -> bool:
    return "nested-acquire" in [finding.rule for finding in watch.findings()]


class TestSyncPools:
    @pytest.mark.parametrize(
        "options",
        [
            {"poolclass": NullPool},
            {"max_overflow": -1},
            {"pool_size": 0},
            {"pool_size": 1, "max_overflow": -1},
            {},  # 5 connections, and 10 more
            {"pool_size": 5, "max_overflow": 0},
            {"pool_size": 10, "max_overflow": 0, "pool_pre_ping": True},
        ],
    )
    def test_where_nobody_can_wait_there_is_no_finding(
        self, engines: Any, watches: Watches, options: dict[str, Any]
    ) -> None:
        engine = engines(**options)
        watch = watches.watch(engine, registry=None)
        for _ in range(2):
            with engine.connect(), engine.connect():
                pass
        assert (2, False) == (watch.snapshot().nested, nests(watch))

    @pytest.mark.parametrize("poolclass", [StaticPool, SingletonThreadPool])
    def test_a_pool_that_shares_its_connection_has_no_finding(
        self, sqlite: Any, watches: Watches, poolclass: type
    ) -> None:
        engine = sqlite(poolclass=poolclass)
        watch = watches.watch(engine, registry=None)
        for _ in range(2):
            with engine.connect(), engine.connect():
                pass
        assert not nests(watch)

    @pytest.mark.parametrize(
        "options",
        [
            {"pool_size": 1, "max_overflow": 1},
            {"pool_size": 2, "max_overflow": 0},
            {"pool_size": 2, "max_overflow": 0, "pool_pre_ping": True},
        ],
    )
    def test_who_takes_the_last_connection_is_found(
        self, engines: Any, watches: Watches, options: dict[str, Any]
    ) -> None:
        engine = engines(**options)
        watch = watches.watch(engine, registry=None)
        with engine.connect():
            pass
        assert not nests(watch)
        with engine.connect(), engine.connect():
            pass
        assert nests(watch)

    def test_who_nests_in_a_pool_that_others_have_filled_to_the_half_is_found(
        self, engines: Any, watches: Watches
    ) -> None:
        engine = engines(pool_size=10, max_overflow=0)
        watch = watches.watch(engine, registry=None)

        def nest() -> None:
            with engine.connect(), engine.connect():
                pass

        nest()
        others: list[Any] = []
        filling = threading.Thread(target=lambda: others.extend(engine.connect() for _ in range(3)))
        filling.start()
        filling.join()
        assert [3, 2, False] == [watch.snapshot().in_use, watch.snapshot().nested - 1, nests(watch)]
        nest()
        assert nests(watch)
        for connection in others:
            connection.close()


@pytest.mark.parametrize(("held", "found"), [(3, False), (4, True)])
def test_a_pool_is_crowded_with_the_connection_that_is_asked_for(
    clock: FakeClock, held: int, found: bool
) -> None:
    ledger = Ledger(Limits(10, 10, 0), clock)
    for key in range(held):
        ledger.served(key, clock(), clock(), Borrower(None, 0, key, ""), ALWAYS_HELD)
    ledger.asked(Borrower(None, 0, 0, ""), clock())
    assert (1, found) == (ledger.read().nested, "nested-acquire" in ledger.evidence.read())


class TestAsyncPools:
    @pytest.fixture
    async def stack(self) -> AsyncIterator[AsyncExitStack]:
        async with AsyncExitStack() as stack:
            yield stack

    async def nest(self, first: Take, second: Take) -> None:
        async with first(), second():
            pass

    @pytest.mark.parametrize(
        "options",
        [
            {"limit": 0},
            {"limit": 100},
            {"limit": 0, "limit_per_host": 10},
            {"limit": 100, "limit_per_host": 5},
        ],
    )
    async def test_a_session_with_room_has_no_finding(
        self, sessions: Any, server: Server, watches: Watches, options: dict[str, int]
    ) -> None:
        session = sessions(**options)
        watch = watches.watch(session, registry=None)
        for word in "ab":
            await self.nest(
                lambda word=word: session.get(f"{server.url}/stream/{word}"),  # type: ignore[misc]
                lambda: session.get(f"{server.url}/now/x"),
            )
        assert (2, False) == (watch.snapshot().nested, nests(watch))

    @pytest.mark.parametrize("limit", [0, 100])
    async def test_a_limit_for_each_host_is_a_limit(
        self, sessions: Any, server: Server, watches: Watches, limit: int
    ) -> None:
        session = sessions(limit=limit, limit_per_host=2)
        watch = watches.watch(session, registry=None)
        other = Server()
        await other.start()

        def stream(url: str) -> Any:
            return session.get(f"{url}/stream/x")

        # One to each of two hosts: nobody can wait for the other.
        await self.nest(lambda: stream(server.url), lambda: stream(other.url))
        assert (1, False) == (watch.snapshot().nested, nests(watch))
        await self.nest(lambda: stream(server.url), lambda: stream(server.url))
        assert (2, True) == (watch.snapshot().nested, nests(watch))
        await other.stop()

    async def test_a_pool_with_room_has_no_finding(self, pools: Any, watches: Watches) -> None:
        pool = await pools(max_size=10)
        watch = watches.watch(pool, registry=None)
        for _ in range(2):
            await self.nest(
                lambda: pool.acquire(timeout=PATIENCE), lambda: pool.acquire(timeout=PATIENCE)
            )
        assert (2, False) == (watch.snapshot().nested, nests(watch))

    @pytest.mark.parametrize("options", [{"poolclass": NullPool}, {}, {"max_overflow": -1}])
    async def test_an_async_engine_with_room_has_no_finding(
        self, postgres: EmbeddedPostgres, watches: Watches, options: dict[str, Any]
    ) -> None:
        engine = create_async_engine(postgres.sqlalchemy_url("asyncpg"), **options)
        watch = watches.watch(engine, registry=None)
        await self.nest(engine.connect, engine.connect)
        assert (1, False) == (watch.snapshot().nested, nests(watch))
        await engine.dispose()


async def test_who_holds_a_connection_and_waits_for_another_is_found(
    pool: PoolUnderTest, watches: Watches
) -> None:
    watch = watches.watch(pool.target, registry=None)
    other = await asyncio.create_task(pool.acquire())
    assert not nests(watch)

    async def nest() -> Any:
        held = await pool.acquire()
        try:
            with pytest.raises(pool.timeout):
                await pool.acquire_soon()
        finally:
            await pool.release(held)

    await asyncio.create_task(nest())
    await pool.release(other)
    await eventually(0, lambda: watch.snapshot().in_use)
    assert (int(pool.nests), pool.nests) == (watch.snapshot().nested, nests(watch))

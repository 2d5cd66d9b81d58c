"""`poolscope.lifespan` watches a pool, and closes it at the end: for every kind of pool."""

from __future__ import annotations

import asyncio
from typing import Any

import prometheus_client
import pytest

from contract.pools import AsyncEngine, PoolUnderTest, PostgresPool, Session, SyncEngine
from contract.test_holds import asks
from poolscope.testing import FakeClock
from poolscope.watching.lifespans import Lifespan
from poolscope.watching.watches import Watches
from support.logs import messages_of_poolscope, without_places
from support.waiting import eventually

# What is out when its pool ends is collected later.
pytestmark = [
    pytest.mark.usefixtures("collect"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*garbage collector:sqlalchemy.exc.SAWarning"),
]

FATES = {
    "sqlalchemy": "it stays open until it is returned",
    "asyncpg": "it is cut off",
    "aiohttp": "it is cut off",
}


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a registry of its own, in which its pools are shown."""
    monkeypatch.setattr(prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry())


def lifespan(watches: Watches, timeout: float | None = 10.0, **named: Any) -> Lifespan:
    return Lifespan(watches, (), named, timeout)


async def test_it_watches_from_the_start_and_closes_at_the_end(
    pool: PoolUnderTest, watches: Watches, caplog: pytest.LogCaptureFixture
) -> None:
    async with lifespan(watches, orders=pool.target) as (watch,):
        assert ("orders", pool.kind) == (watch.name, watch.kind)
        await pool.release(await pool.acquire())
        assert 1 == watch.snapshot().acquired
    await eventually(0, pool.seen_by_server)
    assert (1, 0, 0) == (
        watch.snapshot().acquired,
        watch.snapshot().in_use,
        watch.snapshot().idle,
    )
    assert [] == messages_of_poolscope(caplog)


async def test_it_closes_although_its_block_has_failed(
    pool: PoolUnderTest, watches: Watches
) -> None:
    async def service() -> None:
        async with lifespan(watches, orders=pool.target):
            await pool.release(await pool.acquire())
            raise KeyError("of the application")

    with pytest.raises(KeyError, match="of the application"):
        await service()
    await eventually(0, pool.seen_by_server)


async def test_each_connection_that_is_still_out_has_its_line(
    pool: PoolUnderTest, watches: Watches, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with lifespan(watches, 0.01, orders=pool.target) as (watch,):
        first = await pool.acquire()
        clock.advance(2.0)
        second = await pool.acquire()
        clock.advance(1.0)
        holders = watch.holders()
    records: list[Any] = [each for each in caplog.records if each.name == "poolscope"]
    assert [
        {
            "event": "out",
            "pool": "orders",
            "kind": pool.kind,
            "site": hold.site,
            "operation": None,
            "owner": hold.owner,
            "held_seconds": hold.held_seconds,
            "abandoned": False,
        }
        for hold in holders
    ] == [without_places(record.poolscope) for record in records]
    assert [3.0, 1.0] == [hold.held_seconds for hold in holders]
    assert [
        f"pool 'orders' ({pool.kind}): it is being closed while a connection is out; "
        f"{FATES[pool.kind]}; held for {hold.held_seconds:.1f} s by {hold.owner}, acquired at "
        f"{hold.site}"
        for hold in holders
    ] == [without_places(record.getMessage()) for record in records]
    assert str(holders[0].site).endswith(f" in {asks(pool)}")
    for connection in (first, second):
        if isinstance(pool, Session):
            connection.close()
        elif pool.kind == "sqlalchemy":
            await pool.release(connection)


async def test_it_can_follow_another_one_where_the_pool_can_go_on(
    pool: PoolUnderTest, watches: Watches
) -> None:
    for _ in range(1 if pool.ends else 2):
        async with lifespan(watches, orders=pool.target) as (watch,):
            await pool.release(await pool.acquire())
    if pool.ends:
        with pytest.raises(ValueError, match="is closed; watch it before it is"):
            async with lifespan(watches, orders=pool.target):
                pytest.fail("the block has begun")
    else:
        assert 2 == watch.snapshot().acquired


async def test_a_pool_that_was_closed_in_the_block_stays_so(
    pool: PoolUnderTest, watches: Watches
) -> None:
    async with lifespan(watches, orders=pool.target):
        await pool.release(await pool.acquire())
        await pool.close()


async def test_a_pool_that_was_unwatched_in_the_block_is_closed_too(
    pool: PoolUnderTest, watches: Watches
) -> None:
    async with lifespan(watches, orders=pool.target) as (watch,):
        await pool.release(await pool.acquire())
        watch.unwatch()
    await eventually(0, pool.seen_by_server)


async def test_a_block_without_async_takes_pools_that_need_no_loop(
    pool: PoolUnderTest, watches: Watches
) -> None:
    if not isinstance(pool, SyncEngine):
        with (
            pytest.raises(TypeError, match=r"'orders' is closed in an event loop; .*`async with "),
            lifespan(watches, orders=pool.target),
        ):
            pytest.fail("the block has begun")
        assert [] == watches.snapshots()
        return
    with lifespan(watches, orders=pool.target) as (watch,):
        await pool.release(await pool.acquire())
    assert isinstance(pool, PostgresPool)
    await eventually(0, pool.seen_by_server)
    assert 1 == watch.snapshot().acquired


async def test_a_cancellation_closes_all_of_it_at_once(
    pool: PoolUnderTest, watches: Watches, pools: Any
) -> None:
    """It comes while an asyncpg pool waits, without a limit, for a connection that is out."""
    waits = await pools()
    entered = asyncio.Event()

    async def service() -> None:
        async with lifespan(watches, None, first=pool.target, last=waits):
            await pool.release(await pool.acquire())
            held.append((await waits.acquire())._con)
            entered.set()

    held: list[Any] = []
    task = asyncio.create_task(service())
    await entered.wait()
    await eventually(True, waits.is_closing)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert held[0].is_closed()
    await eventually(0, pool.seen_by_server)


async def test_a_cancellation_waits_for_no_further_pool(pools: Any, watches: Watches) -> None:
    both = [await pools(), await pools()]
    held: list[Any] = []

    async def service() -> None:
        async with lifespan(watches, None, first=both[0], last=both[1]):
            held.extend([(await pool.acquire())._con for pool in both])

    task = asyncio.create_task(service())
    await eventually(True, both[1].is_closing)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [True, True] == [connection.is_closed() for connection in held]


async def test_an_engine_whose_closing_was_cancelled_is_closed_all_the_same(
    postgres: Any, watches: Watches
) -> None:
    pool = AsyncEngine()
    await pool.open(postgres)
    both = [await pool.acquire(), await pool.acquire()]
    for connection in both:
        await pool.release(connection)

    async def service() -> None:
        async with lifespan(watches, orders=pool.target):
            asyncio.get_running_loop().call_soon(task.cancel)

    task = asyncio.create_task(service())
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(0, pool.seen_by_server)
    await pool.clean_up()

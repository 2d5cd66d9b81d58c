"""Connections that no code can return any more are abandoned; others are not."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import pytest

from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.logs import without_places
from support.waiting import eventually

PAIRS: Final = int(os.environ.get("POOLSCOPE_PAIRS", "300"))
"""Connections of each kind of pool that are acquired and returned as they should be."""

pytestmark = pytest.mark.filterwarnings(
    # Warnings of SQLAlchemy and aiohttp about a connection that was dropped.
    "ignore:The garbage collector is trying:sqlalchemy.exc.SAWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches) -> Watch:
    return watches.watch(pool.target, "orders", leak_after=60.0, registry=None)


def lost(watch: Watch) -> tuple[int, int]:
    """Return how many connections are abandoned now, and how many ever were."""
    gc.collect()
    now = watch.snapshot()
    assert sum(hold.abandoned for hold in watch.holders()) == now.abandoned
    return now.abandoned, now.leaks_abandoned


def records_of(caplog: pytest.LogCaptureFixture, event: str) -> list[Any]:
    records: list[Any] = [record for record in caplog.records if record.name == "poolscope"]
    return [record for record in records if record.poolscope["event"] == event]


async def test_a_dropped_connection_is_abandoned(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    held = [await pool.acquire()]
    (hold,) = watch.holders()
    clock.advance(2.0)
    assert (0, 0) == lost(watch)

    held.clear()
    await eventually((int(pool.keeps), 1), lambda: lost(watch))
    assert (pool.keeps, 0) == (watch.snapshot().in_use, watch.snapshot().leaks_recovered)
    assert lost(watch) == (int(pool.keeps), 1), "it is counted once"

    (record,) = records_of(caplog, "abandoned")
    assert "WARNING" == record.levelname
    assert (
        f"pool 'orders' ({pool.kind}): a connection was abandoned after 2.0 s: no code can "
        f"return it any more; held by {hold.owner}, acquired at {hold.site}"
    ) == without_places(record.getMessage())
    assert {
        "event": "abandoned",
        "pool": "orders",
        "kind": pool.kind,
        "site": hold.site,
        "operation": None,
        "owner": hold.owner,
        "held_seconds": 2.0,
        "leak_after": 60.0,
    } == without_places(record.poolscope)


async def test_an_overdue_connection_is_logged_once_and_again_when_it_is_returned(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    held = await pool.acquire()
    (hold,) = watch.holders()
    clock.advance(61.0)
    # Only callers that ask for connections check for overdue ones.
    for _ in range(2):
        await pool.release(await pool.acquire())
    for _ in range(2):
        assert 1 == watch.snapshot().overdue
    (record,) = records_of(caplog, "overdue")
    assert (
        f"pool 'orders' ({pool.kind}): a connection has been held for 61.0 s, longer than "
        f"leak_after; held by {hold.owner}, acquired at {hold.site}"
    ) == without_places(record.getMessage())
    clock.advance(1.0)
    await pool.release(held)
    for _ in range(2):
        await pool.release(await pool.acquire())
    (record,) = records_of(caplog, "recovered")
    assert "INFO" == record.levelname
    assert (
        f"pool 'orders' ({pool.kind}): a connection was returned after 62.0 s, longer than "
        f"leak_after; held by {hold.owner}, acquired at {hold.site}"
    ) == without_places(record.getMessage())
    assert 1 == len(records_of(caplog, "overdue"))


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "poolscope")


async def test_a_connection_that_only_the_error_of_an_ended_task_refers_to_is_lost(
    pool: PoolUnderTest, watch: Watch
) -> None:
    async def fail() -> None:
        connection = await pool.acquire()
        raise ZeroDivisionError(connection is None)

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    if pool.kind == "asyncpg":
        assert (1, 1) == lost(watch)
    assert isinstance(task.exception(), ZeroDivisionError)
    del task
    await eventually((int(pool.keeps), 1), lambda: lost(watch))


async def test_a_connection_that_an_ended_task_has_handed_over_is_not_lost(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    given: asyncio.Queue[Any] = asyncio.Queue()

    async def take() -> None:
        given.put_nowait(await pool.acquire())

    await asyncio.create_task(take())
    clock.advance(61.0)
    assert (0, 0) == lost(watch)

    async def keep(until: asyncio.Event) -> None:
        connection = await given.get()
        assert (0, 0) == lost(watch)
        await until.wait()
        await pool.release(connection)

    until = asyncio.Event()
    keeping = asyncio.create_task(keep(until))
    await eventually(True, given.empty)
    assert (0, 0) == lost(watch)
    until.set()
    await keeping
    assert (0, 0) == lost(watch)
    assert 1 == watch.snapshot().leaks_recovered


class Life:
    """Correct use of a pool: many tasks that acquire connections, hand them over, and give up."""

    def __init__(self, pool: PoolUnderTest, look: Callable[[], object], seed: int) -> None:
        self.pool = pool
        self.look = look
        self.random = random.Random(seed)  # noqa: S311 - of no importance
        self.returned = 0
        # aiohttp 3.9 may forget a waiter when another waiter is cancelled.
        self.forgets = pool.kind == "aiohttp" and aiohttp.__version__ < "3.9.9"
        self.given: asyncio.Queue[Any] = asyncio.Queue()

    async def live(self) -> None:
        returning = asyncio.create_task(self.return_what_is_given())
        while self.returned < PAIRS:
            callers = [asyncio.create_task(self.one()) for _ in range(4)]
            await self.wait()
            if self.pool.cancels and not self.forgets and self.random.random() < 0.2:
                self.random.choice(callers).cancel()
            await asyncio.wait(callers)
            for caller in callers:
                assert caller.cancelled() or caller.exception() is None, caller
            self.look()
        await self.given.join()
        returning.cancel()

    async def one(self) -> None:
        """Acquire a connection, and return it or hand it over, also when cancelled."""
        connection = await self.pool.acquire()
        try:
            await self.wait()
            self.look()
        finally:
            if self.random.random() < 0.5:
                self.given.put_nowait(connection)
            else:
                await self.give_back(connection)

    async def return_what_is_given(self) -> None:
        while True:
            connection = await self.given.get()
            await self.wait()
            await self.give_back(connection)
            del connection
            self.given.task_done()

    async def give_back(self, connection: Any) -> None:
        self.returned += 1
        # A caller that is cancelled while it returns a connection must still return it.
        await asyncio.shield(self.pool.release(connection))

    async def wait(self) -> None:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)


async def test_correct_use_never_counts_as_lost(pool: PoolUnderTest, watch: Watch) -> None:
    def look() -> None:
        now = watch.snapshot()
        assert (0, 0) == (now.abandoned, now.leaks_abandoned)

    life = Life(pool, look, seed=PAIRS)
    await life.live()
    assert life.returned >= PAIRS
    assert (0, 0) == lost(watch)
    assert 0 == watch.snapshot().in_use

"""A caller that holds a connection and asks the same pool for another may deadlock."""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any, Final

import pytest

from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import eventually

WARNINGS_OF_LOST_CONNECTIONS: Final = (
    "ignore:The garbage collector is trying:sqlalchemy.exc.SAWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches) -> Watch:
    return watches.watch(pool.target, registry=None)


async def test_a_caller_that_holds_a_connection_and_asks_for_another_nests(
    pool: PoolUnderTest, watch: Watch
) -> None:
    """A task that acquires twice nests; two jobs of a thread do not."""
    for connection in await asyncio.gather(pool.acquire(), pool.acquire()):
        await pool.release(connection)
    held: list[Any] = []

    async def ask_for_three() -> None:
        while len(held) < 3:
            held.append(await pool.acquire())

    asking = asyncio.create_task(ask_for_three())
    await eventually(1, lambda: watch.snapshot().waiting)
    # It waits for itself, and is counted although it may never end.
    assert (2, 2 * pool.nests) == (watch.snapshot().in_use, watch.snapshot().nested)
    with pytest.raises(pool.timeout):
        await pool.acquire_soon()  # another task, which holds no connection
    assert 2 * pool.nests == watch.snapshot().nested

    await pool.release(held[0])
    await asking
    for connection in held[1:]:
        await pool.release(connection)
    for _ in range(2):
        await pool.release(await pool.acquire())
    assert 2 * pool.nests == watch.snapshot().nested


@pytest.mark.usefixtures("collect")
@pytest.mark.filterwarnings(*WARNINGS_OF_LOST_CONNECTIONS)
async def test_a_caller_that_has_lost_a_connection_does_not_nest(
    pool: PoolUnderTest, watch: Watch
) -> None:
    """What nobody can return is nobody's any more, whether or not it is known to be abandoned."""
    await pool.acquire()
    for _ in range(3):
        await pool.release(await pool.acquire())
    assert 0 == watch.snapshot().nested
    await eventually(1, lambda: watch.snapshot().leaks_abandoned)
    await pool.release(await pool.acquire())
    assert 0 == watch.snapshot().nested
    assert "nested-acquire" not in [finding.rule for finding in watch.findings()]


@pytest.mark.usefixtures("collect")
@pytest.mark.filterwarnings(*WARNINGS_OF_LOST_CONNECTIONS)
async def test_a_caller_that_has_lost_one_connection_and_holds_another_nests(
    pool: PoolUnderTest, watch: Watch
) -> None:
    await pool.acquire()
    held = await pool.acquire()
    asking = asyncio.create_task(pool.acquire_soon())  # this task holds none, and does not nest
    await asyncio.wait([asking])
    assert 0 == watch.snapshot().nested
    if pool.keeps:
        with pytest.raises(pool.timeout):
            await pool.acquire_soon()
        assert isinstance(asking.exception(), pool.timeout)
    else:
        await pool.release(asking.result())
        await pool.release(await pool.acquire_soon())
    await pool.release(held)
    assert int(pool.nests) == watch.snapshot().nested
    await pool.release(await pool.acquire())
    assert int(pool.nests) == watch.snapshot().nested


def test_a_thread_nests(engines: Any, watches: Watches) -> None:
    engine = engines()
    watch = watches.watch(engine, registry=None)

    def use() -> None:
        with engine.connect(), engine.connect():
            pass
        with engine.connect():
            pass

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (6, 2) == (watch.snapshot().acquired, watch.snapshot().nested)


async def test_a_caller_that_is_woken_and_waits_again_has_asked_once(
    engines: Any, watches: Watches
) -> None:
    engine = engines(pool_size=1, max_overflow=0)
    watch = watches.watch(engine, registry=None)
    held: list[Any] = []

    def use() -> None:
        held.append(engine.connect())
        held.append(engine.connect())

    thread = threading.Thread(target=use)
    thread.start()
    await eventually(1, lambda: watch.snapshot().waiting)
    wakings = engine.pool._pool.not_empty

    def waits_again(last: Any) -> bool:
        # Each has a lock of its own. A copy, as the other thread may change the queue meanwhile.
        return any(last is not waiter for waiter in tuple(wakings._waiters))

    for _ in range(3):
        waiter = wakings._waiters[0]
        with wakings:
            wakings.notify()
        await eventually(True, functools.partial(waits_again, waiter))
    assert 1 == watch.snapshot().nested
    held[0].close()
    thread.join()
    held[1].close()
    assert (2, 1, 0) == (
        watch.snapshot().acquired, watch.snapshot().nested, watch.snapshot().in_use,
    )  # fmt: skip


def test_a_connection_in_a_context_that_a_thread_copies_is_not_its_own(
    engines: Any, watches: Watches
) -> None:
    engine = engines()
    watch = watches.watch(engine, registry=None)

    async def main() -> None:
        # Each job runs in a copy of the task's context, which is a copy of this thread's.
        first = await asyncio.to_thread(engine.connect)
        second = await asyncio.to_thread(engine.connect)
        for connection in (first, second):
            await asyncio.to_thread(connection.close)

    with engine.connect():
        asyncio.run(main())
    assert (3, 0) == (watch.snapshot().acquired, watch.snapshot().nested)

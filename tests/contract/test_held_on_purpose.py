"""A connection that is held on purpose is in use, and neither overdue nor a partner of nesting."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

import poolscope
from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.waiting import eventually

pytestmark = pytest.mark.filterwarnings(
    # Warnings of SQLAlchemy and aiohttp about a connection that was dropped.
    "ignore:The garbage collector is trying:sqlalchemy.exc.SAWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches) -> Watch:
    return watches.watch(pool.target, leak_after=60.0, registry=None)


def holds(watch: Watch) -> list[tuple[bool, bool, bool]]:
    """Return for each hold whether it is on purpose, overdue, and abandoned."""
    return [(hold.on_purpose, hold.overdue, hold.abandoned) for hold in watch.holders()]


def leaks(watch: Watch) -> tuple[int, int, int]:
    """Return how many holds are overdue, ever were, and were returned after that."""
    now = watch.snapshot()
    return now.overdue, now.leaks_overdue, now.leaks_recovered


async def warm_up(pool: PoolUnderTest) -> None:
    """Open both connections, so that later attempts reuse them."""
    for connection in await asyncio.gather(pool.acquire(), pool.acquire()):
        await pool.release(connection)


async def test_what_is_taken_inside_is_held_on_purpose(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    for _ in range(2):  # the first opens a connection, the second reuses it
        with poolscope.held_on_purpose():
            held = await pool.acquire()
        clock.advance(3600.0)
        assert [(True, False, False)] == holds(watch)
        assert (1, 3600.0) == (watch.snapshot().in_use, watch.snapshot().oldest_hold_seconds)
        assert (0, 0, 0) == leaks(watch)
        await pool.release(held)
        assert (0, 0, 0) == leaks(watch)
        assert 0 == watch.snapshot().in_use


async def test_what_is_taken_outside_is_not(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    before = await pool.acquire()
    with poolscope.held_on_purpose():
        pass
    after = await pool.acquire()
    clock.advance(61.0)
    assert [(False, True, False)] * 2 == holds(watch)
    assert (2, 2, 0) == leaks(watch)
    await pool.release(before)
    await pool.release(after)
    assert (0, 2, 2) == leaks(watch)


async def test_one_on_purpose_and_another_do_not_nest(pool: PoolUnderTest, watch: Watch) -> None:
    await warm_up(pool)
    with poolscope.held_on_purpose():
        kept = await pool.acquire()
    for _ in range(2):
        await pool.release(await pool.acquire())
    ordinary = await pool.acquire()
    await pool.release(kept)
    with poolscope.held_on_purpose():
        kept = await pool.acquire()
    await pool.release(ordinary)
    assert 0 == watch.snapshot().nested
    assert "nested-acquire" not in {finding.rule for finding in watch.findings()}
    # Two ordinary ones nest as ever.
    await pool.release(kept)
    for connection in [await pool.acquire(), await pool.acquire()]:
        await pool.release(connection)
    assert int(pool.nests) == watch.snapshot().nested


async def test_one_that_waits_for_a_connection_to_hold_it_on_purpose(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    first, second = [await pool.acquire() for _ in range(2)]

    async def take() -> Any:
        with poolscope.held_on_purpose():
            return await pool.acquire()

    taking = asyncio.create_task(take())
    await eventually(1, lambda: watch.snapshot().waiting)
    await pool.release(first)
    kept = await taking
    await pool.release(second)
    clock.advance(61.0)
    assert [(True, False, False)] == holds(watch)
    await pool.release(kept)


async def test_a_task_that_begins_inside_is_inside_while_the_block_is_open(
    pool: PoolUnderTest, watch: Watch
) -> None:
    go_on = asyncio.Event()

    async def take_two() -> list[Any]:
        taken = [await pool.acquire()]
        await go_on.wait()
        return [*taken, await pool.acquire()]

    with poolscope.held_on_purpose():
        taking = asyncio.create_task(take_two())
        await eventually([(True, False, False)], lambda: holds(watch))
    go_on.set()
    first, second = await taking
    assert [(False, False, False), (True, False, False)] == sorted(holds(watch))
    await pool.release(first)
    await pool.release(second)


async def test_one_that_nobody_can_return_is_abandoned_all_the_same(
    pool: PoolUnderTest, watch: Watch
) -> None:
    with poolscope.held_on_purpose():
        held = [await pool.acquire()]
    assert [(True, False, False)] == holds(watch)
    held.clear()

    def lost() -> tuple[int, int]:
        gc.collect()
        return watch.snapshot().abandoned, watch.snapshot().leaks_abandoned

    await eventually((int(pool.keeps), 1), lost)
    assert [(True, False, True)] * pool.keeps == holds(watch)
    assert "abandoned" in {finding.rule for finding in watch.findings()}

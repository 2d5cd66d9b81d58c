"""A slot that the library has lost is in use and abandoned, and no longer once it is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.adapters.missing_slots import LOST_AFTER
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches) -> Watch:
    return watches.watch(pool.target, "orders", leak_after=None, registry=None)


def seen(watch: Watch) -> tuple[int, int, int, int]:
    """Return in use, abandoned, idle, and open connections."""
    now = watch.snapshot()
    return now.in_use, now.abandoned, now.idle, now.opened - now.closed


def said(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name == "poolscope"]


async def used_once(pool: PoolUnderTest) -> None:
    await pool.release(await pool.acquire())


async def test_a_lost_slot_is_in_use_and_abandoned_until_it_is_found(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    await used_once(pool)
    before = seen(watch)
    give_back = pool.lose_slot()
    in_use, abandoned, idle, opened = before
    assert before == seen(watch)
    clock.advance(LOST_AFTER / 2)
    assert before == seen(watch)
    clock.advance(LOST_AFTER / 2)
    assert (in_use + 1, abandoned + 1, idle, opened) == seen(watch)
    assert [(None, True)] == [(hold.site, hold.abandoned) for hold in watch.holders()]
    assert ["abandoned"] == [record.poolscope["event"] for record in said(caplog)]

    clock.advance(1.0)
    assert (in_use + 1, abandoned + 1, idle, opened) == seen(watch)
    assert (1, 0) == (watch.snapshot().leaks_abandoned, watch.snapshot().nested)
    give_back()
    assert before == seen(watch)
    assert [] == watch.holders()
    await used_once(pool)
    assert before == seen(watch)


async def test_lost_slots_are_named_by_callers_that_give_up(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """No reader looks meanwhile, as with an exporter beside the process."""
    held = await pool.acquire()
    give_back = pool.lose_slot()
    for _ in range(2):
        with pytest.raises(pool.timeout):
            await pool.acquire_soon()
        clock.advance(60.0)
    first, second = (record for record in said(caplog) if record.poolscope["event"] == "timeout")
    assert "1 of 2 in use, 0 opening, 0 waiting; held by 1 x" in first.getMessage()
    assert "2 of 2 in use, 0 opening, 0 waiting; held by 1 x" in second.getMessage()
    assert second.getMessage().endswith("1 x an unknown line (oldest 60.0 s)")
    give_back()
    await pool.release(held)
    assert 0 == watch.snapshot().in_use


async def test_a_slot_that_is_missing_for_a_moment_now_and_then_is_not_lost(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    await used_once(pool)
    before = seen(watch)
    for _ in range(3):
        give_back = pool.lose_slot()
        assert before == seen(watch)
        clock.advance(LOST_AFTER / 2)
        give_back()
        assert before == seen(watch)
        clock.advance(LOST_AFTER / 2)


async def test_a_slot_that_is_back_at_the_second_try_is_not_lost(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await used_once(pool)
    before = seen(watch)
    backs: list[Callable[[], object]] = [pool.lose_slot()]
    assert before == seen(watch)
    clock.advance(LOST_AFTER)
    monkeypatch.setattr(
        "poolscope.adapters.missing_slots.time.sleep", lambda _: backs.pop()() if backs else None
    )
    assert before == seen(watch)


async def test_a_slot_that_was_missing_before_the_watch_is_not_counted(
    pool: PoolUnderTest, watches: Watches, clock: FakeClock
) -> None:
    await used_once(pool)
    give_back = pool.lose_slot()
    watch = watches.watch(pool.target, "orders", registry=None)
    before = seen(watch)
    clock.advance(LOST_AFTER)
    assert before == seen(watch)
    give_back()
    assert before == seen(watch)
    give_back = pool.lose_slot()
    assert before == seen(watch)
    clock.advance(LOST_AFTER)
    assert before[0] + 1 == seen(watch)[0]
    give_back()


async def test_connections_in_use_are_not_lost(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    held = [await pool.acquire() for _ in range(2)]
    for _ in range(3):
        assert (2, 0, 0, 2) == seen(watch)
        clock.advance(LOST_AFTER)
    for connection in held:
        await pool.release(connection)
    assert (0, 0, 2, 2) == seen(watch)


async def test_a_pool_that_was_closed_has_no_lost_slots(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    await used_once(pool)
    give_back = pool.lose_slot()  # keeps the pool
    seen(watch)
    clock.advance(LOST_AFTER)
    assert 1 == seen(watch)[1]
    await pool.close()
    clock.advance(LOST_AFTER)
    seen(watch)
    clock.advance(LOST_AFTER)
    assert (0, 0, 0, 0) == seen(watch)
    del give_back

"""An attempt that ends while it waits has given up, whatever has ended it, and the log says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.logs import messages_of_poolscope, without_places
from support.waiting import eventually

Acquire = Callable[[], Awaitable[Any]]


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches) -> Watch:
    return watches.watch(pool.target, "orders", leak_after=None, registry=None)


async def a_deadline(acquire: Acquire) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await acquire()


async def wait_for(acquire: Acquire) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(acquire(), 0.01)


async def a_cancel_scope(acquire: Acquire) -> None:
    with anyio.move_on_after(0.01) as scope:
        await acquire()
    assert scope.cancelled_caught


async def a_cancelled_task(acquire: Acquire) -> None:
    caller = asyncio.ensure_future(acquire())
    await asyncio.wait({caller}, timeout=0.01)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


WAYS = [a_deadline, wait_for, a_cancel_scope, a_cancelled_task]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return messages_of_poolscope(caplog)


@pytest.mark.parametrize("give_up", WAYS)
async def test_a_caller_that_is_stopped_while_it_waits_gives_up(
    pool: PoolUnderTest,
    watch: Watch,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    give_up: Callable[[Acquire], Awaitable[None]],
) -> None:
    if not pool.cancels:
        pytest.skip("a thread that waits cannot be cancelled")
    held = [await pool.acquire() for _ in range(2)]
    clock.advance(3.0)
    site = watch.holders()[0].site
    for _ in range(2):
        await give_up(pool.acquire)

    def outcomes() -> tuple[int, int, int, int, int]:
        seen = watch.snapshot()
        return seen.gave_up, seen.waited, seen.cancelled, seen.timed_out, seen.waiting

    # aiohttp knows how an attempt has ended when its frames are gone.
    await eventually((2, 2, 2, 0, 0), outcomes)
    (line,) = said(caplog)
    assert (
        f"pool 'orders' ({pool.kind}): a caller gave up waiting for a connection; 2 of 2 in use, "
        f"0 opening, 0 waiting; held by 2 x {site} (oldest 3.0 s)"
    ) == without_places(line)
    for connection in held:
        await pool.release(connection)


async def test_a_time_limit_of_the_pool_counts_too(pool: PoolUnderTest, watch: Watch) -> None:
    held = [await pool.acquire() for _ in range(2)]
    with pytest.raises(pool.timeout):
        await pool.acquire_soon()
    seen = watch.snapshot()
    assert (1, 1, 0) == (seen.gave_up, seen.timed_out, seen.cancelled)
    for connection in held:
        await pool.release(connection)


async def test_a_caller_that_is_served_has_not_given_up(pool: PoolUnderTest, watch: Watch) -> None:
    held = [await pool.acquire() for _ in range(2)]
    waiter = asyncio.create_task(pool.acquire())
    await eventually(1, lambda: pool.state().waiting)
    await pool.release(held.pop())
    held.append(await waiter)
    assert (1, 0) == (watch.snapshot().waited, watch.snapshot().gave_up)
    for connection in held:
        await pool.release(connection)


async def test_an_attempt_that_fails_without_having_waited_has_not_given_up(
    pool: PoolUnderTest, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    if not pool.cancels:
        pytest.skip("a thread that connects cannot be cancelled")
    attempt = asyncio.create_task(pool.acquire())
    await eventually(1, lambda: watch.snapshot().opening)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    await eventually((1, 0), lambda: (watch.snapshot().cancelled, watch.snapshot().gave_up))
    assert [] == said(caplog)

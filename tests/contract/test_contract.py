"""The contract of every adapter: the numbers are those of the pool itself and of the server."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Any

import pytest

from contract.pools import PoolUnderTest, State
from poolscope import Snapshot, Watch
from poolscope.errors import ErrorLog
from poolscope.ledger.ledger import Ledger
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.waiting import eventually


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches) -> Watch:
    return watches.watch(pool.target, "pool", registry=None)


class Script:
    """A sequence of steps; after each of them all numbers are compared."""

    def __init__(self, pool: PoolUnderTest, watch: Watch, clock: FakeClock) -> None:
        self.pool = pool
        self.watch = watch
        self.clock = clock
        self.expected = dataclasses.replace(
            NOTHING, kind=pool.kind, limit=2.0, idle_limit=float(pool.idle_limit), instances=1
        )

    async def expect(self, **changes: Any) -> None:
        """Compare all numbers after a step: these have changed, and no others."""
        self.expected = dataclasses.replace(self.expected, **changes)
        assert self.expected == self.watch.snapshot()
        expected = self.expected
        assert State(expected.in_use, expected.idle, expected.waiting) == self.pool.state()
        assert expected.opened - expected.closed == expected.in_use + expected.idle
        # The server learns that a connection was closed later than the client.
        await eventually(expected.in_use + expected.idle, self.pool.seen_by_server)

    def a_second_passes(self) -> None:
        """Advance the clock by one second, in which nothing changes."""
        self.clock.advance(1.0)
        now = self.expected
        self.expected = dataclasses.replace(
            now,
            in_use_seconds=now.in_use_seconds + now.in_use,
            waiting_seconds=now.waiting_seconds + now.waiting,
            saturated_seconds=now.saturated_seconds + (now.in_use == 2),
            oldest_hold_seconds=now.oldest_hold_seconds + 1.0 if now.in_use else 0.0,
            oldest_wait_seconds=now.oldest_wait_seconds + 1.0 if now.waiting else 0.0,
        )


NOTHING = Snapshot(
    name="pool",
    kind="",
    in_use=0,
    idle=0,
    opening=0,
    waiting=0,
    limit=0.0,
    idle_limit=0.0,
    idle_floor=0,
    overdue=0,
    abandoned=0,
    in_use_peak=0,
    waiting_peak=0,
    oldest_hold_seconds=0.0,
    oldest_wait_seconds=0.0,
    instances=0,
    acquired=0,
    timed_out=0,
    cancelled=0,
    failed=0,
    waited=0,
    gave_up=0,
    reused=0,
    opened=0,
    open_failed=0,
    closed=0,
    invalidated=0,
    nested=0,
    leaks_overdue=0,
    leaks_abandoned=0,
    leaks_recovered=0,
    in_use_seconds=0.0,
    waiting_seconds=0.0,
    saturated_seconds=0.0,
)


async def test_a_scripted_life_of_a_pool(
    pool: PoolUnderTest, watch: Watch, clock: FakeClock
) -> None:
    script = Script(pool, watch, clock)
    await script.expect()

    first = await pool.acquire()
    await script.expect(acquired=1, opened=1, in_use=1, in_use_peak=1)
    script.a_second_passes()
    await script.expect()

    await pool.release(first)
    await script.expect(in_use=0, idle=1, oldest_hold_seconds=0.0)
    script.a_second_passes()
    await script.expect()

    first = await pool.acquire()
    await script.expect(acquired=2, reused=1, in_use=1, idle=0)
    script.a_second_passes()
    second = await pool.acquire()
    await script.expect(acquired=3, opened=2, in_use=2, in_use_peak=2, nested=int(pool.nests))
    script.a_second_passes()
    await script.expect()

    waiter = asyncio.create_task(pool.acquire())
    await eventually(1, lambda: pool.state().waiting)
    await script.expect(waiting=1, waiting_peak=1)
    script.a_second_passes()
    await script.expect()

    with pytest.raises(pool.timeout):
        await pool.acquire_soon()
    await script.expect(timed_out=1, waited=1, gave_up=1, waiting_peak=2, nested=2 * pool.nests)

    if pool.cancels:
        await a_second_waiter_is_cancelled(pool, script)

    script.a_second_passes()
    held = script.expected.oldest_hold_seconds
    await pool.release(first)
    third = await waiter
    await script.expect(
        acquired=4,
        waited=script.expected.waited + 1,
        reused=2,
        waiting=0,
        oldest_wait_seconds=0.0,
        oldest_hold_seconds=held - 1.0,
    )

    await pool.release(second)
    await pool.release(third)
    await script.expect(in_use=0, idle=2, oldest_hold_seconds=0.0)

    await pool.close()
    gone: dict[str, Any] = {"idle": 0, "closed": 2}
    if pool.ends:
        gone |= dict.fromkeys(("limit", "idle_limit"), 0.0)
        gone |= dict.fromkeys(("instances", "in_use_peak", "waiting_peak"), 0)
    await script.expect(**gone)


async def a_second_waiter_is_cancelled(pool: PoolUnderTest, script: Script) -> None:
    waiter = asyncio.create_task(pool.acquire())
    await eventually(2, lambda: pool.state().waiting)
    await script.expect(waiting=2)
    script.a_second_passes()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await script.expect(waiting=1, cancelled=1, waited=2, gave_up=2)


async def test_connections_that_were_open_or_in_use_before_the_watch_are_counted(
    pool: PoolUnderTest, watches: Watches
) -> None:
    out, idle = await pool.acquire(), await pool.acquire()
    await pool.release(idle)

    watch = watches.watch(pool.target, "pool", registry=None)
    expected = dataclasses.replace(
        NOTHING,
        kind=pool.kind,
        limit=2.0,
        idle_limit=float(pool.idle_limit),
        instances=1,
        in_use=1,
        in_use_peak=1,
        idle=1,
        opened=2,
    )
    assert expected == watch.snapshot()

    await pool.release(out)
    assert dataclasses.replace(expected, in_use=0, idle=2) == watch.snapshot()


async def test_an_unwatched_pool_is_as_it_was_before_the_watch(
    pool: PoolUnderTest, watches: Watches
) -> None:
    def traces() -> list[object]:
        return [type(pool.target), dict(getattr(pool.target, "__dict__", {}))]

    before = traces()
    watch = watches.watch(pool.target, "pool", registry=None)
    held = await pool.acquire()
    watch.unwatch()

    assert before[0] is traces()[0]
    assert watches.snapshots() == []
    await pool.release(held)
    other = await pool.acquire()
    assert State(1, 0, 0) == pool.state()
    assert 1 == watch.snapshot().acquired
    await pool.release(other)


async def test_a_watched_pool_refuses_with_the_errors_of_its_library(
    pool: PoolUnderTest, watch: Watch
) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    with pytest.raises(pool.timeout) as watched:
        await pool.acquire_soon()
    watch.unwatch()
    with pytest.raises(pool.timeout) as unwatched:
        await pool.acquire_soon()

    assert str(unwatched.value) == str(watched.value)
    assert type(unwatched.value) is type(watched.value)
    for connection in held:
        await pool.release(connection)


@pytest.mark.makes_hooks_fail
async def test_hooks_that_fail_are_counted_and_logged_once_and_the_pool_works(
    pool: PoolUnderTest,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    errors = ErrorLog()
    monkeypatch.setattr("poolscope.errors.internal_errors", errors)
    monkeypatch.setattr(Ledger, "_advance", fail)
    monkeypatch.setattr(Ledger, "_wait", fail)
    for _ in range(2):
        held = [await pool.acquire(), await pool.acquire()]
        with pytest.raises(pool.timeout):
            await pool.acquire_soon()
        waiter = asyncio.create_task(pool.acquire())
        await eventually(1, lambda: pool.state().waiting)
        await pool.release(held[0])
        await pool.release(await waiter)
        await pool.release(held[1])
    assert State(0, 2, 0) == pool.state()

    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    places = [record.args for record in logged]
    assert errors.count > len(logged) > 0
    assert len(places) == len(set(places))
    assert all("the application is not affected" in record.getMessage() for record in logged)
    assert all("a mistake of ours" in str(record.exc_info) for record in logged)


async def test_waiters_are_served_in_the_order_in_which_they_asked(
    pool: PoolUnderTest, watch: Watch
) -> None:
    held = [await pool.acquire(), await pool.acquire()]
    served: list[int] = []

    async def ask(number: int) -> Any:
        connection = await pool.acquire()
        served.append(number)
        return connection

    waiters = []
    for number in range(4):
        waiters.append(asyncio.create_task(ask(number)))
        await eventually(number + 1, lambda: pool.state().waiting)
    for number, waiter in enumerate(waiters):
        await pool.release(held[number])
        held.append(await waiter)

    assert [0, 1, 2, 3] == served
    assert 4 == watch.snapshot().waited
    for connection in held[4:]:
        await pool.release(connection)

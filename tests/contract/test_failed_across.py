"""Requests that fail while their callers hold a connection of a database."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from contract.across import acquire, begun, found, in_a_task, measured
from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.ports import closed_port
from support.waiting import eventually
from support.web import Server


@pytest.fixture
def watch(database: PoolUnderTest, watches: Watches) -> Watch:
    """The watch of the database."""
    return watches.watch(database.target, registry=None)


async def test_a_server_that_is_not_there(
    database: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, clock: FakeClock
) -> None:
    async def answer() -> None:
        held = await acquire(database)
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{closed_port()}")
        clock.advance(1.0)
        await database.release(held)

    await in_a_task(answer)
    assert (1, 0.0) == measured(watch)
    assert found(watch) is not None


async def test_a_request_that_is_cancelled(
    database: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    async def answer() -> None:
        held = await acquire(database)
        try:
            async with session.get(f"{server.url}/later/x"):
                pass
        finally:
            clock.advance(2.0)
            await database.release(held)

    asking = begun(answer)
    await eventually(True, lambda: "x" in server.reached)
    clock.advance(1.0)
    asking.cancel()
    await asyncio.wait([asking])
    assert (1, 1.0) == measured(watch)
    assert 0 == watch.snapshot().in_use


async def test_a_server_that_hangs_up(
    database: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    async def answer() -> None:
        held = await acquire(database)
        async with session.get(f"{server.url}/stream/x") as response:
            clock.advance(1.0)
            server.hang_up()
            with pytest.raises(aiohttp.ClientError):
                await response.read()
            clock.advance(2.0)
            assert (1, 1.0) == measured(watch)
        await database.release(held)

    await in_a_task(answer)


async def test_a_request_that_is_cancelled_while_it_waits_for_a_slot(
    database: PoolUnderTest,
    watch: Watch,
    sessions: Any,
    watches: Watches,
    server: Server,
    clock: FakeClock,
) -> None:
    narrow = sessions(limit=1)
    upstream = watches.watch(narrow, "narrow", registry=None)

    async def answer() -> None:
        held = await acquire(database)
        try:
            await narrow.get(f"{server.url}/now/x")
        finally:
            clock.advance(2.0)
            await database.release(held)

    async with narrow.get(f"{server.url}/stream/x") as response:
        asking = begun(answer)
        await eventually(1, lambda: upstream.snapshot().waiting)
        clock.advance(1.0)
        asking.cancel()
        await asyncio.wait([asking])
        server.tell("x")
        await response.read()
    assert (1, 1.0) == measured(watch)


async def test_a_session_that_is_closed_or_unwatched_meanwhile(
    database: PoolUnderTest,
    watch: Watch,
    sessions: Any,
    watches: Watches,
    server: Server,
    clock: FakeClock,
) -> None:
    async def answer(unwatch: bool) -> None:
        own = sessions()
        upstream = watches.watch(own, "own", registry=None)
        held = await acquire(database)
        response = await own.get(f"{server.url}/stream/x")
        clock.advance(1.0)
        if unwatch:
            upstream.unwatch()
        await own.close()
        clock.advance(2.0)
        response.close()
        await database.release(held)

    await in_a_task(lambda: answer(unwatch=False))
    await in_a_task(lambda: answer(unwatch=True))
    assert (2, 2.0) == measured(watch)

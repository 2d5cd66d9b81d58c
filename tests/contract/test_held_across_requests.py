"""A connection of a database that is held while its caller waits for another server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import poolscope
from contract.across import acquire, found, in_a_task, measured
from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.fleet.folder import Folder
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.waiting import eventually
from support.web import Server


@pytest.fixture
def watch(database: PoolUnderTest, watches: Watches) -> Watch:
    """The watch of the database."""
    return watches.watch(database.target, registry=None)


async def test_both_lines_the_holds_and_their_seconds_are_found(
    database: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    lines_of_holders: list[str | None] = []

    async def answer(before: int, seconds: float) -> None:
        held, word = await acquire(database), str(before)
        clock.advance(1.0)
        async with session.get(f"{server.url}/stream/{word}") as response:
            clock.advance(2.0)
            assert (before + 1, seconds + 2.0) == measured(watch)
            lines_of_holders.extend(hold.site for hold in watch.holders())
            server.tell(word)
            await response.read()
        clock.advance(4.0)
        await database.release(held)

    assert found(watch) is None
    for before, seconds in ((0, 0.0), (1, 2.0)):
        await in_a_task(partial(answer, before, seconds))
    finding = found(watch)
    assert finding is not None
    assert "warning" == finding.severity
    assert (
        "connections were held while their callers waited for another server: 2 of them, for 4.0 "
        "connection-seconds, 29% of the time in use"
    ) == finding.message
    (lines,) = finding.sites
    held_at, _, asked_at = lines.partition(", across ")
    assert {held_at} == set(lines_of_holders)
    assert asked_at.startswith("test_held_across_requests.py:")
    assert asked_at.endswith("<locals>.answer")


async def test_a_connection_that_is_returned_first_is_not_held(
    database: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, server: Server
) -> None:
    async def answer() -> None:
        await database.release(await acquire(database))
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        await database.release(await acquire(database))

    await in_a_task(answer)
    assert ((0, 0.0), None) == (measured(watch), found(watch))


async def test_a_connection_that_is_taken_while_a_response_is_read_is_not_held_across(
    database: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, server: Server
) -> None:
    """Whoever writes what it reads needs both."""

    async def download() -> None:
        async with session.get(f"{server.url}/stream/x") as response:
            held = await acquire(database)
            server.tell("x")
            await response.read()
            await database.release(held)

    await in_a_task(download)
    assert ((0, 0.0), None) == (measured(watch), found(watch))


async def test_a_connection_that_is_held_on_purpose_is_not_found(
    database: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, server: Server
) -> None:
    async def lead() -> None:
        with poolscope.held_on_purpose():
            held = await acquire(database)
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        await database.release(held)

    await in_a_task(lead)
    assert ((0, 0.0), None) == (measured(watch), found(watch))


async def test_a_request_of_another_task_is_not_the_holder_s(
    database: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, server: Server
) -> None:
    async def ask() -> None:
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()

    async def hold() -> None:
        held = await acquire(database)
        await asyncio.gather(ask(), asyncio.create_task(ask()))
        await database.release(held)

    await in_a_task(hold)
    assert ((0, 0.0), None) == (measured(watch), found(watch))


async def test_requests_at_once_count_once(
    database: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    async def answer() -> None:
        held = await acquire(database)
        first = await session.get(f"{server.url}/stream/a")
        clock.advance(1.0)
        second = await session.get(f"{server.url}/stream/b")
        clock.advance(2.0)
        assert (1, 3.0) == measured(watch)
        server.tell("a")
        await first.read()
        clock.advance(4.0)
        server.tell("b")
        await second.read()
        clock.advance(8.0)
        third = await session.get(f"{server.url}/stream/c")
        clock.advance(16.0)
        third.close()
        clock.advance(32.0)
        await database.release(held)

    await in_a_task(answer)
    assert (1, 1.0 + 2.0 + 4.0 + 16.0) == measured(watch)


async def test_two_connections_count_each(
    database: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    async def answer() -> None:
        held = [await acquire(database), await acquire(database)]
        async with session.get(f"{server.url}/stream/a") as response:
            clock.advance(1.0)
            await database.release(held[0])
            clock.advance(2.0)
            server.tell("a")
            await response.read()
        await database.release(held[1])

    await in_a_task(answer)
    assert (2, 1.0 + 3.0) == measured(watch)


async def test_what_is_returned_meanwhile_counts_until_then(
    database: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    async def answer() -> None:
        held = await acquire(database)
        async with session.get(f"{server.url}/stream/a") as response:
            clock.advance(1.0)
            await database.release(held)
            clock.advance(2.0)
            # The connection may be the same; it is another hold, which no request crosses.
            held = await acquire(database)
            clock.advance(4.0)
            server.tell("a")
            await response.read()
            await database.release(held)

    await in_a_task(answer)
    assert (1, 1.0) == measured(watch)
    assert 0 == watch.snapshot().in_use


async def test_a_stream_that_is_passed_on_chunk_by_chunk(
    database: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    """As the answer of a language model is."""

    async def chunks() -> AsyncIterator[bytes]:
        held = await acquire(database)
        try:
            async with session.get(f"{server.url}/stream/x") as response:
                async for chunk in response.content.iter_any():
                    clock.advance(1.0)
                    yield chunk
        finally:
            await database.release(held)

    async def send() -> None:
        received = b""
        async for chunk in chunks():
            received += chunk
            server.tell("x")
        assert b"begun ended" == received

    await in_a_task(send)
    holds, seconds = measured(watch)
    # The last chunk may have come, and the connection returned, before that chunk is read.
    assert (1, True) == (holds, seconds in (1.0, 2.0))
    assert found(watch) is not None


async def test_what_is_handed_on_is_not_held(
    database: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, server: Server
) -> None:
    """A dispatcher takes connections for others, and asks where more work is."""
    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def work(until: asyncio.Event) -> None:
        held = await queue.get()
        await until.wait()
        await database.release(held)

    async def dispatch() -> None:
        until = asyncio.Event()
        working = asyncio.create_task(work(until))
        await queue.put(await acquire(database))
        await eventually(True, queue.empty)
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        until.set()
        await working

    await in_a_task(dispatch)
    assert ((0, 0.0), None) == (measured(watch), found(watch))


async def test_without_call_sites_the_lines_are_not_known(
    database: PoolUnderTest, watches: Watches, session: aiohttp.ClientSession, server: Server
) -> None:
    watch = watches.watch(database.target, registry=None, call_sites=False)

    async def answer() -> None:
        held = await acquire(database)
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        await database.release(held)

    await in_a_task(answer)
    finding = found(watch)
    assert finding is not None
    assert finding.sites[0].startswith("an unknown line, across test_held_across_requests.py:")


async def test_a_request_without_a_slot_in_the_shared_file_ends_as_any_other(
    folder: Path, sqlite: Any, sessions: Any, server: Server, clock: FakeClock
) -> None:
    """More connections may be out than the file has slots for."""
    watches = Watches(clock, Folder(folder))
    engine, session = sqlite(), sessions()
    watch, upstream = watches.watch(engine, registry=None), watches.watch(session, registry=None)
    for each in (watch, upstream):
        each._pool.ledgers[0]._segment.free.clear()
    with engine.connect():
        for _ in range(2):
            async with session.get(f"{server.url}/now/x") as response:
                await response.read()
    assert (0, 0) == (upstream.snapshot().in_use, upstream.snapshot().leaks_abandoned)
    assert (1, 0) == (measured(watch)[0], watch.snapshot().leaks_abandoned)

"""A connection of a database that is held while its caller waits for another server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

import poolscope
from contract.pools import POOLS, PoolUnderTest, SyncEngine
from poolscope import Finding, Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.ports import closed_port
from support.waiting import PATIENCE, eventually
from support.web import Server

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

RULE = "held-across-request"


@pytest.fixture(params=[cls for cls in POOLS if cls.kind != "aiohttp"], ids=lambda c: c.__name__)
async def pool(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres
) -> AsyncIterator[PoolUnderTest]:
    """Each pool of a database."""
    pool: PoolUnderTest = request.param()
    await pool.open(postgres)
    yield pool
    await pool.clean_up()


@pytest.fixture
def watch(pool: PoolUnderTest, watches: Watches) -> Watch:
    return watches.watch(pool.target, registry=None)


@pytest.fixture
async def session(sessions: Any, watches: Watches) -> aiohttp.ClientSession:
    session: aiohttp.ClientSession = sessions()
    watches.watch(session, registry=None)
    return session


async def acquire(pool: PoolUnderTest) -> Any:
    """Take a connection; of a synchronous pool, in a job of a thread that this task waits for."""
    if not isinstance(pool, SyncEngine):
        return await pool.acquire()
    waits = threading.Event()

    def connect() -> Any:
        waits.wait(PATIENCE)
        return pool.pool.connect()

    asyncio.get_running_loop().call_soon(waits.set)
    return await asyncio.to_thread(connect)


def found(watch: Watch) -> Finding | None:
    return next((finding for finding in watch.findings() if finding.rule == RULE), None)


def measured(watch: Watch) -> tuple[float, float]:
    """Return how many holds were open across a request, and for how many seconds."""
    reading = watch._pool.read()
    return reading.held_across, reading.held_across_seconds


def begun(function: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
    """Begin a task that is an operation, as each request of a web service."""

    async def run() -> None:
        with poolscope.operation("GET /answer"):
            await function()

    return asyncio.create_task(run())


async def in_a_task(function: Callable[[], Awaitable[object]]) -> None:
    await begun(function)


async def test_both_lines_the_holds_and_their_seconds_are_found(
    pool: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    lines_of_holders: list[str | None] = []

    async def answer(before: int, seconds: float) -> None:
        held, word = await acquire(pool), str(before)
        clock.advance(1.0)
        async with session.get(f"{server.url}/stream/{word}") as response:
            clock.advance(2.0)
            assert (before + 1, seconds + 2.0) == measured(watch)
            lines_of_holders.extend(hold.site for hold in watch.holders())
            server.tell(word)
            await response.read()
        clock.advance(4.0)
        await pool.release(held)

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
    pool: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, server: Server
) -> None:
    async def answer() -> None:
        await pool.release(await acquire(pool))
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        await pool.release(await acquire(pool))

    await in_a_task(answer)
    assert ((0, 0.0), None) == (measured(watch), found(watch))


async def test_a_connection_that_is_taken_while_a_response_is_read_is_not_held_across(
    pool: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, server: Server
) -> None:
    """Whoever writes what it reads needs both."""

    async def download() -> None:
        async with session.get(f"{server.url}/stream/x") as response:
            held = await acquire(pool)
            server.tell("x")
            await response.read()
            await pool.release(held)

    await in_a_task(download)
    assert ((0, 0.0), None) == (measured(watch), found(watch))


async def test_a_connection_that_is_held_on_purpose_is_not_found(
    pool: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, server: Server
) -> None:
    async def lead() -> None:
        with poolscope.held_on_purpose():
            held = await acquire(pool)
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        await pool.release(held)

    await in_a_task(lead)
    assert ((0, 0.0), None) == (measured(watch), found(watch))


async def test_a_request_of_another_task_is_not_the_holder_s(
    pool: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, server: Server
) -> None:
    async def ask() -> None:
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()

    async def hold() -> None:
        held = await acquire(pool)
        await asyncio.gather(ask(), asyncio.create_task(ask()))
        await pool.release(held)

    await in_a_task(hold)
    assert ((0, 0.0), None) == (measured(watch), found(watch))


async def test_requests_at_once_count_once(
    pool: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    async def answer() -> None:
        held = await acquire(pool)
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
        await pool.release(held)

    await in_a_task(answer)
    assert (1, 1.0 + 2.0 + 4.0 + 16.0) == measured(watch)


async def test_two_connections_count_each(
    pool: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    async def answer() -> None:
        held = [await acquire(pool), await acquire(pool)]
        async with session.get(f"{server.url}/stream/a") as response:
            clock.advance(1.0)
            await pool.release(held[0])
            clock.advance(2.0)
            server.tell("a")
            await response.read()
        await pool.release(held[1])

    await in_a_task(answer)
    assert (2, 1.0 + 3.0) == measured(watch)


async def test_what_is_returned_meanwhile_counts_until_then(
    pool: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    async def answer() -> None:
        held = await acquire(pool)
        async with session.get(f"{server.url}/stream/a") as response:
            clock.advance(1.0)
            await pool.release(held)
            clock.advance(2.0)
            # The connection may be the same; it is another hold, which no request crosses.
            held = await acquire(pool)
            clock.advance(4.0)
            server.tell("a")
            await response.read()
            await pool.release(held)

    await in_a_task(answer)
    assert (1, 1.0) == measured(watch)
    assert 0 == watch.snapshot().in_use


async def test_a_stream_that_is_passed_on_chunk_by_chunk(
    pool: PoolUnderTest,
    watch: Watch,
    session: aiohttp.ClientSession,
    server: Server,
    clock: FakeClock,
) -> None:
    """As the answer of a language model is."""

    async def chunks() -> AsyncIterator[bytes]:
        held = await acquire(pool)
        try:
            async with session.get(f"{server.url}/stream/x") as response:
                async for chunk in response.content.iter_any():
                    clock.advance(1.0)
                    yield chunk
        finally:
            await pool.release(held)

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


class TestRequestsThatFail:
    async def test_a_server_that_is_not_there(
        self, pool: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, clock: FakeClock
    ) -> None:
        async def answer() -> None:
            held = await acquire(pool)
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"http://127.0.0.1:{closed_port()}")
            clock.advance(1.0)
            await pool.release(held)

        await in_a_task(answer)
        assert (1, 0.0) == measured(watch)
        assert found(watch) is not None

    async def test_a_request_that_is_cancelled(
        self,
        pool: PoolUnderTest,
        watch: Watch,
        session: aiohttp.ClientSession,
        server: Server,
        clock: FakeClock,
    ) -> None:
        async def answer() -> None:
            held = await acquire(pool)
            try:
                async with session.get(f"{server.url}/later/x"):
                    pass
            finally:
                clock.advance(2.0)
                await pool.release(held)

        asking = begun(answer)
        await eventually(True, lambda: "x" in server.reached)
        clock.advance(1.0)
        asking.cancel()
        await asyncio.wait([asking])
        assert (1, 1.0) == measured(watch)
        assert 0 == watch.snapshot().in_use

    async def test_a_server_that_hangs_up(
        self,
        pool: PoolUnderTest,
        watch: Watch,
        session: aiohttp.ClientSession,
        server: Server,
        clock: FakeClock,
    ) -> None:
        async def answer() -> None:
            held = await acquire(pool)
            async with session.get(f"{server.url}/stream/x") as response:
                clock.advance(1.0)
                server.hang_up()
                with pytest.raises(aiohttp.ClientError):
                    await response.read()
                clock.advance(2.0)
                assert (1, 1.0) == measured(watch)
            await pool.release(held)

        await in_a_task(answer)

    async def test_a_request_that_is_cancelled_while_it_waits_for_a_slot(
        self,
        pool: PoolUnderTest,
        watch: Watch,
        sessions: Any,
        watches: Watches,
        server: Server,
        clock: FakeClock,
    ) -> None:
        narrow = sessions(limit=1)
        upstream = watches.watch(narrow, "narrow", registry=None)

        async def answer() -> None:
            held = await acquire(pool)
            try:
                await narrow.get(f"{server.url}/now/x")
            finally:
                clock.advance(2.0)
                await pool.release(held)

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
        self,
        pool: PoolUnderTest,
        watch: Watch,
        sessions: Any,
        watches: Watches,
        server: Server,
        clock: FakeClock,
    ) -> None:
        async def answer(unwatch: bool) -> None:
            own = sessions()
            upstream = watches.watch(own, "own", registry=None)
            held = await acquire(pool)
            response = await own.get(f"{server.url}/stream/x")
            clock.advance(1.0)
            if unwatch:
                upstream.unwatch()
            await own.close()
            clock.advance(2.0)
            response.close()
            await pool.release(held)

        await in_a_task(lambda: answer(unwatch=False))
        await in_a_task(lambda: answer(unwatch=True))
        assert (2, 2.0) == measured(watch)


async def test_what_is_handed_on_is_not_held(
    pool: PoolUnderTest, watch: Watch, session: aiohttp.ClientSession, server: Server
) -> None:
    """A dispatcher takes connections for others, and asks where more work is."""
    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def work(until: asyncio.Event) -> None:
        held = await queue.get()
        await until.wait()
        await pool.release(held)

    async def dispatch() -> None:
        until = asyncio.Event()
        working = asyncio.create_task(work(until))
        await queue.put(await acquire(pool))
        await eventually(True, queue.empty)
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        until.set()
        await working

    await in_a_task(dispatch)
    assert ((0, 0.0), None) == (measured(watch), found(watch))


async def test_without_call_sites_the_lines_are_not_known(
    pool: PoolUnderTest, watches: Watches, session: aiohttp.ClientSession, server: Server
) -> None:
    watch = watches.watch(pool.target, registry=None, call_sites=False)

    async def answer() -> None:
        held = await acquire(pool)
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        await pool.release(held)

    await in_a_task(answer)
    finding = found(watch)
    assert finding is not None
    assert finding.sites[0].startswith("an unknown line, across test_held_across_requests.py:")

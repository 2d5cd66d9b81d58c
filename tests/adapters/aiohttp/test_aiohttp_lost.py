"""aiohttp: what happens to a response that was dropped."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import aiohttp
import pytest

from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import eventually
from support.web import Server

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
async def session(sessions: Any) -> aiohttp.ClientSession:
    session: aiohttp.ClientSession = sessions()
    return session


@pytest.fixture
async def watch(session: aiohttp.ClientSession, watches: Watches) -> Watch:
    return watches.watch(session, registry=None)


def lost(watch: Watch) -> tuple[int, int, int]:
    """Return how many are in use, how many of them are abandoned, and how many ever were."""
    gc.collect()
    now = watch.snapshot()
    return now.in_use, now.abandoned, now.leaks_abandoned


def protocol_of(session: aiohttp.ClientSession) -> Any:
    connector: Any = session.connector
    (protocol,) = connector._acquired
    return protocol


async def until_it_is_full(session: aiohttp.ClientSession) -> None:
    await eventually(True, lambda: protocol_of(session)._reading_paused)


async def test_a_response_whose_body_may_end_by_itself_is_not_lost(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    await session.get(f"{server.url}/stream/small")
    assert (1, 0, 0) == lost(watch)
    server.tell("small")
    await eventually((0, 0, 0), lambda: lost(watch))


async def test_a_response_whose_body_nobody_reads_is_lost(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    await session.get(f"{server.url}/much/lost")
    await until_it_is_full(session)
    assert (1, 1, 1) == lost(watch)
    await session.close()
    assert (0, 0, 1) == lost(watch)


async def test_a_response_whose_stream_is_still_referenced_is_not_lost(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    content = (await session.get(f"{server.url}/much/read")).content
    await until_it_is_full(session)
    assert (1, 0, 0) == lost(watch)
    server.tell("read")
    await content.read()
    assert (0, 0, 0) == lost(watch)


async def test_a_response_that_a_task_awaits_is_not_lost(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    async def read() -> None:
        async with session.get(f"{server.url}/much/wait") as response:
            await server.told["wait"].wait()
            del response

    reading = asyncio.create_task(read())
    await eventually(1, lambda: watch.snapshot().in_use)
    await until_it_is_full(session)
    assert (1, 0, 0) == lost(watch)
    server.tell("wait")
    await reading
    assert (0, 0, 0) == lost(watch)


async def test_a_websocket_that_is_dropped_is_lost(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    opened = [await session.ws_connect(f"{server.url}/socket/x")]
    assert (1, 0, 0) == lost(watch)
    opened.clear()
    assert (0, 0, 1) == lost(watch)


async def test_a_response_that_was_closed_or_read_is_not_lost(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    closed = await session.get(f"{server.url}/stream/closed")
    closed.close()
    async with session.get(f"{server.url}/now/read") as response:
        await response.read()
    assert (0, 0, 0) == lost(watch)


async def test_a_connection_that_is_dropped_is_lost(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    connector: Any = session.connector
    asked: list[Any] = []
    original = connector.connect

    async def connect(req: Any, traces: Any, timeout: Any) -> Any:
        asked.append(req)
        return await original(req, traces, timeout)

    connector.connect = connect
    async with session.get(f"{server.url}/now/read") as response:
        await response.read()
    connection = await original(asked.pop(), [], aiohttp.ClientTimeout())
    assert (1, 0, 0) == lost(watch)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    del connection
    assert (0, 0, 1) == lost(watch)
    assert (1, 1) == (watch.snapshot().opened, watch.snapshot().closed)


async def test_a_websocket_with_a_heartbeat_that_is_dropped_is_lost(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    """Its timers keep it, and its connection, as long as the server answers."""
    opened = [await session.ws_connect(f"{server.url}/socket/x", heartbeat=60.0)]
    assert (1, 0, 0) == lost(watch)
    opened.clear()
    assert (1, 1, 1) == lost(watch)
    assert [(True, True)] == [(hold.on_purpose, hold.abandoned) for hold in watch.holders()]
    await session.close()
    assert (0, 0, 1) == lost(watch)


def beat(socket: Any) -> None:
    """Do what the timer of the heartbeat does, and not once more when its time has come."""
    if socket._heartbeat_cb is not None:
        socket._heartbeat_cb.cancel()
    socket._heartbeat_when = 0.0
    socket._send_heartbeat()


async def test_a_websocket_whose_heart_has_beaten_is_lost_when_it_is_dropped(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    opened: list[Any] = [await session.ws_connect(f"{server.url}/socket/x", heartbeat=60.0)]
    receiving = asyncio.create_task(opened[0].receive())
    for _ in range(3):
        beat(opened[0])
        assert (1, 0, 0) == lost(watch)
        await eventually(None, lambda: opened[0]._pong_response_cb)
        assert (1, 0, 0) == lost(watch)
    receiving.cancel()
    await asyncio.wait([receiving])
    del receiving
    assert (1, 0, 0) == lost(watch)
    beat(opened[0])
    opened.clear()
    assert (1, 1, 1) == lost(watch)


async def test_a_websocket_that_a_task_reads_is_not_lost(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    async def read() -> None:
        async with session.ws_connect(f"{server.url}/socket/x", heartbeat=60.0) as socket:
            async for _ in socket:
                pass

    reading = asyncio.create_task(read())
    await eventually([True], lambda: [hold.on_purpose for hold in watch.holders()])
    assert (1, 0, 0) == lost(watch)
    reading.cancel()
    await asyncio.wait([reading])
    assert (0, 0, 0) == lost(watch)

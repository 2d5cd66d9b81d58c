"""aiohttp: a websocket is held on purpose."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from poolscope import Watch
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.web import Server


@pytest.fixture
async def session(sessions: Any) -> aiohttp.ClientSession:
    session: aiohttp.ClientSession = sessions()
    return session


@pytest.fixture
async def watch(session: aiohttp.ClientSession, watches: Watches) -> Watch:
    return watches.watch(session, leak_after=60.0, registry=None)


def holds(watch: Watch) -> list[tuple[bool, bool]]:
    """Return for each hold whether it is on purpose, and overdue."""
    return [(hold.on_purpose, hold.overdue) for hold in watch.holders()]


@pytest.mark.parametrize("heartbeat", [None, 30.0])
async def test_a_bot_that_answers_over_the_same_session_does_nothing_wrong(
    server: Server,
    session: aiohttp.ClientSession,
    watch: Watch,
    clock: FakeClock,
    heartbeat: float | None,
) -> None:
    for _ in range(2):
        async with session.ws_connect(f"{server.url}/socket/x", heartbeat=heartbeat) as socket:
            for _ in range(2):
                async with session.get(f"{server.url}/now/answer") as response:
                    await response.read()
            clock.advance(3600.0)
            assert [(True, False)] == holds(watch)
            await socket.send_str("still here")
    now = watch.snapshot()
    assert (0, 0, 0, 0) == (now.in_use, now.nested, now.leaks_overdue, now.leaks_abandoned)
    assert "nested-acquire" not in {finding.rule for finding in watch.findings()}


async def test_a_websocket_that_is_opened_beside_a_response_does_not_nest(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    for word in ("opened", "reused"):
        async with session.get(f"{server.url}/stream/{word}") as response:
            async with session.ws_connect(f"{server.url}/socket/x"):
                assert {(True, False), (False, False)} == set(holds(watch))
            server.tell(word)
            await response.read()
    assert 0 == watch.snapshot().nested


async def test_a_response_within_a_response_nests_as_ever(
    server: Server, session: aiohttp.ClientSession, watch: Watch
) -> None:
    async with session.get(f"{server.url}/stream/word") as response:
        async with session.get(f"{server.url}/now/x") as inner:
            await inner.read()
        server.tell("word")
        await response.read()
    assert 1 == watch.snapshot().nested


async def test_a_websocket_that_the_server_refuses_is_returned(
    server: Server, session: aiohttp.ClientSession, watch: Watch, clock: FakeClock
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await session.ws_connect(f"{server.url}/now/refused")
    assert [] == holds(watch)
    async with session.get(f"{server.url}/stream/word") as response:
        clock.advance(61.0)
        assert [(False, True)] == holds(watch)
        server.tell("word")
        await response.read()


async def test_a_websocket_that_was_open_when_the_watch_began(
    server: Server, session: aiohttp.ClientSession, watches: Watches, clock: FakeClock
) -> None:
    async with session.ws_connect(f"{server.url}/socket/x"):
        watch = watches.watch(session, leak_after=60.0, registry=None)
        clock.advance(61.0)
        assert [(True, False)] == holds(watch)
    assert [] == holds(watch)

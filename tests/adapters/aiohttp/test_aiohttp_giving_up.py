"""Callers of an aiohttp session that give up while they wait, and who held its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.logs import messages_of_poolscope
from support.waiting import eventually
from support.web import Server

LIMITS = {
    "total": aiohttp.ClientTimeout(total=0.02),
    "connect": aiohttp.ClientTimeout(total=None, connect=0.02),
}
UNLIMITED = aiohttp.ClientTimeout(total=None)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return messages_of_poolscope(caplog)


async def pass_on(request: Any, handler: Callable[[Any], Any]) -> Any:
    return await handler(request)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("in_middleware", [False, True])
async def test_a_time_limit_of_the_session(
    server: Server,
    watches: Watches,
    caplog: pytest.LogCaptureFixture,
    limit: str,
    in_middleware: bool,
) -> None:
    options: dict[str, Any] = {}
    if in_middleware:
        if not hasattr(aiohttp, "ClientHandlerType"):
            pytest.skip("this version of aiohttp has no client middlewares")
        options["middlewares"] = (pass_on,)
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector, **options) as session:
        watch = watches.watch(session, "upstream", registry=None)
        held = await session.get(f"{server.url}/stream/a", timeout=UNLIMITED)
        with pytest.raises(TimeoutError):
            await session.get(f"{server.url}/stream/b", timeout=LIMITS[limit])
        await eventually(1, lambda: watch.snapshot().gave_up)
        (line,) = said(caplog)
        # Before 3.11, the limit of `connect` cancels the attempt as a caller's own deadline does.
        is_cancelled = limit == "connect" and aiohttp.__version__.startswith(("3.9.", "3.10."))
        what = "a caller gave up waiting for" if is_cancelled else "an attempt to get"
        assert what in line
        assert "; 1 of 1 in use" in line
        held.close()


async def test_those_that_held_the_connections_have_timed_out_before_those_that_waited(
    server: Server, watches: Watches, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    connector = aiohttp.TCPConnector(limit=2)
    async with aiohttp.ClientSession(connector=connector) as session:
        watch = watches.watch(session, "upstream", registry=None)

        async def one(word: str) -> None:
            await session.get(f"{server.url}/stream/{word}", timeout=UNLIMITED)

        held = [await session.get(f"{server.url}/stream/{word}") for word in "ab"]
        site = watch.holders()[0].site
        clock.advance(5.0)
        waiters = [asyncio.create_task(one(word)) for word in "cde"]
        await eventually(3, lambda: watch.snapshot().waiting)
        for response in held:
            response.close()
        for waiter in waiters:  # before any of them runs
            waiter.cancel()
        await asyncio.wait(waiters)
        await eventually(3, lambda: watch.snapshot().gave_up)
    (line,) = said(caplog)
    assert line.endswith(f"; lately held by 100 % {site}")

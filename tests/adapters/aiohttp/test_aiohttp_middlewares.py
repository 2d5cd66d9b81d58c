"""Which line asks for a connection when client middlewares of aiohttp stand between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import sqlalchemy

from poolscope.watching.watches import Watches
from support.waiting import eventually
from support.web import Server

pytestmark = pytest.mark.skipif(
    not hasattr(aiohttp, "ClientMiddlewareType"), reason="before aiohttp 3.12 there are none"
)

Handler = Callable[[Any], Awaitable[Any]]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


async def log(request: Any, handler: Handler) -> Any:
    return await handler(request)


class Log:
    async def __call__(self, request: Any, handler: Handler) -> Any:
        return await handler(request)


async def load(session: Any, url: str, **options: Any) -> Any:
    return await session.get(url, **options)


def functions(watch: Any) -> list[str]:
    return [str(hold.site).rpartition(" in ")[2] for hold in watch.holders()]


@pytest.mark.parametrize("middlewares", [(), (log,), (log, log), (Log(),), (log, Log(), log)])
@pytest.mark.parametrize("each", [True, False])
async def test_a_middleware_is_not_who_asks(
    server: Server, watches: Watches, middlewares: Any, each: bool
) -> None:
    options = {"middlewares": middlewares}
    async with aiohttp.ClientSession(**({} if each else options)) as session:
        watch = watches.watch(session, registry=None)
        for reused in (0, 1):
            response = await load(session, f"{server.url}/stream/x", **(options if each else {}))
            assert ["load"] == functions(watch)
            assert reused == watch.snapshot().reused
            response.close()
            async with session.get(f"{server.url}/now/x", middlewares=()) as response:
                await response.read()


async def test_who_waits_is_found_outside_of_a_middleware(server: Server, watches: Watches) -> None:
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector, middlewares=(log,)) as session:
        watch = watches.watch(session, registry=None)
        first = await load(session, f"{server.url}/stream/x")
        second = asyncio.create_task(load(session, f"{server.url}/stream/x"))
        await eventually(1, lambda: watch.snapshot().waiting)
        first.close()
        response = await second
        assert ["load"] == functions(watch)
        response.close()


async def test_what_a_middleware_asks_for_itself_is_its_own(
    server: Server, watches: Watches
) -> None:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
    found: list[list[str]] = []

    async def authenticate(request: Any, handler: Handler) -> Any:
        if not request.url.path.startswith("/stream/token"):
            token = await session.get(f"{server.url}/stream/token")
            with engine.connect():
                found.append([*functions(web), *functions(database)])
            token.close()
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=(log, authenticate)) as session:
        web = watches.watch(session, registry=None)
        database = watches.watch(engine, registry=None)
        for _ in range(2):
            (await load(session, f"{server.url}/stream/x")).close()
    engine.dispose()
    own = authenticate.__qualname__
    assert [[own, own], [own, own]] == found

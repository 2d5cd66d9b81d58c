"""Requests of aiohttp.web are operations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from applications.seen import Seen
from poolscope.applications.instrument import instrument


def shop(seen: Seen) -> web.Application:
    app, orders = web.Application(), web.Application()

    async def order(_: web.Request) -> web.Response:
        seen.note("order")
        return web.Response()

    async def parts(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(2):
            seen.note("part")
            await response.write(b"part")
        return response

    @web.middleware
    async def authenticate(request: web.Request, handler: Any) -> Any:
        seen.note("middleware")
        return await handler(request)

    app.middlewares.append(authenticate)
    app.router.add_get("/orders/{number}", order)
    app.router.add_get(r"/parts/{count:\d+}", parts)
    orders.router.add_get("/items/{item}", order)
    instrument(orders, metrics=None)
    app.add_subapp("/shop/", orders)
    return instrument(app)


@pytest.fixture
async def seen() -> Seen:
    return Seen()


@pytest.fixture
async def get(seen: Seen) -> AsyncIterator[Any]:
    runner = web.AppRunner(shop(seen))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    # The server of aiohttp 3.9 takes no host with a port, with a yarl that is newer.
    headers = {"Host": "localhost"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:

        async def status(path: str) -> int:
            async with session.get(path, allow_redirects=False) as response:
                await response.read()
                return response.status

        yield status
    await runner.cleanup()


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("/orders/1", 200, "GET /orders/{number}"),
        ("/parts/2", 200, "GET /parts/{count}"),
        ("/shop/items/3", 200, "GET /shop/items/{item}"),
        ("/nothing/4", 404, "GET (no route)"),
        ("/metrics", 200, "GET /metrics"),
        ("/metrics/", 200, "GET /metrics/"),
    ],
)
async def test_each_request(get: Any, seen: Seen, path: str, status: int, name: str) -> None:
    assert status == await get(path)
    assert {name} == set(seen.names().values())


async def test_a_second_instrument_changes_nothing(seen: Seen) -> None:
    app = shop(seen)
    before = list(app.middlewares), len(app.router.resources())
    assert app is instrument(app)
    assert before == (list(app.middlewares), len(app.router.resources()))


async def test_an_application_that_has_started(seen: Seen) -> None:
    app = web.Application()
    app.freeze()
    with pytest.raises(RuntimeError, match="before the application starts"):
        instrument(app)

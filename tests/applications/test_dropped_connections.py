"""
A connection that a request leaves in its own objects is found once these are dropped.

The pool knows for which request it was taken, and must not keep that request alive.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import flask
import httpx
import pytest
import sqlalchemy
from aiohttp import web
from fastapi import FastAPI, Request
from sqlalchemy.pool import QueuePool
from starlette.responses import PlainTextResponse
from werkzeug.test import Client

from poolscope.applications.instrument import instrument
from poolscope.django import Middleware
from poolscope.watching.watches import Watches

Take = Callable[[], object]


async def of_fastapi(take: Take) -> str:
    app = FastAPI()

    @app.get("/orders/{number}")
    async def order(request: Request) -> None:
        request.state.db = take()

    await get(instrument(app))
    return "GET /orders/{number}"


async def of_bare_asgi(take: Take) -> str:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["db"] = take()
        await PlainTextResponse("")(scope, receive, send)

    await get(instrument(app))
    return "GET (no route)"


async def get(app: Any) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://shop"
    ) as client:
        assert 200 == (await client.get("/orders/1")).status_code


async def of_flask(take: Take) -> str:
    app = flask.Flask("shop")

    @app.get("/orders/<number>")
    def order(number: str) -> str:
        flask.g.db = flask.request.environ["db"] = take()
        return ""

    assert 200 == Client(instrument(app)).get("/orders/1").status_code
    return "GET /orders/<number>"


async def of_flask_inside(take: Take) -> str:
    app = flask.Flask("shop")

    @app.get("/orders/<number>")
    def order(number: str) -> str:
        flask.request.environ["db"] = take()
        return ""

    def around(environ: Any, start_response: Any) -> Any:
        return app(environ, start_response)

    assert 200 == Client(instrument(around)).get("/orders/1").status_code
    return "GET /orders/<number>"


async def of_aiohttp(take: Take) -> str:
    app = web.Application()

    async def order(request: web.Request) -> web.Response:
        request.match_info["db"] = take()  # type: ignore[assignment]  # anything that is kept
        return web.Response()

    app.router.add_get("/orders/{number}", order)
    runner = web.AppRunner(instrument(app))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/orders/1"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert 200 == response.status
    await runner.cleanup()
    return "GET /orders/{number}"


async def of_django(take: Take) -> str:
    def respond(request: Any) -> object:
        request.resolver_match = SimpleNamespace(route="orders/<int:number>")
        request.db = take()
        return SimpleNamespace(streaming=False)

    Middleware(respond)(SimpleNamespace(method="GET"))
    return "GET /orders/<int:number>"


@pytest.mark.parametrize(
    "serve", [of_fastapi, of_bare_asgi, of_flask, of_flask_inside, of_aiohttp, of_django]
)
async def test_it_is_abandoned(serve: Callable[[Take], Any]) -> None:
    engine = sqlalchemy.create_engine(
        "sqlite://", poolclass=QueuePool, connect_args={"check_same_thread": False}
    )
    with Watches().watch(engine, registry=None) as watch:
        kept: list[str | None] = []

        def take() -> object:
            connection = engine.raw_connection()
            kept.extend(hold.operation for hold in watch.holders())
            return connection

        name = await serve(take)
        gc.collect()
        snapshot = watch.snapshot()
        assert ([name], 1, 0) == (kept, snapshot.leaks_abandoned, snapshot.in_use)
    engine.dispose()

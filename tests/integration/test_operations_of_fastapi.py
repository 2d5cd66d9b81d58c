"""Each connection that a FastAPI service holds shows the request that it is for."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import pytest
import sqlalchemy
import uvicorn
import uvloop
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy.pool import QueuePool
from starlette.middleware.base import BaseHTTPMiddleware

import poolscope
from poolscope.watching.watches import Watches
from support.waiting import eventually

SIZE = 20


class Shop:
    """
    A service with one dependency that gives connections out, and eight routes.

    All its requests wait, with a connection, until `go_on` is set.
    """

    def __init__(self, base_middleware: bool) -> None:
        self.engine = sqlalchemy.create_engine(
            "sqlite://", poolclass=QueuePool, pool_size=SIZE, max_overflow=0,
            connect_args={"check_same_thread": False},
        )  # fmt: skip
        self.go_on = asyncio.Event()
        self.go_on_in_threads = threading.Event()
        self.app = FastAPI()
        self._add_routes()
        self._add_routers()
        if base_middleware:
            self.app.add_middleware(BaseHTTPMiddleware, dispatch=self._pass)
        poolscope.instrument(self.app)

    @staticmethod
    async def _pass(request: Any, call_next: Callable[[Any], Any]) -> Any:
        return await call_next(request)

    def get_db(self) -> Iterator[sqlalchemy.Connection]:
        with self.engine.connect() as connection:
            yield connection

    async def wait(self) -> None:
        await self.go_on.wait()

    def wait_in_thread(self) -> None:
        self.go_on_in_threads.wait()

    def _add_routes(self) -> None:
        app, with_db = self.app, [Depends(self.get_db)]

        async def parts() -> AsyncIterator[bytes]:
            with self.engine.connect():
                yield b"part"
                await self.go_on.wait()

        async def stream(count: int) -> StreamingResponse:
            return StreamingResponse(parts())

        async def deliver() -> None:
            with self.engine.connect():
                await self.go_on.wait()

        async def mail(to: str, tasks: BackgroundTasks) -> None:
            tasks.add_task(deliver)

        app.add_api_route("/orders/{number}", self.wait, dependencies=with_db)
        app.add_api_route("/orders/{number}/lines", self.wait, dependencies=with_db)
        app.add_api_route("/blocking/{number}", self.wait_in_thread, dependencies=with_db)
        app.add_api_route("/parts/{count}", stream)
        app.add_api_route("/mails/{to}", mail, methods=["POST"])

    def _add_routers(self) -> None:
        with_db = [Depends(self.get_db)]
        items, users, shops = APIRouter(prefix="/items"), APIRouter(), FastAPI()
        items.add_api_route("/{item}", self.wait, dependencies=with_db)
        users.add_api_route("/{user}", self.wait, methods=["PUT"], dependencies=with_db)
        shops.add_api_route("/prices/{price}", self.wait, dependencies=with_db)
        self.app.include_router(items, prefix="/api/{tenant}")
        self.app.include_router(users, prefix="/users")
        self.app.mount("/shops/{shop}", shops)


REQUESTS = (
    ("GET", "/orders/{}", 3, "GET /orders/{number}"),
    ("GET", "/orders/{}/lines", 2, "GET /orders/{number}/lines"),
    ("GET", "/blocking/{}", 3, "GET /blocking/{number}"),
    ("GET", "/parts/{}", 2, "GET /parts/{count}"),
    ("POST", "/mails/{}", 3, "background: POST /mails/{to}"),
    ("GET", "/api/acme/items/{}", 3, "GET /api/{tenant}/items/{item}"),
    ("PUT", "/users/{}", 2, "PUT /users/{user}"),
    ("GET", "/shops/here/prices/{}", 2, "GET /shops/{shop}/prices/{price}"),
)


async def run(base_middleware: bool) -> None:
    shop = Shop(base_middleware)
    watch = Watches().watch(shop.engine, registry=None)
    server = uvicorn.Server(uvicorn.Config(shop.app, port=0, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await eventually(True, lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        asked = [
            asyncio.create_task(ask(session, method, path.format(number)))
            for method, path, count, _ in REQUESTS
            for number in range(count)
        ]
        await eventually(SIZE, lambda: watch.snapshot().in_use)
        holds = watch.holders()
        assert {name: count for *_, count, name in REQUESTS} == Counter(
            hold.operation for hold in holds
        )
        givers = {str(hold.site).rpartition(" in ")[2] for hold in holds}
        assert {"Shop.get_db", "Shop._add_routes.<locals>.parts"} < givers
        shop.go_on.set()
        shop.go_on_in_threads.set()
        assert [200] * SIZE == await asyncio.gather(*asked)
    await eventually(0, lambda: watch.snapshot().in_use)
    server.should_exit = True
    await serving
    watch.unwatch()
    shop.engine.dispose()


async def ask(session: aiohttp.ClientSession, method: str, path: str) -> int:
    async with session.request(method, path) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("base_middleware", [False, True])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_each_of_twenty_holds_shows_its_route(loop: Any, base_middleware: bool) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run(base_middleware))

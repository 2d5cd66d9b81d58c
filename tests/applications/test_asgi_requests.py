"""Requests of FastAPI, Starlette, Litestar and bare ASGI callables are operations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from applications.seen import Seen
from poolscope.applications.asgi import template_in
from poolscope.applications.instrument import instrument


async def requested(app: Any, *requests: tuple[str, str]) -> list[int]:
    """Return the status of the answer to each request, a method and a path."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return [(await client.request(*request)).status_code for request in requests]


def shop(seen: Seen, *, base_middleware: bool = False) -> FastAPI:
    """Return a service with one dependency, routers in routers, and a mounted service."""
    app, inner, outer, orders = FastAPI(), APIRouter(prefix="/in"), APIRouter(), FastAPI()

    def get_db() -> Iterator[None]:
        seen.note("get_db")
        yield

    @app.get("/orders/{number}", dependencies=[Depends(get_db)])
    async def order(number: int) -> None:
        seen.note("order")

    @app.get("/blocking/{number}", dependencies=[Depends(get_db)])
    def blocking(number: int) -> None:
        seen.note("blocking")

    @app.get("/parts/{count}")
    async def parts(count: int) -> StreamingResponse:
        async def stream() -> AsyncIterator[bytes]:
            for _ in range(count):
                seen.note("part")
                yield b"part"

        return StreamingResponse(stream())

    @app.post("/mails/{to}")
    async def mail(to: str, tasks: BackgroundTasks) -> None:
        async def deliver() -> None:
            seen.note("deliver")

        seen.note("mail")
        tasks.add_task(deliver)

    @inner.get("/deep/{number}")
    async def deep(number: int) -> None:
        seen.note("deep")

    @orders.get("/items/{item}", dependencies=[Depends(get_db)])
    async def item(item: str) -> None:
        seen.note("item")

    @app.websocket("/live/{room}")
    async def live(socket: WebSocket, room: str) -> None:
        await socket.accept()
        seen.note("live")
        await socket.close()

    outer.include_router(inner, prefix="/{tenant}")
    app.include_router(outer, prefix="/api")
    app.mount("/shops/{shop}", orders)

    class Authenticate(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            seen.note("middleware")
            return await call_next(request)

    instrument(app)
    if base_middleware:
        app.add_middleware(Authenticate)
    return app


@pytest.mark.parametrize("base_middleware", [False, True])
@pytest.mark.parametrize(
    ("request_line", "names"),
    [
        ("GET /orders/1", {"get_db": "GET /orders/{number}", "order": "GET /orders/{number}"}),
        (
            "GET /blocking/2",
            {"get_db": "GET /blocking/{number}", "blocking": "GET /blocking/{number}"},
        ),
        ("GET /parts/3", {"part": "GET /parts/{count}"}),
        ("POST /mails/me", {"mail": "POST /mails/{to}", "deliver": "background: POST /mails/{to}"}),
        ("GET /api/acme/in/deep/7", {"deep": "GET /api/{tenant}/in/deep/{number}"}),
        (
            "GET /shops/s1/items/i1",
            {"get_db": "GET /shops/{shop}/items/{item}", "item": "GET /shops/{shop}/items/{item}"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_fastapi(request_line: str, names: dict[str, str], base_middleware: bool) -> None:
    seen = Seen()
    app = shop(seen, base_middleware=base_middleware)
    method, path = request_line.split()
    assert [200] == await requested(app, (method, path))
    first = names[min(names)]
    around = {"middleware": first.removeprefix("background: ")} if base_middleware else {}
    assert names | around == seen.names()


async def test_a_websocket_is_an_operation() -> None:
    seen = Seen()
    scope = {
        "type": "websocket", "path": "/live/1", "root_path": "", "headers": [], "query_string": b"",
        "subprotocols": [], "extensions": {},
    }  # fmt: skip
    sent = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await shop(seen)(scope, receive, send)
    assert ["websocket.accept", "websocket.close"] == sent
    assert {"live": "WEBSOCKET /live/{room}"} == seen.names()


async def test_no_names_but_those_of_routes() -> None:
    seen = Seen()
    app = shop(seen, base_middleware=True)
    names = set()
    for number in range(500):
        for method, path in (
            ("GET", f"/orders/{number}"),
            ("GET", f"/nothing/{number}"),
            ("DELETE", f"/orders/{number}"),
            ("GET", f"/shops/{number}/nothing"),
            (f"BREW{number}", "/orders/1"),
        ):
            await requested(app, (method, path))
            names.add(seen.names()["middleware"])
    assert {
        "GET /orders/{number}", "GET (no route)", "DELETE (no route)", "OTHER (no route)",
    } == names  # fmt: skip


async def test_what_the_router_has_matched_is_not_matched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matched: list[str] = []
    names: dict[str, str | None] = {}

    def count(routes: Any, scope: Any) -> str | None:
        matched.append(scope["path"])
        return template_in(routes, scope)

    monkeypatch.setattr("poolscope.applications.starlette.template_in", count)

    class Reader(Seen):
        def note(self, what: str) -> None:
            super().note(what)
            names.update(self.names())

    app = shop(Reader())
    paths = ["/orders/1", "/api/acme/in/deep/7", "/shops/s1/items/i1"]
    assert [200] * 3 == await requested(app, *(("GET", path) for path in paths))
    assert {
        "get_db": "GET /shops/{shop}/items/{item}",
        "order": "GET /orders/{number}",
        "deep": "GET /api/{tenant}/in/deep/{number}",
        "item": "GET /shops/{shop}/items/{item}",
    } == names
    assert {"/shops/s1/items/i1"} == set(matched)


async def test_a_route_that_is_added_later() -> None:
    seen = Seen()
    app = shop(seen)
    assert [404] == await requested(app, ("GET", "/later/1"))

    @app.get("/later/{number}")
    async def later(number: int) -> None:
        seen.note("later")

    assert [200] == await requested(app, ("GET", "/later/1"))
    assert {"later": "GET /later/{number}"} == seen.names()


async def test_instrumented_once_it_has_started() -> None:
    seen = Seen()
    app = FastAPI()

    @app.get("/orders/{number}")
    async def order(number: int) -> None:
        seen.note("order")

    await requested(app, ("GET", "/orders/1"))
    instrument(app)
    await requested(app, ("GET", "/orders/1"))
    assert {"order": "GET /orders/{number}"} == seen.names()


async def test_a_second_instrument_changes_nothing() -> None:
    seen = Seen()
    app = shop(seen)
    routes = list(app.router.routes)
    assert app is instrument(app)
    assert routes == app.router.routes
    await requested(app, ("GET", "/orders/1"))
    assert {"GET /orders/{number}"} == set(seen.names().values())


async def test_a_mounted_application_that_is_instrumented_too() -> None:
    seen = Seen()

    async def item(_: Any) -> PlainTextResponse:
        seen.note("item")
        return PlainTextResponse("")

    inner = instrument(Starlette(routes=[Route("/items/{item}", item)]))
    outer = instrument(Starlette(routes=[Mount("/shop", inner)]))
    await requested(outer, ("GET", "/shop/items/1"))
    assert {"item": "GET /shop/items/{item}"} == seen.names()


async def test_litestar() -> None:
    seen = Seen()

    @get("/orders/{number:int}")
    async def order() -> None:
        seen.note("order")

    app = instrument(Litestar([order]))
    assert [200, 200] == await requested(app, ("GET", "/orders/1"), ("GET", "/metrics"))
    assert {"order": "GET /orders/{number}"} == seen.names()


@pytest.mark.parametrize("path", ["/metrics", "/metrics/"])
async def test_metrics_without_a_redirect(path: str) -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("bare", 404)(scope, receive, send)

    for app in (shop(Seen()), instrument(Starlette()), instrument(bare)):
        assert [200] == await requested(app, ("GET", path))
    for app in (instrument(FastAPI(), metrics=None), instrument(bare, metrics=None)):
        assert [404] == await requested(app, ("GET", path))


async def test_metrics_beside_a_route_that_matches_any_path() -> None:
    seen = Seen()

    async def anything(_: Any) -> PlainTextResponse:
        seen.note("anything")
        return PlainTextResponse("")

    app = instrument(Starlette(routes=[Route("/{path:path}", anything)]))
    assert [200, 200] == await requested(app, ("GET", "/metrics"), ("GET", "/anything"))
    assert {"anything": "GET /{path:path}"} == seen.names()
    assert [200] == await requested(app, ("GET", "/metrics"))
    assert {} == seen.names()


async def test_what_the_application_raises_passes_through() -> None:
    seen = Seen()

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        seen.note("broken")
        raise LookupError("it is broken")

    with pytest.raises(LookupError, match="it is broken"):
        await requested(instrument(broken), ("GET", "/orders/1"))
    assert {"broken": "GET (no route)"} == {
        what: name and name.removeprefix("background: ") for what, name in seen.names().items()
    }
    seen.note("afterwards")
    assert {"afterwards": None} == seen.names()


async def test_what_outlives_a_request_is_its_background() -> None:
    seen = Seen()
    app, release, started = FastAPI(), asyncio.Event(), []

    async def outlive() -> None:
        await release.wait()
        seen.note("outlive")

    @app.get("/orders/{number}")
    async def order(number: int) -> None:
        started.append(asyncio.create_task(outlive()))

    await requested(instrument(app), ("GET", "/orders/1"))
    release.set()
    await asyncio.gather(*started)
    assert {"outlive": "background: GET /orders/{number}"} == seen.names()

"""Correct services, each as the documentation of its framework says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import asyncpg
import fastapi
import flask
import httpx
import sqlalchemy
from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from behaviour.programs.world import World

WAIT = 60.0
"""Seconds that a caller waits for a connection; none has to, for its pool can bear the load."""


def engine_of(world: World) -> sqlalchemy.Engine:
    url = world.database("psycopg")
    return world.watch(sqlalchemy.create_engine(url, pool_size=5, pool_pre_ping=True))


@contextlib.asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an ASGI application that runs, from its start to its end."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client


async def request(world: World, app: Any, path: str, expected: object) -> None:
    async with client_of(app) as client:

        async def handle(number: int) -> None:
            answer = await client.get(path)
            assert (200, expected) == (answer.status_code, answer.json())

        await world.serve(handle)


async def fastapi_with_an_async_session(world: World) -> None:
    engine = world.watch(
        create_async_engine(world.database("asyncpg"), pool_size=5, pool_pre_ping=True)
    )
    make_session = async_sessionmaker(engine)

    @contextlib.asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with make_session() as session:
            yield session

    app = fastapi.FastAPI(lifespan=lifespan)
    depends: Any = fastapi.Depends(get_session)

    @app.get("/orders")
    async def orders(session: AsyncSession = depends) -> int:
        return int(await session.scalar(text("SELECT 1")) or 0)

    await request(world, app, "/orders", 1)


async def fastapi_in_threads(world: World) -> None:
    """Endpoints and dependencies that are no coroutines run in threads."""
    engine = engine_of(world)

    def get_session() -> Iterator[Session]:
        with Session(engine) as session:
            yield session

    app = fastapi.FastAPI()
    depends: Any = fastapi.Depends(get_session)

    @app.get("/orders")
    def orders(session: Session = depends) -> int:
        return int(session.scalar(text("SELECT 1")) or 0)

    await request(world, app, "/orders", 1)
    engine.dispose()


async def fastapi_with_a_background_task(world: World) -> None:
    """The answer is sent before the task takes a connection of its own."""
    engine = engine_of(world)
    app = fastapi.FastAPI()

    def write_audit() -> None:
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))

    @app.get("/order")
    def order(tasks: fastapi.BackgroundTasks) -> int:
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
        tasks.add_task(write_audit)
        return 1

    await request(world, app, "/order", 1)
    engine.dispose()


async def starlette_with_a_lifespan(world: World) -> None:
    """A pool and a session from the application's start to its end, and both in each request."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        timeout = aiohttp.ClientTimeout(total=60, connect=30)
        connector = aiohttp.TCPConnector(limit=5, limit_per_host=5)
        async with (
            world.watch(asyncpg.create_pool(world.dsn, min_size=1, max_size=5)) as pool,
            world.watch(aiohttp.ClientSession(connector=connector, timeout=timeout)) as session,
        ):
            app.state.pool, app.state.session = pool, session
            yield {}

    async def orders(request: Request) -> JSONResponse:
        async with request.app.state.pool.acquire(timeout=WAIT) as connection:
            found = await connection.fetchval("SELECT 1")
        async with request.app.state.session.get(f"{world.http}/json") as response:
            await response.json()
        return JSONResponse(found)

    app = Starlette(routes=[Route("/orders", orders)], lifespan=lifespan)
    await request(world, app, "/orders", 1)


async def starlette_that_streams(world: World) -> None:
    """A connection is held while the answer is streamed, by the generator that makes it."""
    pool = await world.watch(asyncpg.create_pool(world.dsn, min_size=1, max_size=5))

    async def rows() -> AsyncIterator[str]:
        async with pool.acquire(timeout=WAIT) as connection, connection.transaction():
            async for row in connection.cursor("SELECT generate_series(1, 5)"):
                yield f"{row[0]}"

    async def report(request: Request) -> StreamingResponse:
        return StreamingResponse(rows())

    app = Starlette(routes=[Route("/report", report)])
    await request(world, app, "/report", 12345)
    await pool.close()


async def service_of_aiohttp(world: World) -> None:
    """`cleanup_ctx` opens the pools at the start, and closes them at the end."""
    key: Any = web.AppKey("pool", asyncpg.Pool)
    upstream: Any = web.AppKey("upstream", aiohttp.ClientSession)

    async def pools(app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=5, limit_per_host=5)
        timeout = aiohttp.ClientTimeout(total=60, connect=30)
        session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        async with (
            world.watch(asyncpg.create_pool(world.dsn, min_size=1, max_size=5)) as app[key],
            world.watch(session) as app[upstream],
        ):
            yield

    async def orders(request: web.Request) -> web.Response:
        async with request.app[upstream].get(f"{world.http}/json") as response:
            await response.read()
        async with request.app[key].acquire(timeout=WAIT) as connection:
            return web.json_response(await connection.fetchval("SELECT 1"))

    app = web.Application()
    app.cleanup_ctx.append(pools)
    app.router.add_get("/orders", orders)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/orders"
    async with httpx.AsyncClient() as client:

        async def handle(number: int) -> None:
            assert 1 == (await client.get(address)).json()

        await world.serve(handle)
    await runner.cleanup()


def flask_with_a_session_of_the_request(world: World) -> None:
    """The session is made when it is first used, and removed when the request ends."""
    engine = engine_of(world)
    app = flask.Flask("shop")

    def session() -> Session:
        if "session" not in flask.g:
            flask.g.session = Session(engine)
        found: Session = flask.g.session
        return found

    @app.teardown_appcontext
    def close(error: BaseException | None) -> None:
        if (opened := flask.g.pop("session", None)) is not None:
            opened.close()

    @app.get("/orders/<int:number>")
    def orders(number: int) -> str:
        if number % 10 == 0:
            session().execute(text("SELECT 1 / 0"))
        return str(session().scalar(text("SELECT 1")))

    def handle(number: int) -> None:
        answer = app.test_client().get(f"/orders/{number}")
        assert (500 if number % 10 == 0 else 200) == answer.status_code

    app.logger.disabled = True
    world.serve_in_threads(handle)
    engine.dispose()


def flask_that_streams(world: World) -> None:
    engine = engine_of(world)
    app = flask.Flask("shop")

    @app.get("/report")
    def report() -> flask.Response:
        def rows() -> Iterator[str]:
            with engine.connect() as connection:
                for number in connection.scalars(text("SELECT generate_series(1, 5)")):
                    yield str(number)

        return flask.Response(flask.stream_with_context(rows()))

    def handle(number: int) -> None:
        with app.test_client().get("/report", buffered=True) as answer:
            assert b"12345" == answer.data

    world.serve_in_threads(handle)
    engine.dispose()


def django_with_an_engine(world: World) -> None:
    """A service of Django that asks a second database by SQLAlchemy."""
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    engine = engine_of(world)

    def orders(request: HttpRequest) -> HttpResponse:
        with engine.connect() as connection:
            return HttpResponse(str(connection.scalar(text("SELECT 1"))))

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["shop"], ROOT_URLCONF=(), SECRET_KEY="of a test")  # noqa: S106
        django.setup()
    settings.ROOT_URLCONF = (path("orders", orders),)
    app: Any = WSGIHandler()

    def handle(number: int) -> None:
        with httpx.Client(transport=httpx.WSGITransport(app=app), base_url="http://shop") as client:
            assert "1" == client.get("/orders").text

    world.serve_in_threads(handle)
    engine.dispose()


async def clients_that_go_away(world: World) -> None:
    """A server cancels the handler of a client that has gone, in the middle of a stream."""
    key: Any = web.AppKey("pool", asyncpg.Pool)
    handlers: set[Any] = set()

    async def pool(app: web.Application) -> AsyncIterator[None]:
        async with world.watch(asyncpg.create_pool(world.dsn, min_size=1, max_size=5)) as app[key]:
            yield

    async def report(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        handlers.add(asyncio.current_task())
        await response.prepare(request)
        async with request.app[key].acquire(timeout=WAIT) as connection, connection.transaction():
            async for row in connection.cursor(
                "SELECT repeat('x', 10000), generate_series(1, 999)"
            ):
                await response.write(row[0].encode())
        return response

    app = web.Application()
    app.cleanup_ctx.append(pool)
    app.router.add_get("/report", report)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=60)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/report"
    async with httpx.AsyncClient() as client:
        for _ in range(10):
            async with client.stream("GET", address) as answer:
                assert await anext(answer.aiter_bytes())
            if handlers:
                await asyncio.wait(handlers)
            world.pass_time(61.0)
    await runner.cleanup()


async def health_check(world: World) -> None:
    """A service that is asked for nothing but whether it lives, day and night."""
    pool = await world.watch(asyncpg.create_pool(world.dsn, min_size=1, max_size=5))

    async def healthy(request: Request) -> PlainTextResponse:
        async with pool.acquire(timeout=WAIT) as connection:
            await connection.execute("SELECT 1")
        return PlainTextResponse("1")

    app = Starlette(routes=[Route("/healthy", healthy)])
    async with client_of(app) as client:
        for _ in range(48):
            assert "1" == (await client.get("/healthy")).text
            world.pass_time(1800.0)
    await pool.close()

"""Correct programs that use pools in less common ways, each as its library's documentation says."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anyio
import asyncpg
import fastapi
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

import poolscope
from behaviour.programs.services import client_of, engine_of
from behaviour.programs.world import World

ONE = text("SELECT 1")


def async_engine_of(world: World, size: int = 5) -> Any:
    url = world.database("asyncpg")
    return world.watch(create_async_engine(url, pool_size=size, pool_pre_ping=True))


async def pool_of(world: World, size: int = 5) -> Any:
    return await world.watch(asyncpg.create_pool(world.dsn, min_size=1, max_size=size))


def schema_of_each_tenant(world: World) -> None:
    """One pool for all tenants; each has an engine with options of its own, made from the first."""
    engine = engine_of(world)

    def handle(number: int) -> None:
        tenant = engine.execution_options(schema_translate_map={None: f"tenant_{number}"})
        with Session(world.watch(tenant)) as session:
            session.execute(ONE)

    world.serve_in_threads(handle)
    engine.dispose()


def reads_from_a_replica(world: World) -> None:
    """A session that reads from one engine and writes to another holds a connection of each."""
    primary, replica = engine_of(world), engine_of(world)

    class RoutingSession(Session):
        def get_bind(self, *args: Any, clause: Any = None, **options: Any) -> Any:
            return primary if "pg_notify" in str(clause) else replica

    make_session = sessionmaker(class_=RoutingSession)

    def handle(number: int) -> None:
        with make_session() as session, session.begin():
            session.execute(ONE)
            session.execute(text("SELECT pg_notify('orders', '')"))

    world.serve_in_threads(handle)
    primary.dispose()
    replica.dispose()


async def fixture_with_savepoints(world: World) -> None:
    """What a test commits is a savepoint of the connection that its fixture rolls back."""
    engine = async_engine_of(world)

    async def handle(number: int) -> None:
        async with engine.connect() as connection:
            transaction = await connection.begin()
            mode: Any = "create_savepoint"
            async with AsyncSession(bind=connection, join_transaction_mode=mode) as session:
                await session.execute(ONE)
                await session.commit()
                await session.execute(ONE)
            await transaction.rollback()

    await world.serve(handle)
    await engine.dispose()


async def advisory_lock(world: World) -> None:
    """One connection keeps the lock while the work is done with others."""
    pool = await pool_of(world)
    with poolscope.held_on_purpose():
        lock = await pool.acquire(timeout=60)
    await lock.execute("SELECT pg_advisory_lock(20)")

    async def handle(number: int) -> None:
        async with pool.acquire(timeout=60) as connection:
            await connection.execute("SELECT 1")

    for number in range(5):
        await handle(number)
    await world.serve(handle)
    await lock.execute("SELECT pg_advisory_unlock(20)")
    await pool.release(lock)
    await pool.close()


async def rows_copied(world: World) -> None:
    pool = await pool_of(world)

    async def rows() -> AsyncIterator[bytes]:
        for number in range(100):
            yield f"{number}\n".encode()
            await asyncio.sleep(0)

    async with pool.acquire(timeout=60) as connection:
        await connection.execute("CREATE TEMPORARY TABLE copied (number int)")
        await connection.copy_to_table("copied", source=rows())
        written = io.BytesIO()
        await connection.copy_from_query("SELECT * FROM copied", output=written)
        assert 100 == written.getvalue().count(b"\n")
    await pool.close()


async def stream_after_the_reads(world: World) -> None:
    """The rows are read, and the session is closed, before the first event is sent."""
    engine = async_engine_of(world)
    make_session = async_sessionmaker(engine)
    app = fastapi.FastAPI()

    @app.get("/events")
    async def events() -> fastapi.responses.StreamingResponse:
        async with make_session() as session:
            rows = (await session.scalars(text("SELECT generate_series(1, 3)"))).all()

        async def send() -> AsyncIterator[str]:
            for row in rows:
                yield f"data: {row}\n\n"
                await asyncio.sleep(0)

        return fastapi.responses.StreamingResponse(send(), media_type="text/event-stream")

    poolscope.instrument(app, metrics=None)
    async with client_of(app) as client:

        async def handle(number: int) -> None:
            assert 3 == (await client.get("/events")).text.count("data:")

        await world.serve(handle)
    await engine.dispose()


def event_loop_of_each_test(world: World) -> None:
    """Each test runs the application in an event loop of its own, with a new pool."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        app.state.pool = await pool_of(world)
        yield
        await app.state.pool.close()

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.get("/order")
    async def order() -> int:
        async with app.state.pool.acquire(timeout=60) as connection:
            return int(await connection.fetchval("SELECT 1"))

    poolscope.instrument(app, metrics=None)

    async def run_test() -> None:
        async with client_of(app) as client:
            for _ in range(20):
                assert 1 == (await client.get("/order")).json()

    for _ in range(3):
        asyncio.run(run_test())


async def threads_that_ask_the_loop(world: World) -> None:
    """Code in threads has the event loop take the connections."""
    pool = await pool_of(world)
    loop = asyncio.get_running_loop()

    async def query() -> None:
        async with pool.acquire(timeout=60) as connection:
            await connection.execute("SELECT 1")

    async def handle(number: int) -> None:
        await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(query(), loop).result(60))

    await world.serve(handle)
    await pool.close()


async def workers_of_a_stream(world: World) -> None:
    pool = await pool_of(world)
    send, receive = anyio.create_memory_object_stream[int](5)

    async def work(orders: Any) -> None:
        async with orders:
            async for _ in orders:
                async with pool.acquire(timeout=60) as connection:
                    await connection.execute("SELECT 1")

    async with anyio.create_task_group() as group, send:
        for _ in range(3):
            group.start_soon(work, receive.clone())
        receive.close()
        for number in range(60):
            await send.send(number)
    await pool.close()


async def outbox(world: World) -> None:
    """What is sent to another server is read before, and marked after, in two transactions."""
    pool = await pool_of(world)
    connector = aiohttp.TCPConnector(limit=4, limit_per_host=4)
    timeout = aiohttp.ClientTimeout(total=60, connect=30)
    session = world.watch(aiohttp.ClientSession(world.http, connector=connector, timeout=timeout))

    async def handle(number: int) -> None:
        async with pool.acquire(timeout=60) as connection, connection.transaction():
            await connection.fetch("SELECT 1 FOR UPDATE SKIP LOCKED")
        async with session.get("/json") as response:
            await response.read()
        async with pool.acquire(timeout=60) as connection:
            await connection.execute("SELECT 1")

    await world.serve(handle)
    await session.close()
    await pool.close()

"""Correct programs with an asynchronous engine of SQLAlchemy."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.pool import NullPool

from behaviour.programs.world import World

request: ContextVar[int] = ContextVar("request")


def engine_of(world: World, **options: Any) -> AsyncEngine:
    options = {"pool_size": 4, "max_overflow": 1, "pool_pre_ping": True, **options}
    return world.watch(create_async_engine(world.database("asyncpg"), **options))


async def connection_for_each_request(world: World) -> None:
    engine = engine_of(world)

    async def handle(number: int) -> None:
        async with engine.connect() as connection:
            assert 1 == await connection.scalar(text("SELECT 1"))

    await world.serve(handle)
    await engine.dispose()


async def session_for_each_request(world: World) -> None:
    engine = engine_of(world)
    make_session = async_sessionmaker(engine, expire_on_commit=False)

    async def handle(number: int) -> None:
        async with make_session() as session, session.begin():
            assert 1 == await session.scalar(text("SELECT 1"))

    await world.serve(handle)
    await engine.dispose()


async def scoped_session_of_each_request(world: World) -> None:
    engine = engine_of(world)
    session = async_scoped_session(async_sessionmaker(engine), scopefunc=request.get)

    async def handle(number: int) -> None:
        request.set(number)
        try:
            assert 1 == await session.scalar(text("SELECT 1"))
            assert 2 == await session.scalar(text("SELECT 2"))
        finally:
            await session.remove()

    await world.serve(handle)
    await engine.dispose()


async def rows_streamed(world: World) -> None:
    engine = engine_of(world)
    for _ in range(5):
        async with engine.connect() as connection:
            read = 0
            result = await connection.stream(text("SELECT generate_series(1, 3000)"))
            async for rows in result.partitions(500):
                read += len(rows)
                world.pass_time(5.0)
        assert 3000 == read
    await engine.dispose()


async def synchronous_code_in_a_session(world: World) -> None:
    """`run_sync` runs code of the ORM that knows nothing of coroutines."""
    engine = engine_of(world, pool_size=1, max_overflow=0)

    def work(session: Any) -> int:
        return int(session.scalar(text("SELECT 1"))) + int(session.scalar(text("SELECT 2")))

    async def handle(number: int) -> None:
        async with AsyncSession(engine) as session:
            assert 3 == await session.run_sync(work)

    for number in range(20):
        await handle(number)
    await engine.dispose()


async def requests_that_clients_give_up(world: World) -> None:
    """A server cancels the handler when its client has gone; the connection is given up."""
    engine = engine_of(world)

    async def handle(number: int) -> None:
        backend = asyncio.get_running_loop().create_future()

        async def query() -> None:
            async with engine.connect() as connection:
                backend.set_result(await connection.scalar(text("SELECT pg_backend_pid()")))
                await connection.execute(text("SELECT pg_sleep(60)"))

        if number % 10:
            return
        task = asyncio.create_task(query())
        await world.running(await backend)
        task.cancel()
        await asyncio.wait([task])

    await world.serve(handle)
    await engine.dispose()


async def without_a_pool(world: World) -> None:
    engine = world.watch(create_async_engine(world.database("asyncpg"), poolclass=NullPool))

    async def handle(number: int) -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    await world.serve(handle)
    await engine.dispose()


async def parts_of_a_request_in_tasks(world: World) -> None:
    """A page needs three queries; each has a task and a session of its own."""
    engine = engine_of(world, pool_size=12)
    make_session = async_sessionmaker(engine)

    async def query(number: int) -> None:
        async with make_session() as session:
            await session.execute(text("SELECT 1"))

    async def handle(number: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(query(number))

    await world.serve(handle)
    await engine.dispose()


async def background_task_after_the_answer(world: World) -> None:
    engine = engine_of(world, pool_size=8)
    running: set[asyncio.Task[None]] = set()

    async def write_audit() -> None:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))

    async def handle(number: int) -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        task = asyncio.create_task(write_audit())
        running.add(task)
        task.add_done_callback(running.discard)

    for number in range(0, 60, 4):
        await asyncio.gather(*(handle(number) for _ in range(4)))
        await asyncio.gather(*running)
        world.pass_time(61.0)
    await engine.dispose()


async def generator_of_sessions(world: World) -> None:
    """What a framework does with a dependency that yields a session."""
    engine = engine_of(world)
    make_session = async_sessionmaker(engine)

    async def get_session() -> Any:
        async with make_session() as session:
            yield session

    async def handle(number: int) -> None:
        dependency = get_session()
        session = await anext(dependency)
        assert 1 == await session.scalar(text("SELECT 1"))
        await dependency.aclose()

    await world.serve(handle)
    await engine.dispose()


async def listener_in_the_driver(world: World) -> None:
    """LISTEN needs asyncpg's own connection, which is held for as long as the service runs."""
    engine = engine_of(world)
    heard: list[str] = []

    async def hear() -> None:
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            arrived = asyncio.Event()

            def note(*what: Any) -> None:
                heard.append(what[-1])
                arrived.set()

            await driver.add_listener("shop_sqlalchemy", note)
            listening.set()
            await arrived.wait()
            await sent.wait()
            world.pass_time(3600.0)
            await driver.remove_listener("shop_sqlalchemy", note)

    listening, sent = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(hear())
    await listening.wait()
    async with engine.connect() as connection:
        await connection.execute(text("NOTIFY shop_sqlalchemy, 'an order'"))
        await connection.commit()
    sent.set()
    await task
    assert ["an order"] == heard
    await engine.dispose()

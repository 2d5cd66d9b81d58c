"""Mistakes that make the libraries raise or log what people search for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from behaviour.programs.world import World
from support.ports import closed_port
from support.waiting import eventually

SOON: Final = 0.01
"""Seconds after which a caller gives up that would wait for ever."""

BACKEND: Final = "SELECT pg_backend_pid()"


def engine_of(world: World, **options: Any) -> sqlalchemy.Engine:
    return world.watch(sqlalchemy.create_engine(world.database("psycopg"), **options))


def end_backend(world: World, backend: int) -> None:
    """Let the server end a connection, and return when it has."""
    with psycopg.connect(world.dsn, autocommit=True) as administrator:
        administrator.execute("SELECT pg_terminate_backend(%s, 60000)", [backend])


def exhausted(world: World) -> None:
    engine = engine_of(world, pool_size=1, max_overflow=0, pool_timeout=SOON, pool_pre_ping=True)
    with engine.connect():
        try:
            run_in_a_thread(engine.connect)
        finally:
            engine.dispose()


def run_in_a_thread(call: Callable[[], Any]) -> None:
    asyncio.run(asyncio.to_thread(call))


async def exhausted_asyncpg(world: World) -> None:
    pool = await world.watch(asyncpg.create_pool(world.dsn, min_size=0, max_size=1))
    async with pool, pool.acquire(timeout=60):
        await asyncio.create_task(wait_for_a_connection(pool))


async def wait_for_a_connection(pool: Any) -> None:
    await pool.acquire(timeout=SOON)


def session_of(world: World) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=1, limit_per_host=1)
    timeout = aiohttp.ClientTimeout(total=60, connect=30)
    return world.watch(
        aiohttp.ClientSession(base_url=world.http, connector=connector, timeout=timeout)
    )


async def exhausted_aiohttp(world: World) -> None:
    async with session_of(world) as session, session.get("/large"):
        await asyncio.create_task(ask_for_a_moment(session))


async def ask_for_a_moment(session: aiohttp.ClientSession) -> None:
    await session.get("/json", timeout=aiohttp.ClientTimeout(total=60, connect=SOON))


async def blocked_loop(world: World) -> None:
    engine = engine_of(world, pool_size=1, max_overflow=0, pool_timeout=SOON, pool_pre_ping=True)
    with engine.connect():
        try:
            await asyncio.create_task(connect(engine))
        finally:
            engine.dispose()


async def connect(engine: sqlalchemy.Engine) -> None:
    engine.connect()


async def collected(world: World) -> None:
    engine = world.watch(create_async_engine(world.database("asyncpg"), pool_pre_ping=True))
    await asyncio.create_task(lose_a_connection(engine))
    gc.collect()
    await engine.dispose()


async def lose_a_connection(engine: Any) -> None:
    await engine.connect()


async def unread(world: World) -> None:
    asyncio.get_running_loop().set_debug(True)  # otherwise aiohttp says nothing
    async with session_of(world) as session:
        await asyncio.create_task(lose_a_response(session))
        (watch,) = world.watched
        await eventually(1, lambda: watch.snapshot().leaks_abandoned)


async def lose_a_response(session: aiohttp.ClientSession) -> None:
    await session.get("/large")


async def unclosed(world: World) -> None:
    session = session_of(world)
    async with session.get("/json") as response:
        await response.read()


async def refused(world: World) -> None:
    async with session_of(world) as session:
        await session.get(f"http://127.0.0.1:{closed_port()}/")


async def closed_by_the_server_while_idle(world: World) -> None:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, session_of(world) as session:
        for _ in range(2):
            async with session.post(address) as response:
                await response.read()


def no_more_clients(world: World, role: str = "postgres") -> None:
    """Others have taken all connections that the role may have."""
    address = sqlalchemy.make_url(world.database("psycopg")).set(username=role)
    engine = world.watch(sqlalchemy.create_engine(address, pool_size=60, pool_pre_ping=True))
    others = []
    try:
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                others.append(psycopg.connect(world.dsn, user=role))
        engine.connect()
    finally:
        for connection in others:
            connection.close()


def reserved_connections(world: World) -> None:
    with psycopg.connect(world.dsn, autocommit=True) as administrator:
        administrator.execute("CREATE ROLE ordinary LOGIN")
        try:
            no_more_clients(world, "ordinary")
        finally:
            administrator.execute("DROP ROLE ordinary")


def ended_while_idle(world: World) -> None:
    engine = engine_of(world, pool_size=1)
    with engine.connect() as connection:
        backend = connection.scalar(text(BACKEND))
    end_backend(world, backend)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    finally:
        engine.dispose()


def ended_in_a_transaction(world: World) -> None:
    engine = engine_of(world, pool_size=1, pool_pre_ping=True)
    with Session(engine) as session:
        end_backend(world, session.scalar(text(BACKEND)))
        with pytest.raises(sqlalchemy.exc.OperationalError):
            session.execute(text("SELECT 1"))
        try:
            session.execute(text("SELECT 1"))
        finally:
            session.rollback()
            engine.dispose()


async def ended_in_a_query(world: World) -> None:
    pool = await world.watch(asyncpg.create_pool(world.dsn, min_size=0, max_size=1))
    async with pool, pool.acquire(timeout=60) as connection:
        backend = connection.get_server_pid()
        query = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        await world.running(backend)
        administrator = await asyncpg.connect(world.dsn)
        await administrator.execute("SELECT pg_terminate_backend($1)", backend)
        await administrator.close()
        await query


async def shared_connection(world: World) -> None:
    pool = await world.watch(asyncpg.create_pool(world.dsn, min_size=0, max_size=1))
    async with pool, pool.acquire(timeout=60) as connection, asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(connection.execute("SELECT 1"))


async def shared_session(world: World) -> None:
    engine = world.watch(create_async_engine(world.database("asyncpg"), pool_pre_ping=True))
    async with AsyncSession(engine) as session:
        both = [session.execute(text("SELECT 1")) for _ in range(2)]
        first, second = await asyncio.gather(*both, return_exceptions=True)
    await engine.dispose()
    assert not isinstance(first, BaseException)
    raise second  # type: ignore[misc] # an error, as the test expects


async def outside_a_task(world: World) -> None:
    async with session_of(world) as session:
        request: Any = session.get("/json").__await__()
        failed = asyncio.get_running_loop().create_future()

        def step() -> None:
            try:
                next(request)
            except RuntimeError as error:
                failed.set_result(error)

        asyncio.get_running_loop().call_soon(step)
        raise await failed


async def synchronous_call(world: World) -> None:
    engine = world.watch(create_async_engine(world.database("asyncpg"), pool_pre_ping=True))
    with Session(engine.sync_engine) as session:
        session.execute(text("SELECT 1"))


async def closed_pool(world: World) -> None:
    pool = world.watch(asyncpg.create_pool(world.dsn, min_size=0, max_size=1))
    await pool
    await pool.close()
    await pool.acquire(timeout=60)


async def pool_that_is_not_open(world: World) -> None:
    await world.watch(asyncpg.create_pool(world.dsn)).acquire(timeout=60)


async def closed_session(world: World) -> None:
    session = session_of(world)
    await session.close()
    await session.get("/json")

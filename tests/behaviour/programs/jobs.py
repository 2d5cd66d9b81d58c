"""Correct jobs, scripts and tests."""

from __future__ import annotations

import asyncio
import contextlib
import io

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from behaviour.programs.sync_sqlalchemy import engine_of
from behaviour.programs.world import World


def worker_of_a_queue(world: World) -> None:
    """Each task of a worker commits or rolls back; a task that fails is tried again."""
    engine = engine_of(world)
    failed: set[int] = set()

    def task(number: int) -> None:
        with Session(engine) as session, session.begin():
            session.execute(text("SELECT 1"))
            if number % 10 == 0 and number not in failed:
                failed.add(number)
                raise ConnectionError("try again")

    def handle(number: int) -> None:
        for _ in range(2):
            with contextlib.suppress(ConnectionError):
                task(number)

    world.serve_one_by_one(handle)
    engine.dispose()


def command_line(world: World) -> None:
    """A script takes one connection for all that it does, for less than a minute."""
    engine = engine_of(world)
    out = io.StringIO()
    with engine.begin() as connection:
        for number in connection.scalars(text("SELECT generate_series(1, 10)")):
            out.write(f"{number}\n")
            world.pass_time(4.0)
    engine.dispose()
    assert 10 == len(out.getvalue().splitlines())


def fixture_of_a_test_suite(world: World) -> None:
    """
    Each test has a transaction that is rolled back at its end, as SQLAlchemy's documentation says.

    The sessions of the code under test join it by savepoints.
    """
    engine = engine_of(world)
    for number in range(20):
        connection = engine.connect()
        transaction = connection.begin()
        session = Session(bind=connection, join_transaction_mode="create_savepoint")
        session.execute(text("SELECT 1"))
        session.commit()
        assert number == session.scalar(text("SELECT :number"), {"number": number})
        session.close()
        transaction.rollback()
        connection.close()
        world.pass_time(1.0)
    engine.dispose()


def job_of_each_hour(world: World) -> None:
    """Each run of a job has an engine that it disposes of, all of them in one process."""
    for _ in range(24):
        engine = engine_of(world)
        with engine.begin() as connection:
            for number in range(20):
                connection.execute(text("SELECT :number"), {"number": number})
        engine.dispose()
        world.pass_time(3600.0)


def coroutines_of_each_run(world: World) -> None:
    """A scheduler calls `asyncio.run` for each run, which disposes of the engine that it made."""

    async def run() -> None:
        url = world.database("asyncpg")
        engine = world.watch(create_async_engine(url, pool_size=2, pool_pre_ping=True))
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))
        await engine.dispose()

    for _ in range(5):
        asyncio.run(run())
        world.pass_time(3600.0)


def one_engine_for_several_loops(world: World) -> None:
    """With a NullPool an engine may be used in one event loop after the other."""
    engine = world.watch(create_async_engine(world.database("asyncpg"), poolclass=NullPool))

    async def run() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    for _ in range(5):
        asyncio.run(run())
        world.pass_time(60.0)

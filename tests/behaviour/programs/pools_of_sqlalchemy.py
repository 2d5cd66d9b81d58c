"""Correct programs with SQLAlchemy's classes of pools, their events, and several pools."""

from __future__ import annotations

from typing import Any

import psycopg
import sqlalchemy
from sqlalchemy import event, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, QueuePool, SingletonThreadPool, StaticPool

from behaviour.programs.sync_sqlalchemy import engine_of
from behaviour.programs.world import World

HOUR = 3600.0
"""Seconds."""


def without_a_pool(world: World) -> None:
    """Behind a PgBouncer, as SQLAlchemy's documentation advises."""
    url = world.database("psycopg")
    engine = world.watch(sqlalchemy.create_engine(url, poolclass=NullPool))

    def handle(number: int) -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    world.serve_in_threads(handle)
    engine.dispose()


def two_connections_without_a_pool(world: World) -> None:
    """With a NullPool nobody waits for a connection, so a copy may read and write at once."""
    url = world.database("psycopg")
    engine = world.watch(sqlalchemy.create_engine(url, poolclass=NullPool))
    for _ in range(5):
        with engine.connect() as source, engine.begin() as target:
            for number in source.scalars(text("SELECT generate_series(1, 3)")):
                target.execute(text("SELECT :number"), {"number": number})
    engine.dispose()


def database_in_memory(world: World) -> None:
    """One connection that all threads of a test share."""
    engine = world.watch(
        sqlalchemy.create_engine(
            "sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool
        )
    )
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (number INTEGER)"))
    for number in range(20):
        with Session(engine) as session:
            session.execute(text("INSERT INTO orders VALUES (:number)"), {"number": number})
            session.commit()
        with engine.connect() as connection:
            assert number + 1 == connection.scalar(text("SELECT count(*) FROM orders"))
    engine.dispose()


def connection_of_each_thread(world: World) -> None:
    """The pool that SQLAlchemy chooses for a database in memory."""
    engine = world.watch(sqlalchemy.create_engine("sqlite://", poolclass=SingletonThreadPool))

    def handle(number: int) -> None:
        with engine.connect() as connection:
            assert number == connection.scalar(text("SELECT :number"), {"number": number})

    world.serve_one_by_one(handle)
    engine.dispose()


def events_of_the_pool(world: World) -> None:
    """A listener prepares each new connection, and refuses one that is stale."""
    engine = engine_of(world)
    seen: list[str] = []

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        seen.append("connect")
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '5s'")
        connection.commit()

    @event.listens_for(engine, "checkout")
    def check(connection: Any, record: Any, proxy: Any) -> None:
        seen.append("checkout")
        if seen.count("checkout") == 30:
            raise sqlalchemy.exc.DisconnectionError("stale")

    def handle(number: int) -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    world.serve_one_by_one(handle)
    assert 2 == seen.count("connect")
    engine.dispose()


def connection_detached(world: World) -> None:
    """A connection that has been changed for good leaves the pool, and is closed."""
    engine = engine_of(world)
    for _ in range(5):
        with engine.connect() as connection:
            connection.detach()
            connection.execute(text("SET TIME ZONE 'UTC'"))
            world.pass_time(61.0)
    engine.dispose()


def server_that_restarts(world: World) -> None:
    """All idle connections are lost at night; the pre-ping replaces them, and nobody notices."""
    engine = engine_of(world)
    backends: set[int] = set()

    def handle(number: int) -> None:
        with engine.connect() as connection:
            backends.add(connection.scalar(text("SELECT pg_backend_pid()")) or 0)

    administrator = sqlalchemy.create_engine(world.database("psycopg"), poolclass=NullPool)
    for _ in range(3):
        world.serve_in_threads(handle)
        world.pass_time(HOUR)
        with administrator.connect() as connection:
            alive = text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ANY(:p)"
            )
            while connection.execute(alive, {"p": list(backends)}).first() is not None:
                connection.rollback()
    engine.dispose()


def several_pools(world: World) -> None:
    """A primary for writing and a replica for reading: holding one of each is no nesting."""
    url, options = world.database("psycopg"), {"pool_size": 4, "pool_pre_ping": True}
    primary = world.watch(sqlalchemy.create_engine(url, **options), "primary")
    replica = world.watch(sqlalchemy.create_engine(url, **options), "replica")

    def handle(number: int) -> None:
        with replica.connect() as source, primary.begin() as target:
            target.execute(text("SELECT :found"), {"found": source.scalar(text("SELECT 1"))})

    world.serve_in_threads(handle)
    primary.dispose()
    replica.dispose()


def tenants(world: World) -> None:
    """A database for each tenant, and an engine for each database, all of one name."""
    url, options = world.database("psycopg"), {"pool_size": 1, "pool_pre_ping": True}
    engines = [world.watch(sqlalchemy.create_engine(url, **options)) for _ in range(25)]

    def handle(number: int) -> None:
        with engines[number % 25].connect() as connection:
            connection.execute(text("SELECT 1"))

    world.serve_one_by_one(handle)
    for engine in engines:
        engine.dispose()


def disposed_when_idle(world: World) -> None:
    """A job that runs once an hour keeps no connection open in between."""
    engine = engine_of(world)
    for _ in range(25):
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
        engine.dispose()
        world.pass_time(HOUR)


def options_of_an_engine(world: World) -> None:
    """Engines with other options share the pool of the first."""
    engine = engine_of(world)
    reports = world.watch(engine.execution_options(isolation_level="REPEATABLE READ"))

    def handle(number: int) -> None:
        with reports.connect() as connection:
            connection.execute(text("SELECT 1"))
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))

    world.serve_in_threads(handle)
    engine.dispose()


def watched_while_in_use(world: World) -> None:
    """The watch begins when connections are open, and one is out."""
    url = world.database("psycopg")
    engine = sqlalchemy.create_engine(url, pool_size=4, pool_pre_ping=True)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        world.watch(engine)
        world.pass_time(1.0)

    def handle(number: int) -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    world.serve_in_threads(handle)
    engine.dispose()


def pool_of_another_driver(world: World) -> None:
    """A bare pool in front of any driver, without an engine."""

    def connect() -> Any:
        return psycopg.connect(world.dsn)

    pool = world.watch(QueuePool(connect, pool_size=4))

    def handle(number: int) -> None:
        connection: Any = pool.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        finally:
            connection.close()

    world.serve_in_threads(handle)
    pool.dispose()

"""Correct programs with a synchronous engine of SQLAlchemy."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy
from sqlalchemy import select, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from behaviour.programs.world import World


class Base(DeclarativeBase):
    """The tables of the shop."""


class Order(Base):
    """An order of the shop, in a table that only the connection has that creates it."""

    __tablename__ = "orders"
    __table_args__ = {"prefixes": ["TEMPORARY"]}  # noqa: RUF012 - as SQLAlchemy's documentation has it

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


def engine_of(world: World, **options: Any) -> sqlalchemy.Engine:
    options = {"pool_size": 4, "max_overflow": 1, "pool_pre_ping": True, **options}
    return world.watch(sqlalchemy.create_engine(world.database("psycopg"), **options))


def connection_for_each_request(world: World) -> None:
    engine = engine_of(world)

    def handle(number: int) -> None:
        with engine.connect() as connection:
            assert number == connection.scalar(text("SELECT :number"), {"number": number})

    world.serve_in_threads(handle)
    engine.dispose()


def transaction_for_each_request(world: World) -> None:
    """`begin` commits; an error rolls back, and the service answers 500 and goes on."""
    engine = engine_of(world)

    def handle(number: int) -> None:
        try:
            with engine.begin() as connection:
                connection.execute(text("SELECT 1 / :number"), {"number": number % 10})
        except sqlalchemy.exc.DataError:
            assert number % 10 == 0

    world.serve_in_threads(handle)
    engine.dispose()


def session_for_each_request(world: World) -> None:
    engine = engine_of(world)
    make_session = sessionmaker(engine, expire_on_commit=False)

    def handle(number: int) -> None:
        with make_session() as session:
            Base.metadata.create_all(session.connection())
            session.add(Order(id=number, item="book"))
            session.flush()
            assert [number] == [order.id for order in session.scalars(select(Order))]
            session.rollback()

    world.serve_in_threads(handle)
    engine.dispose()


def session_that_commits_often(world: World) -> None:
    """After each commit the connection is in the pool; the next statement takes one again."""
    engine = engine_of(world)
    with Session(engine) as session:
        for number in range(50):
            assert number == session.scalar(text("SELECT :number"), {"number": number})
            session.commit()
            world.pass_time(61.0)
    engine.dispose()


def scoped_session_of_each_thread(world: World) -> None:
    engine = engine_of(world)
    session = scoped_session(sessionmaker(engine))

    def find(number: int) -> int:
        return int(session.execute(text("SELECT :number"), {"number": number}).scalar_one())

    def handle(number: int) -> None:
        try:
            assert [number, number] == [find(number), find(number)]
        finally:
            session.remove()

    world.serve_in_threads(handle)
    engine.dispose()


def nested_transactions(world: World) -> None:
    """Savepoints use the connection of their transaction."""
    engine = engine_of(world, pool_size=1, max_overflow=0)
    with Session(engine) as session, session.begin():
        for number in range(20):
            with session.begin_nested():
                assert number == session.scalar(text("SELECT :number"), {"number": number})
    engine.dispose()


def connection_passed_on(world: World) -> None:
    """A function that holds a connection passes it to those that it calls."""
    engine = engine_of(world, pool_size=1, max_overflow=0)

    def write_audit(connection: sqlalchemy.Connection, number: int) -> None:
        connection.execute(text("SELECT :number"), {"number": number})

    def handle(number: int) -> None:
        with engine.begin() as connection:
            write_audit(connection, number)

    world.serve_one_by_one(handle)
    engine.dispose()


def rows_streamed(world: World) -> None:
    """A report reads many rows with a cursor of the server, for half a minute."""
    engine = engine_of(world)
    query = text("SELECT generate_series(1, 3000)")
    for _ in range(5):
        with engine.connect() as connection:
            result = connection.execution_options(yield_per=500).execute(query)
            read = 0
            for rows in result.partitions():
                read += len(rows)
                world.pass_time(5.0)
        assert 3000 == read
    engine.dispose()


def connection_of_the_driver(world: World) -> None:
    """A bulk load with COPY needs the driver's own connection."""
    engine = engine_of(world)

    def handle(number: int) -> None:
        connection: Any = engine.raw_connection()
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                assert (1,) == cursor.fetchone()
            connection.commit()
        finally:
            connection.close()

    world.serve_in_threads(handle)
    engine.dispose()


def work_shared_among_threads(world: World) -> None:
    """A request hands parts of its work to threads, each with a connection of its own."""
    engine = engine_of(world)

    def part(number: int) -> int:
        with engine.connect() as connection:
            return int(connection.scalar(text("SELECT :number"), {"number": number}) or 0)

    with ThreadPoolExecutor(4) as threads:

        def handle(number: int) -> None:
            assert [number] * 4 == list(threads.map(part, [number] * 4))

        world.serve_one_by_one(handle)
    engine.dispose()


def tables_inspected(world: World) -> None:
    """A migration looks at the tables: the engine's inspector takes a connection for each look."""
    engine = engine_of(world, pool_size=1, max_overflow=0)
    inspector = sqlalchemy.inspect(engine)
    for _ in range(5):
        assert [] == inspector.get_table_names(schema="public")
        world.pass_time(61.0)
    with engine.connect() as connection:
        assert [] == sqlalchemy.inspect(connection).get_view_names(schema="public")
    engine.dispose()


def connections_dealt_out(world: World) -> None:
    """One thread takes the connections, and others use and return them."""
    engine = engine_of(world)

    def use(connection: sqlalchemy.Connection) -> None:
        with connection:
            connection.execute(text("SELECT 1"))

    with ThreadPoolExecutor(4) as threads:
        for _ in range(15):
            jobs = [threads.submit(use, engine.connect()) for _ in range(4)]
            for job in jobs:
                job.result()
    engine.dispose()


def session_handed_to_a_thread(world: World) -> None:
    """A thread begins, another one goes on with the same session and closes it."""
    engine = engine_of(world)

    def finish(session: Session) -> None:
        session.execute(text("SELECT 2"))
        session.close()

    def handle(number: int) -> None:
        session = Session(engine)
        session.execute(text("SELECT 1"))
        thread = threading.Thread(target=finish, args=(session,))
        thread.start()
        thread.join()

    world.serve_in_threads(handle)
    engine.dispose()

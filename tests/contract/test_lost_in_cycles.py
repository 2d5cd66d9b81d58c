"""
A connection that was lost in a reference cycle is nobody's, before the collector has found it.

SQLAlchemy's sessions, and its connections in a transaction, are such cycles: whoever drops one has
lost it, and does not nest afterwards.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from contract.test_nested import WARNINGS_OF_LOST_CONNECTIONS
from poolscope import Watch
from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.watching.watches import Watches

pytestmark = pytest.mark.filterwarnings(*WARNINGS_OF_LOST_CONNECTIONS)

ONE: Final = text("SELECT 1")
Lose = Callable[[Any], object]


def session(engine: Any) -> None:
    session = Session(engine)
    session.execute(ONE)


def connection_in_a_transaction(engine: Any) -> None:
    connection = engine.connect()
    connection.execute(ONE)


def connection_in_an_error(engine: Any) -> None:
    kept = []
    try:
        connection = engine.connect()
        connection.execute(text("SELECT nothing"))
    except sqlalchemy.exc.DBAPIError as error:
        kept.append(error)


class Repository:
    """Refers to itself, by a method of its own."""

    def __init__(self, engine: Any) -> None:
        self.connection = engine.connect()
        self.find = self.look

    def look(self) -> None:
        self.connection.execute(ONE)


def object_with_a_connection(engine: Any) -> None:
    Repository(engine).find()


async def async_session(engine: Any) -> None:
    session = AsyncSession(engine)
    await session.execute(ONE)


async def async_connection(engine: Any) -> None:
    connection = await engine.connect()
    await connection.execute(ONE)


async def async_stream(engine: Any) -> None:
    connection = await engine.connect()
    await connection.stream(text("SELECT generate_series(1, 1000)"))


@pytest.fixture(autouse=True)
def quiet_collector() -> Iterator[None]:
    """The collector does not run by chance between a loss and what follows."""
    gc.collect()
    thresholds = gc.get_threshold()
    gc.set_threshold(1_000_000)
    yield
    gc.set_threshold(*thresholds)
    gc.collect()


def blamed(watch: Watch) -> tuple[int, int, bool]:
    """Return how many were nested and abandoned, and whether somebody is blamed for nesting."""
    snapshot = watch.snapshot()
    rules = [finding.rule for finding in watch.findings()]
    return snapshot.nested, snapshot.leaks_abandoned, "nested-acquire" in rules


SYNC: Final = (
    session, connection_in_a_transaction, connection_in_an_error, object_with_a_connection
)  # fmt: skip


@pytest.mark.parametrize("size", [2, 20])
@pytest.mark.parametrize("lose", SYNC, ids=lambda lose: lose.__name__)
def test_who_has_lost_one_in_a_thread_does_not_nest(
    engines: Any, watches: Watches, lose: Lose, size: int
) -> None:
    watch = watches.watch(engine := engines(pool_size=size, max_overflow=0), registry=None)
    lose(engine)
    for _ in range(3):
        with engine.connect() as connection:
            connection.execute(ONE)
    assert (0, 1, False) == blamed(watch)


@pytest.mark.parametrize("size", [2, 20])
@pytest.mark.parametrize(
    "lose", [async_session, async_connection, async_stream], ids=lambda lose: lose.__name__
)
async def test_who_has_lost_one_in_a_task_does_not_nest(
    postgres: EmbeddedPostgres, watches: Watches, lose: Callable[[Any], Awaitable[None]], size: int
) -> None:
    url = postgres.sqlalchemy_url("asyncpg")
    engine = create_async_engine(url, pool_size=size, max_overflow=0)
    watch = watches.watch(engine, registry=None)

    async def use() -> None:
        await lose(engine)
        for _ in range(3):
            async with engine.connect() as connection:
                await connection.execute(ONE)

    await asyncio.create_task(use())
    assert (0, 1, False) == blamed(watch)
    await engine.dispose()


def test_who_has_lost_one_and_holds_another_nests(engines: Any, watches: Watches) -> None:
    watch = watches.watch(engine := engines(pool_size=2, max_overflow=0), registry=None)
    kept = Session(engine)
    kept.execute(ONE)
    session(engine)
    assert (1, True) == (watch.snapshot().nested, blamed(watch)[2])
    kept.close()


def test_a_collector_that_the_application_has_disabled_does_not_run(
    engines: Any, watches: Watches
) -> None:
    watch = watches.watch(engine := engines(pool_size=2, max_overflow=0), registry=None)
    gc.disable()
    try:
        session(engine)
        with engine.connect() as connection:
            connection.execute(ONE)
        assert (1, 0, True) == blamed(watch)
    finally:
        gc.enable()
        gc.collect()  # before the engine is disposed of

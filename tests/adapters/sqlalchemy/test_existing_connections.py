"""SQLAlchemy: connections that were open before the watch are found without a search of memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NoReturn

import pytest
import sqlalchemy
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import create_async_engine

from poolscope.adapters.sqlalchemy.pools import existing_records
from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.watching.watches import Watches
from support.engines import counted

CLASSES = [
    (pool.QueuePool, 2, 1),
    (pool.NullPool, 2, 0),
    (pool.StaticPool, 1, 0),
    (pool.SingletonThreadPool, 1, 0),
    (pool.AssertionPool, 1, 0),
]
"""A class of pool, and how many connections are in use and idle while two of three are out."""


@pytest.fixture
def no_search(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A search of all objects in memory fails."""

    def search(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the objects in memory were searched")

    with monkeypatch.context() as patches:
        patches.setattr(gc, "get_objects", search)
        patches.setattr(gc, "get_referrers", search)
        yield


def use_before(engine: sqlalchemy.Engine, cls: Any, out: ExitStack) -> None:
    """Take three connections, as far as the class of pool allows, and return one of them."""
    at_once = 1 if cls in (pool.AssertionPool, pool.StaticPool) else 3
    connections = [engine.connect() for _ in range(at_once)]
    for connection in connections[:2]:
        out.enter_context(connection)
    for connection in connections[2:]:
        connection.close()


@pytest.mark.usefixtures("no_search")
@pytest.mark.parametrize(("cls", "in_use", "idle"), CLASSES)
def test_connections_are_found_without_a_search(
    engines: Callable[..., sqlalchemy.Engine],
    watches: Watches,
    cls: Any,
    in_use: int,
    idle: int,
) -> None:
    engine = engines(poolclass=cls)
    with ExitStack() as out:
        use_before(engine, cls, out)
        watch = watches.watch(engine, registry=None)
        assert (in_use, idle, in_use + idle) == counted(watch)
    kept = 0 if cls is pool.NullPool else in_use + idle
    assert (0, kept, in_use + idle) == counted(watch)


@pytest.mark.usefixtures("no_search")
async def test_connections_of_an_async_engine_are_found_without_a_search(
    postgres: EmbeddedPostgres, watches: Watches
) -> None:
    engine = create_async_engine(postgres.sqlalchemy_url("asyncpg"))
    connections = [await engine.connect() for _ in range(3)]
    await connections.pop().close()
    watch = watches.watch(engine, registry=None)
    assert (2, 1, 3) == counted(watch)
    for connection in connections:
        await connection.close()
    assert (0, 3, 3) == counted(watch)
    await engine.dispose()


@pytest.mark.usefixtures("no_search")
@pytest.mark.parametrize("cls", [pool.QueuePool, pool.NullPool])
def test_what_is_out_of_a_pool_that_was_disposed_of_is_found(
    engines: Callable[..., sqlalchemy.Engine], cls: Any
) -> None:
    engine = engines(poolclass=cls)
    old = engine.pool
    with engine.connect(), engine.connect():
        engine.dispose()
        with engine.connect():
            assert (2, 1) == (len(existing_records(old)), len(existing_records(engine.pool)))
    old.dispose()


@pytest.mark.usefixtures("no_search")
def test_a_connection_that_was_lost_is_not_found(
    engines: Callable[..., sqlalchemy.Engine], watches: Watches
) -> None:
    engine = engines()
    detached, invalid = engine.connect(), engine.connect()
    detached.detach()
    invalid.invalidate()
    assert [] == existing_records(engine.pool)
    watch = watches.watch(engine, registry=None)
    assert (0, 0, 0) == counted(watch)
    detached.close()
    invalid.close()


def test_the_connections_of_other_pools_are_theirs(
    engines: Callable[..., sqlalchemy.Engine],
) -> None:
    engine, other = engines(), engines(pool_size=20)
    with engine.connect(), ExitStack() as out:
        for _ in range(20):
            out.enter_context(other.connect())
        (record,) = existing_records(engine.pool)
        assert engine.pool is record._ConnectionRecord__pool


def test_finalizers_of_the_application_are_left_alone(
    engines: Callable[..., sqlalchemy.Engine],
) -> None:
    engine = engines()
    owner = type("Owner", (), {})()
    called: list[Any] = []
    finalizer = weakref.finalize(owner, called.append, engine.pool)
    with engine.connect():
        assert 1 == len(existing_records(engine.pool))
    assert finalizer.alive
    assert [] == called
    finalizer.detach()

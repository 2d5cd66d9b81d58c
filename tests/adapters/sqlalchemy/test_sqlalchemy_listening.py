"""SQLAlchemy on asyncpg: a connection that listens for notifications is held on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches


@pytest.fixture
async def engine(postgres: EmbeddedPostgres) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(postgres.sqlalchemy_url("asyncpg"))
    yield engine
    await engine.dispose()


async def driver_of(connection: Any) -> Any:
    return (await connection.get_raw_connection()).driver_connection


@pytest.mark.parametrize("when", ["before", "open", "listening"])
async def test_a_connection_is_held_on_purpose_while_it_listens(
    engine: AsyncEngine, watches: Watches, clock: FakeClock, when: str
) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    def hear(*arguments: Any) -> None:
        heard.put_nowait(arguments[2:])

    def watched() -> Any:
        return watches.watch(engine, leak_after=60.0, registry=None)

    def holds() -> list[tuple[bool, bool]]:
        return [(hold.on_purpose, hold.overdue) for hold in watched().holders()]

    if when == "before":
        watched()
    async with engine.connect() as connection:
        if when == "open":
            watched()
        driver = await driver_of(connection)
        await driver.add_listener("orders", hear)
        watch = watched()
        clock.advance(3600.0)
        assert [(True, False)] == holds()
        await connection.exec_driver_sql("NOTIFY orders, 'seven'")
        await connection.commit()
        assert ("orders", "seven") == await heard.get()
        await driver.remove_listener("orders", hear)
        assert [(False, False)] == holds()
        clock.advance(61.0)
        assert [(False, True)] == holds()
        await driver.add_listener("orders", hear)
        watch.unwatch()
        assert dict is type(driver._listeners)
        await driver.remove_listener("orders", hear)

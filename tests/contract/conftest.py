"""The contract holds for every pool, on both event loops that people use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import pytest
import uvloop

from contract.pools import POOLS, PoolUnderTest
from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.watching.watches import Watches


@pytest.fixture(params=POOLS, ids=lambda cls: cls.__name__)
async def pool(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres
) -> AsyncIterator[PoolUnderTest]:
    pool: PoolUnderTest = request.param()
    await pool.open(postgres)
    yield pool
    await pool.clean_up()


@pytest.fixture(params=[cls for cls in POOLS if cls.kind != "aiohttp"], ids=lambda c: c.__name__)
async def database(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres
) -> AsyncIterator[PoolUnderTest]:
    """Each pool of a database."""
    pool: PoolUnderTest = request.param()
    await pool.open(postgres)
    yield pool
    await pool.clean_up()


@pytest.fixture
async def session(sessions: Any, watches: Watches) -> aiohttp.ClientSession:
    """A watched session of aiohttp, for requests to another server."""
    session: aiohttp.ClientSession = sessions()
    watches.watch(session, registry=None)
    return session


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

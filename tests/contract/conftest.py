"""The contract holds for every pool, on both event loops that people use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from contract.pools import POOLS, PoolUnderTest
from poolscope.demo.postgres import EmbeddedPostgres


@pytest.fixture(params=POOLS, ids=lambda cls: cls.__name__)
async def pool(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres
) -> AsyncIterator[PoolUnderTest]:
    pool: PoolUnderTest = request.param()
    await pool.open(postgres)
    yield pool
    await pool.clean_up()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

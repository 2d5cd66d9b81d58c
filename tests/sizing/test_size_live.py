"""`poolscope size` with a real Prometheus: its advice is followed, and the goal is met."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import accumulate
from typing import Any, Final

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

import poolscope
from mixin.dashboards.gates.fixtures import prometheus, prometheus_program
from poolscope.cli import main
from poolscope.demo.postgres import EmbeddedPostgres
from support.prometheus import PrometheusServer, job

__all__ = ["prometheus", "prometheus_program"]

RATE: Final = 60.0
HOLD: Final = 0.05
CALLERS: Final = 360
GOAL: Final = ("--wait-p99", "100ms")


async def use(pool: asyncpg.Pool[Any], at: float, hold: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, at - loop.time()))
    async with pool.acquire() as connection:
        await connection.execute("SELECT pg_sleep($1)", hold)


async def put_under_load(pool: asyncpg.Pool[Any]) -> None:
    """Have callers come at random, and hold connections at random, always in the same way."""
    source = random.Random(7)  # noqa: S311 - for numbers
    begin = asyncio.get_running_loop().time()
    gaps = [source.expovariate(RATE) for _ in range(CALLERS)]
    holds = [source.expovariate(1 / HOLD) for _ in range(CALLERS)]
    times = [begin + passed for passed in accumulate(gaps)]
    await asyncio.gather(*map(use, [pool] * CALLERS, times, holds))


@asynccontextmanager
async def watched(
    dsn: str, name: str, size: int, registry: CollectorRegistry
) -> AsyncIterator[asyncpg.Pool[Any]]:
    async with asyncpg.create_pool(dsn, min_size=size, max_size=size) as pool:
        with poolscope.watch(pool, name=name, registry=registry):
            yield pool


async def test_the_advice_meets_the_goal(
    postgres: EmbeddedPostgres,
    prometheus: Callable[..., PrometheusServer],
    capsys: pytest.CaptureFixture[str],
) -> None:
    registry, other_registry = CollectorRegistry(), CollectorRegistry()
    servers = [poolscope.start_http_server(0, registry=each) for each in (registry, other_registry)]
    ports = [server.server_port for server, _ in servers]
    jobs = zip(("shop", "stock"), ports, strict=True)
    scraped = prometheus(*(job(name, f"127.0.0.1:{port}") for name, port in jobs))

    async def advice(name: str, size: int) -> Any:
        async with watched(postgres.dsn, name, size, registry) as pool:
            await asyncio.to_thread(scraped.wait_for, f'connpool_limit{{pool="{name}"}}')
            await put_under_load(pool)
            ok = f'connpool_acquires_total{{pool="{name}",outcome="ok"}} >= {CALLERS}'
            await asyncio.to_thread(scraped.wait_for, ok)
            size_of = ["size", "--prometheus", scraped.url, "--pool", name, *GOAL]
            assert 0 == await asyncio.to_thread(main, [*size_of, "--format", "json"])
            found = json.loads(capsys.readouterr().out)
        return {each["labels"]["job"]: each for each in found}

    try:
        async with watched(postgres.dsn, "narrow", 1, other_registry):
            both = await advice("narrow", 4)
        assert "none" == both["stock"]["verdict"]
        assert ["Nobody asked for a connection in this time."] == both["stock"]["reasons"]
        before = both["shop"]
        assert "grow" == before["verdict"]
        assert before["measured"]["load"] == pytest.approx(RATE * HOLD, rel=0.25)
        after = (await advice("wide", before["recommended"]))["shop"]
    finally:
        for server, thread in servers:
            server.shutdown()
            server.server_close()
            thread.join()
    assert "keep" == after["verdict"]
    lowest, highest = after["wait_p99"]["measured"]
    assert lowest < 0.1
    assert highest < before["wait_p99"]["measured"][1]

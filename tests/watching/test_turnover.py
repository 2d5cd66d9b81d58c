"""Pools that come and go, and what looks like it: the finding `pool-per-request`."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import pytest
import sqlalchemy

from poolscope import Watch
from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.fleet.fleet import Fleet
from poolscope.fleet.folder import DIR_VARIABLE, Folder
from poolscope.readings.turnover import FEW_ACQUIRES, MANY_POOLS
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE
from support.web import Server

FEW: Final = 1
ENOUGH: Final = int(FEW_ACQUIRES)

pytestmark = [
    pytest.mark.usefixtures("collect"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Maker:
    """Makes pools of one kind, as an application does for each of its requests."""

    def __init__(self, postgres: EmbeddedPostgres, server: Server) -> None:
        self.dsn = postgres.dsn
        self.url = f"{server.url}/now/x"

    async def engine(self) -> Any:
        return sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)

    async def use_engine(self, engine: Any) -> None:
        engine.connect().close()

    async def end_engine(self, engine: Any) -> None:
        engine.dispose()

    async def pool(self) -> Any:
        return await asyncpg.create_pool(self.dsn, min_size=0, max_size=1)

    async def use_pool(self, pool: Any) -> None:
        async with pool.acquire(timeout=PATIENCE):
            pass

    async def end_pool(self, pool: Any) -> None:
        await pool.close()

    async def session(self) -> Any:
        return aiohttp.ClientSession()

    async def use_session(self, session: Any) -> None:
        async with session.get(self.url) as response:
            await response.read()

    async def end_session(self, session: Any) -> None:
        await session.close()


Step = Callable[[Any], Awaitable[None]]


@pytest.fixture(params=["engine", "pool", "session"])
def steps(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, server: Server
) -> tuple[Callable[[], Awaitable[Any]], Step, Step]:
    """How a pool of one kind is made, used and ended."""
    maker = Maker(postgres, server)
    return (
        getattr(maker, request.param),
        getattr(maker, f"use_{request.param}"),
        getattr(maker, f"end_{request.param}"),
    )


def lines(watch: Watch) -> list[str]:
    """Return the functions that make a pool for each request, according to the finding."""
    return [
        site.rpartition(".")[2]
        for finding in watch.findings()
        if finding.rule == "pool-per-request"
        for site in finding.sites
    ]


async def test_many_pools_that_live_are_no_mistake(watches: Watches, steps: Any) -> None:
    """Shards or tenants, each with a pool that is seldom used."""
    make, use, end = steps
    pools = [await make() for _ in range(MANY_POOLS)]
    made = [watches.watch(pool, "tenants", registry=None) for pool in pools]
    for pool in pools:
        await use(pool)
    gc.collect()
    assert [] == lines(made[0])
    for pool in pools:
        await end(pool)


@pytest.mark.parametrize("uses", [FEW, ENOUGH])
async def test_many_pools_that_come_and_go_are_found_if_each_serves_few(
    watches: Watches, steps: Any, uses: int
) -> None:
    make, use, end = steps
    shared = await make()
    watch = watches.watch(shared, "api", registry=None)

    async def request() -> None:
        pool = await make()
        watches.watch(pool, "api", registry=None)
        for _ in range(uses):
            await use(pool)
        await end(pool)

    for _ in range(MANY_POOLS - 1):
        await request()
    gc.collect()
    assert [] == lines(watch)
    # A pool that is shared, and has served many, is another one.
    for _ in range(MANY_POOLS * ENOUGH):
        await use(shared)
    await request()
    gc.collect()
    assert (["request"] if uses == FEW else []) == lines(watch)
    await end(shared)


async def test_closed_pools_that_something_keeps_have_gone(watches: Watches, steps: Any) -> None:
    make, use, end = steps
    kept: list[Any] = []

    async def request() -> Watch:
        kept.append(await make())
        watch = watches.watch(kept[-1], "api", registry=None)
        await use(kept[-1])
        await end(kept[-1])
        return watch

    for _ in range(MANY_POOLS):
        watch = await request()
    # An engine that was disposed of has a new pool, and can be used again.
    engine = isinstance(kept[0], sqlalchemy.Engine)
    assert ([] if engine else ["request"]) == lines(watch)
    for pool in kept:
        await end(pool)


@pytest.mark.parametrize(
    ("lives", "pause", "found"),
    [(0.0, 179.0, True), (0.0, 200.0, False), (59.0, 1.0, True), (61.0, 1.0, False)],
)
def test_pools_of_a_job_that_runs_seldom_are_no_mistake(
    watches: Watches, clock: FakeClock, lives: float, pause: float, found: bool
) -> None:
    """Nor are those that live for longer than a request takes."""
    shared = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
    watch = watches.watch(shared, "jobs", registry=None)

    def job() -> None:
        engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
        watches.watch(engine, "jobs", registry=None)
        engine.connect().close()
        clock.advance(lives)
        engine.dispose()

    for _ in range(MANY_POOLS):
        job()
        gc.collect()
        clock.advance(pause)
    assert (["job"] if found else []) == lines(watch)
    shared.dispose()


class TestOnePool:
    """However often it is replaced or watched, it is one."""

    def test_dispose_makes_no_further_pool(self, sqlite: Any, watches: Watches) -> None:
        engine = sqlite()
        watch = watches.watch(engine, registry=None)
        for _ in range(2 * MANY_POOLS):
            engine.connect().close()
            engine.dispose()
        gc.collect()
        assert [] == lines(watch)

    def test_neither_does_recreate(self, sqlite: Any, watches: Watches) -> None:
        pool = sqlite().pool
        watch = watches.watch(pool, registry=None)
        for _ in range(2 * MANY_POOLS):
            pool.connect().close()
            pool.dispose()
            pool = pool.recreate()
        gc.collect()
        assert [] == lines(watch)

    def test_nor_a_watch_that_ends(self, sqlite: Any, watches: Watches) -> None:
        engine = sqlite()
        for _ in range(2 * MANY_POOLS):
            watch = watches.watch(engine, registry=None)
            engine.connect().close()
            watch.unwatch()
        assert [] == lines(watches.watch(engine, registry=None))


# Each child is a job: it makes an engine, uses it, and ends. Or one process does that many times.
JOBS: Final = """
import gc, os, sys
import sqlalchemy
import poolscope

def job():
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
    poolscope.watch(engine, "orders")
    engine.connect().close()
    engine.dispose()

number = int(sys.argv[2])
for _ in range(number):
    if sys.argv[1] == "forks":
        child = os.fork()
        if not child:
            job()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    else:
        job()
        gc.collect()  # an engine is part of a reference cycle
print("done", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("how", "number", "found"),
    [("forks", 21, False), ("calls", 19, False), ("calls", 21, True), ("calls", 130, True)],
)
def test_the_exporter_finds_it_within_a_process_only(
    folder: Path, how: str, number: int, found: bool
) -> None:
    environment = {**os.environ, DIR_VARIABLE: str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", JOBS, how, str(number)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # of 100 files at most
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert "done\n" == process.stdout.readline()
        fleet = Fleet(folder)
        rules = {f.rule for report in fleet.scan().reports for f in report.findings}
        fleet.close()
        process.stdin.close()
    assert found == ("pool-per-request" in rules)


def test_what_a_parent_did_is_not_the_child_s(sqlite: Any, clock: FakeClock) -> None:
    watches = Watches(clock, Folder(None))

    def job() -> None:
        engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
        watches.watch(engine, "orders", registry=None)
        engine.connect().close()

    for _ in range(MANY_POOLS - 1):
        job()
    watch = watches.watch(sqlite(), "orders", registry=None)
    gc.collect()
    assert [] == lines(watch)
    watches.forked()
    job()
    gc.collect()
    assert [] == lines(watch)

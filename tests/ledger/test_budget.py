"""
What a use of a connection costs, in bytecodes: the same in every run, where seconds are not.

A change that makes it more fails here, and one that makes it much less asks for a lower budget.
Each version of Python has a budget of its own, as it has bytecodes of its own.
"""

from __future__ import annotations

import functools
import gc
import itertools
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import asyncpg
import pytest
import sqlalchemy
from benchmarks.counts import Counter
from sqlalchemy.ext.asyncio import create_async_engine

import poolscope
from poolscope.fleet.folder import Folder
from poolscope.ledger.holds import MAX_FINISHED
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE
from support.web import Server

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

BUDGETS: Final[dict[str, dict[str, float]]] = json.loads(
    (Path(__file__).parent / "expected" / "bytecodes.json").read_text()
)
VERSION: Final = ".".join(map(str, sys.version_info[:2]))
BUDGET: Final = BUDGETS.get(VERSION, {})

pytestmark = pytest.mark.skipif(
    not BUDGET,
    reason=f"no budget is known in bytecodes of Python {VERSION}, only of {', '.join(BUDGETS)}",
)

OURS: Final = str(Path(poolscope.__file__).parent)
CYCLES: Final = 10 * MAX_FINISHED

Cycle = Callable[[], object]
AsyncCycle = Callable[[], Awaitable[object]]


def watches_of(folder: Path | None) -> Watches:
    """
    Return watches whose time passes by a microsecond with each look at the clock.

    However slow the machine is, each duration is as short as most are, and in the same bucket.
    """
    clock = functools.partial(next, itertools.count(1000.0, 0.000001))
    return Watches(clock, Folder(folder))


@pytest.fixture
def watches() -> Watches:
    return watches_of(None)


@contextmanager
def counting() -> Iterator[Counter]:
    """Count meanwhile, undisturbed by what is done when the garbage of other tests is collected."""
    gc.collect()
    gc.freeze()
    counter = Counter(OURS)
    before = sys.gettrace()
    sys.settrace(counter)
    try:
        yield counter
    finally:
        sys.settrace(before)
        gc.unfreeze()


def counted(cycle: Cycle) -> float:
    """Return how many of our bytecodes each cycle executes."""
    for _ in range(CYCLES):
        cycle()
    with counting() as counter:
        for _ in range(CYCLES):
            cycle()
    return counter.count / CYCLES


async def counted_async(cycle: AsyncCycle) -> float:
    for _ in range(CYCLES):
        await cycle()
    with counting() as counter:
        for _ in range(CYCLES):
            await cycle()
    return counter.count / CYCLES


def within_budget(name: str, count: float) -> None:
    budget = BUDGET[name]
    assert 0.95 * budget <= count <= budget, (
        f"{name}: {count:g} bytecodes of poolscope in each cycle, {budget:g} are its budget, in "
        f"tests/ledger/expected/bytecodes.json for Python {VERSION}"
    )


@pytest.fixture
def pool() -> Iterator[sqlalchemy.Pool]:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool)
    yield engine.pool
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "options"),
    [("sqlalchemy", {}), ("sqlalchemy without call sites", {"call_sites": False})],
)
def test_sqlalchemy(pool: sqlalchemy.Pool, name: str, options: dict[str, Any]) -> None:
    watches_of(None).watch(pool, registry=None, **options)
    within_budget(name, counted(lambda: pool.connect().close()))


def test_sqlalchemy_with_a_mapped_file(pool: sqlalchemy.Pool, tmp_path: Path) -> None:
    watches_of(tmp_path / "pools").watch(pool, registry=None)
    within_budget("sqlalchemy with a mapped file", counted(lambda: pool.connect().close()))


async def test_an_async_engine_of_sqlalchemy(postgres: EmbeddedPostgres, watches: Watches) -> None:
    engine = create_async_engine(postgres.sqlalchemy_url("asyncpg"))

    async def cycle() -> None:
        async with engine.connect():
            pass

    watches.watch(engine, registry=None)
    count = await counted_async(cycle)
    await engine.dispose()
    within_budget("sqlalchemy async engine", count)


async def test_asyncpg(postgres: EmbeddedPostgres, watches: Watches) -> None:
    async with asyncpg.create_pool(postgres.dsn, min_size=2, max_size=2) as pool:

        async def cycle() -> None:
            async with pool.acquire(timeout=PATIENCE):
                pass

        watches.watch(pool, registry=None)
        count = await counted_async(cycle)
    within_budget("asyncpg", count)


async def test_aiohttp(watches: Watches) -> None:
    server = Server()
    await server.start()
    async with aiohttp.ClientSession() as session:

        async def cycle() -> None:
            async with session.get(f"{server.url}/now/x") as response:
                await response.read()

        watches.watch(session, registry=None)
        count = await counted_async(cycle)
    await server.stop()
    within_budget("aiohttp", count)


def test_a_budget_that_is_exceeded_or_far_too_large_fails() -> None:
    for count in (BUDGET["asyncpg"] + 1, BUDGET["asyncpg"] / 2):
        with pytest.raises(AssertionError, match=r"asyncpg: .* are its budget"):
            within_budget("asyncpg", count)

"""
The cost of one use of a connection, in bytecodes: they are the same in every run, unlike seconds.

A change that raises the cost fails here, and so does one that lowers it by more than 5 % without
lowering the budget. Each version of Python has its own bytecodes, and so its own budget.
"""

from __future__ import annotations

import asyncio
import contextvars
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
from poolscope.callsites import purposes, runners
from poolscope.callsites.operations import NamedOperation, current_box
from poolscope.fleet.folder import Folder
from poolscope.ledger.holding import databases
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
    reason=f"there is no budget for Python {VERSION}, only for {', '.join(BUDGETS)}",
)

OURS: Final = str(Path(poolscope.__file__).parent)
CYCLES: Final = 10 * MAX_FINISHED

Cycle = Callable[[], object]
AsyncCycle = Callable[[], Awaitable[object]]


def watches_of(folder: Path | None) -> Watches:
    """
    Return watches whose clock advances by a microsecond each time that it is read.

    So durations do not depend on the machine: all are short, and in the same bucket.
    """
    clock = functools.partial(next, itertools.count(1000.0, 0.000001))
    return Watches(clock, Folder(folder))


@pytest.fixture(autouse=True)
def unused() -> Iterator[None]:
    """In this process, nothing was held on purpose, and no task of trio, nor a database seen."""
    lists = purposes.used, runners.trio_was_seen
    before = [each.copy() for each in lists]
    for each in lists:
        each.clear()
    known = databases.copy()
    databases.clear()
    yield
    for each, values in zip(lists, before, strict=True):
        each[:] = values
    databases.clear()
    databases.update(known)


@pytest.fixture
def watches() -> Watches:
    return watches_of(None)


@contextmanager
def counting() -> Iterator[Counter]:
    """Count bytecodes; the garbage of other tests is not collected meanwhile."""
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
    """Return the number of bytecodes of poolscope in each cycle."""
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
    # Older versions of the libraries take fewer.
    assert 0.93 * budget <= count <= budget, (
        f"{name}: {count:g} bytecodes of poolscope in each cycle, but the budget is {budget:g}, in "
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


def test_what_is_held_on_purpose_elsewhere_costs_others_little(pool: sqlalchemy.Pool) -> None:
    watches_of(None).watch(pool, registry=None)
    with poolscope.held_on_purpose():
        kept = pool.connect()
    count = counted(lambda: pool.connect().close())
    kept.close()
    assert BUDGET["sqlalchemy"] < count <= 1.1 * BUDGET["sqlalchemy"]


def test_sqlalchemy_with_a_mapped_file(pool: sqlalchemy.Pool, tmp_path: Path) -> None:
    watches_of(tmp_path / "pools").watch(pool, registry=None)
    within_budget("sqlalchemy with a mapped file", counted(lambda: pool.connect().close()))


def test_sqlalchemy_in_an_operation(pool: sqlalchemy.Pool) -> None:
    watches_of(None).watch(pool, registry=None)
    with poolscope.operation("nightly report"):
        count = counted(lambda: pool.connect().close())
    within_budget("sqlalchemy in an operation", count)


def test_sqlalchemy_in_an_operation_with_a_mapped_file(
    pool: sqlalchemy.Pool, tmp_path: Path
) -> None:
    watches_of(tmp_path / "pools").watch(pool, registry=None)
    with poolscope.operation("nightly report"):
        count = counted(lambda: pool.connect().close())
    within_budget("sqlalchemy in an operation, with a mapped file", count)


def test_sqlalchemy_with_an_operation_for_each_use(pool: sqlalchemy.Pool) -> None:
    """As each request of a web service is one."""
    watches_of(None).watch(pool, registry=None)

    def cycle() -> None:
        current_box.set([NamedOperation("GET /orders/{id}")])
        pool.connect().close()

    count = contextvars.copy_context().run(counted, cycle)
    within_budget("sqlalchemy, each use in an operation of its own", count)


def test_sqlalchemy_at_its_limit(watches: Watches) -> None:
    """Each use makes the pool full, and no longer full."""
    engine = sqlalchemy.create_engine(
        "sqlite://", poolclass=sqlalchemy.QueuePool, pool_size=1, max_overflow=0
    )
    watches.watch(engine, registry=None)
    count = counted(lambda: engine.pool.connect().close())
    engine.dispose()
    within_budget("sqlalchemy at its limit", count)


async def test_an_async_engine_of_sqlalchemy(postgres: EmbeddedPostgres, watches: Watches) -> None:
    engine = create_async_engine(postgres.sqlalchemy_url("asyncpg"))

    async def cycle() -> None:
        async with engine.connect():
            pass

    watches.watch(engine, registry=None)
    count = await counted_async(cycle)
    await engine.dispose()
    within_budget("sqlalchemy async engine", count)


@pytest.mark.parametrize(("name", "size"), [("asyncpg", 2), ("asyncpg at its limit", 1)])
async def test_asyncpg(postgres: EmbeddedPostgres, watches: Watches, name: str, size: int) -> None:
    async with asyncpg.create_pool(postgres.dsn, min_size=size, max_size=size) as pool:

        async def cycle() -> None:
            async with pool.acquire(timeout=PATIENCE):
                pass

        watches.watch(pool, registry=None)
        count = await counted_async(cycle)
    within_budget(name, count)


@pytest.mark.parametrize(("name", "limit"), [("aiohttp", 100), ("aiohttp at its limit", 1)])
async def test_aiohttp(watches: Watches, name: str, limit: int) -> None:
    server = Server()
    await server.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=limit)) as session:

        async def cycle() -> None:
            async with session.get(f"{server.url}/now/x") as response:
                await response.read()

        watches.watch(session, registry=None)
        count = await counted_async(cycle)
    await server.stop()
    within_budget(name, count)


async def test_aiohttp_beside_a_database(watches: Watches, pool: sqlalchemy.Pool) -> None:
    """It is asked once whether the caller holds a connection."""
    watches.watch(pool, registry=None)
    held = pool.connect()
    await asyncio.create_task(test_aiohttp(watches, "aiohttp beside a database", 100))
    held.close()


def test_a_database_costs_a_request_at_most_a_twentieth() -> None:
    assert BUDGET["aiohttp beside a database"] <= 1.05 * BUDGET["aiohttp"]


@pytest.mark.parametrize("kind", ["sqlalchemy", "asyncpg", "aiohttp"])
def test_a_use_of_a_pool_at_its_limit_costs_at_most_half_as_much_again(kind: str) -> None:
    assert BUDGET[f"{kind} at its limit"] <= 1.5 * BUDGET[kind]


@pytest.mark.parametrize("name", ["in an operation", "each use in an operation of its own"])
def test_an_operation_costs_a_use_of_a_pool_at_most_a_tenth(name: str) -> None:
    (budget,) = [value for key, value in BUDGET.items() if key.endswith(f" {name}")]
    assert budget <= 1.1 * BUDGET["sqlalchemy"]


def test_an_operation_costs_a_use_with_a_mapped_file_at_most_a_tenth() -> None:
    plain, inside = (
        "sqlalchemy with a mapped file",
        "sqlalchemy in an operation, with a mapped file",
    )
    assert BUDGET[inside] <= 1.1 * BUDGET[plain]


def test_a_count_above_or_far_below_its_budget_fails() -> None:
    for count in (BUDGET["asyncpg"] + 1, BUDGET["asyncpg"] / 2):
        with pytest.raises(AssertionError, match=r"asyncpg: .* but the budget is "):
            within_budget("asyncpg", count)

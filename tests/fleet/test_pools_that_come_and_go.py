"""Pools that end within a living process: those that live are seen, and no counter falls."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import sqlalchemy
from sqlalchemy.pool import QueuePool

from poolscope.fleet.folder import Folder
from poolscope.fleet.own_files import MAX_FILES_PER_PROCESS
from poolscope.watching.watches import Watches
from support.looks import Looker
from support.web import Server

# From 3.13 on, Python warns of connections of SQLite that nobody has closed; these pools have them.
pytestmark = pytest.mark.filterwarnings("ignore:.*unclosed database:Warning")

TIMES = MAX_FILES_PER_PROCESS + 20


@pytest.fixture
def looker(folder: Path) -> Iterator[Looker]:
    looker = Looker(folder)
    yield looker
    looker.end()


@pytest.fixture
def shared(folder: Path) -> Watches:
    """Watches in the folder, with the clock of the machine, as the exporter has it."""
    return Watches(folder=Folder(folder))


def files_of_pools(folder: Path) -> int:
    return len(list(folder.glob("*.pool")))


def sqlite_engine() -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(
        "sqlite://", poolclass=QueuePool, pool_size=2, max_overflow=0, pool_logging_name="orders"
    )


Step = Callable[[], Awaitable[None]]
"""Makes a pool that replaces the one before, and uses it once."""

Kind = Callable[..., tuple[Step, Callable[[], Awaitable[None]]]]
"""Returns how to replace the pool, and how to take two connections of the last one for good."""


def of_one_engine(shared: Watches, kept: list[Any], **_: Any) -> Any:
    engine = sqlite_engine()
    shared.watch(engine, registry=None)

    async def replace() -> None:
        engine.dispose()
        engine.connect().close()

    async def take() -> None:
        kept.extend([engine.connect(), engine.connect()])

    return replace, take


def of_engines(shared: Watches, kept: list[Any], **_: Any) -> Any:
    async def replace() -> None:
        kept[:] = [sqlite_engine()]
        shared.watch(kept[0], registry=None)
        kept[0].connect().close()
        kept[0].dispose()
        kept[0].connect().close()

    async def take() -> None:
        kept.extend([kept[0].connect(), kept[0].connect()])

    return replace, take


def of_unwatched_engines(shared: Watches, kept: list[Any], **_: Any) -> Any:
    async def replace() -> None:
        if kept:
            kept[-1].unwatch()
        engine = sqlite_engine()
        engine.connect().close()
        kept.extend([engine, shared.watch(engine, registry=None)])
        engine.connect().close()

    async def take() -> None:
        kept.extend([kept[-2].connect(), kept[-2].connect()])

    return replace, take


def of_asyncpg(shared: Watches, kept: list[Any], pools: Any, keep: int = 1, **_: Any) -> Any:
    made: list[asyncpg.Pool] = []

    async def replace() -> None:
        pool = await pools(max_size=2)
        shared.watch(pool, "orders", registry=None)
        await pool.fetchval("SELECT 1")
        if made:
            await made[-1].close()
        made.append(pool)
        del made[:-keep]

    async def take() -> None:
        kept.extend([await made[-1].acquire(), await made[-1].acquire()])

    return replace, take


def of_asyncpg_pools_that_are_kept(**options: Any) -> Any:
    return of_asyncpg(keep=10_000, **options)


def of_sessions(shared: Watches, kept: list[Any], sessions: Any, server: Any, **_: Any) -> Any:
    made: list[aiohttp.ClientSession] = []

    async def get() -> None:
        kept.append(await made[-1].get(f"{server.url}/stream/held"))

    async def replace() -> None:
        session = sessions(limit=2)
        shared.watch(session, "orders", registry=None)
        async with session.get(f"{server.url}/now/done") as response:
            await response.read()
        if made:
            await made[-1].close()
        made[:] = [session]

    async def take() -> None:
        await get()
        await get()

    return replace, take


KINDS: dict[str, Kind] = {
    "dispose": of_one_engine,
    "engines": of_engines,
    "unwatched": of_unwatched_engines,
    "asyncpg": of_asyncpg,
    "asyncpg, kept": of_asyncpg_pools_that_are_kept,
    "sessions": of_sessions,
}


@pytest.mark.parametrize("kind", KINDS)
async def test_the_pool_that_lives_is_seen_however_many_there_were(
    shared: Watches,
    looker: Looker,
    folder: Path,
    pools: Any,
    sessions: Any,
    server: Server,
    kind: str,
) -> None:
    kept: list[Any] = []
    replace, take = KINDS[kind](
        shared=shared, kept=kept, pools=pools, sessions=sessions, server=server
    )
    for number in range(TIMES):
        await replace()
        if number % 7 == 0:
            # When Python collects engines that nobody has depends on its version.
            gc.collect()
            assert {"orders"} == looker.look().keys()
            assert files_of_pools(folder) <= MAX_FILES_PER_PROCESS
    acquired = looker.look()["orders"].reading.acquired
    assert acquired >= TIMES
    await take()
    gc.collect()
    reading, created = looker.look()["orders"]
    assert (2, 2, 1) == (reading.in_use, reading.limit, reading.instances)
    assert acquired + 2 == reading.acquired
    assert reading.opened - reading.closed == reading.in_use + reading.idle
    assert created >= TIMES
    assert "not-shared" not in {finding.rule for finding in shared.findings()}


def test_pools_of_many_names_are_seen_to_end(shared: Watches, looker: Looker, folder: Path) -> None:
    for number in range(TIMES):
        engine = sqlite_engine()
        shared.watch(engine, f"tenant {number}", registry=None)
        engine.connect().close()
        if number % 7 == 0:
            gc.collect()
        if number % 50 == 0:
            assert 1 == looker.look()[f"tenant {number}"].reading.instances
    looks = looker.look()
    assert TIMES == len(looks)
    assert {1} == {look.reading.acquired for look in looks.values()}
    assert files_of_pools(folder) <= MAX_FILES_PER_PROCESS


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_pools_that_have_ended_keep_no_descriptor(shared: Watches, folder: Path) -> None:
    engine = sqlite_engine()
    shared.watch(engine, registry=None)
    gc.collect()
    before = descriptors()
    gc.disable()
    try:
        for _ in range(TIMES):
            engine.connect().close()
            engine.dispose()
        assert descriptors() - before < MAX_FILES_PER_PROCESS // 2
    finally:
        gc.enable()
    assert files_of_pools(folder) < MAX_FILES_PER_PROCESS // 2

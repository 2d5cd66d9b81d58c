"""A pool that is used in several event loops, and correct programs that look like that."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import sqlalchemy
import uvloop
from sqlalchemy.ext.asyncio import create_async_engine

from contract.pools import AsyncEngine, AsyncpgPool, PoolUnderTest, Session
from poolscope import Watch
from poolscope.demo.postgres import EmbeddedPostgres
from poolscope.watching.watches import Watches

# Connections that are closed with their loop, or collected after it, cause warnings.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*garbage collector:sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*was never awaited:RuntimeWarning"),
    pytest.mark.usefixtures("collect"),
]

LOOPS: Final = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
every_loop = pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
every_pool = pytest.mark.parametrize(
    "cls", [AsyncEngine, AsyncpgPool, Session], ids=lambda cls: cls.__name__
)


@pytest.fixture(autouse=True)
def no_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A log of the libraries' errors would keep the frames, which keep the pools."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def lines(watch: Watch) -> list[str]:
    """Return the functions that use connections of another loop."""
    return [
        site.rpartition(" in ")[2]
        for finding in watch.findings()
        if finding.rule == "other-loop"
        for site in finding.sites
    ]


def found(watch: Watch) -> bool:
    return "other-loop" in [finding.rule for finding in watch.findings()]


async def use_once(pool: PoolUnderTest) -> None:
    async with asyncio.timeout(1):
        await pool.release(await pool.acquire())


async def begin(pool: PoolUnderTest, postgres: EmbeddedPostgres, watches: Watches) -> Watch:
    await pool.open(postgres)
    watch = watches.watch(pool.target, registry=None)
    for _ in range(2):
        await use_once(pool)
    return watch


@every_loop
@every_pool
def test_a_pool_that_is_used_in_another_loop_is_found(
    cls: type[PoolUnderTest],
    postgres: EmbeddedPostgres,
    watches: Watches,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    first, second, pool = new_loop(), new_loop(), cls()

    watch = first.run_until_complete(begin(pool, postgres, watches))
    assert not found(watch)
    with contextlib.suppress(Exception):
        second.run_until_complete(use_once(pool))
    assert found(watch)
    assert [f"{cls.__name__}.acquire"] == lines(watch)
    del pool
    first.close()
    second.close()


@pytest.fixture
def async_engines(postgres: EmbeddedPostgres) -> Callable[..., Any]:
    def make(driver: str = "asyncpg", **options: Any) -> Any:
        return create_async_engine(postgres.sqlalchemy_url(driver), **options)

    return make


async def use(engine: Any) -> None:
    async with engine.connect() as connection:
        await connection.execute(sqlalchemy.text("SELECT 1"))


@pytest.mark.parametrize("options", [{"pool_pre_ping": True}, {"pool_size": 1, "max_overflow": 0}])
def test_an_engine_that_was_used_before_the_watch_is_found(
    options: dict[str, Any], async_engines: Callable[..., Any], watches: Watches
) -> None:
    engine = async_engines(**options)
    asyncio.run(use(engine))
    watch = watches.watch(engine, registry=None)
    with contextlib.suppress(Exception):
        asyncio.run(use(engine))
    assert ["use"] == lines(watch)


def test_without_call_sites_there_is_no_line(
    async_engines: Callable[..., Any], watches: Watches
) -> None:
    engine = async_engines()
    watch = watches.watch(engine, registry=None, call_sites=False)
    for _ in range(2):
        with contextlib.suppress(Exception):
            asyncio.run(use(engine))
    assert (True, []) == (found(watch), lines(watch))


# Programs that are correct


def uses_each_of_its_loops_to_the_end(engine: Any) -> None:
    async def main() -> None:
        await use(engine)
        await engine.dispose()

    for _ in range(3):
        asyncio.run(main())


def drops_the_connections_of_the_loop_before(engine: Any) -> None:
    for _ in range(3):
        engine.sync_engine.dispose(close=False)
        asyncio.run(use(engine))


def uses_a_loop_again(engine: Any) -> None:
    loop, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    for _ in range(3):
        loop.run_until_complete(use(engine))
        other.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(engine.dispose())
    loop.close()
    other.close()


def uses_it_in_loops_one_after_the_other(engine: Any) -> None:
    for _ in range(3):
        asyncio.run(use(engine))


@pytest.mark.parametrize(
    ("program", "options"),
    [
        (uses_each_of_its_loops_to_the_end, {}),
        (uses_each_of_its_loops_to_the_end, {"pool_pre_ping": True}),
        (drops_the_connections_of_the_loop_before, {}),
        (uses_a_loop_again, {}),
        (uses_it_in_loops_one_after_the_other, {"poolclass": sqlalchemy.NullPool}),
        # psycopg's connections work in any loop.
        (uses_it_in_loops_one_after_the_other, {"driver": "psycopg"}),
        (uses_it_in_loops_one_after_the_other, {"driver": "psycopg", "pool_pre_ping": True}),
    ],
)
def test_an_engine_whose_connections_stay_in_their_loop(
    program: Callable[[Any], None],
    options: dict[str, Any],
    async_engines: Callable[..., Any],
    watches: Watches,
) -> None:
    engine = async_engines(**options)
    watch = watches.watch(engine, registry=None)
    program(engine)
    assert 3 == watch.snapshot().acquired
    assert not found(watch)
    engine.sync_engine.dispose(close=False)
    del engine
    gc.collect()


def test_a_synchronous_engine_that_is_used_in_several_loops(engines: Any, watches: Watches) -> None:
    engine = engines()
    watch = watches.watch(engine, registry=None)

    async def main() -> None:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))

    for _ in range(3):
        asyncio.run(main())
    assert not found(watch)


@every_pool
def test_a_pool_for_each_loop(
    cls: type[PoolUnderTest], postgres: EmbeddedPostgres, watches: Watches
) -> None:
    found_in: list[bool] = []

    async def work() -> None:
        pool = cls()
        await pool.open(postgres)
        watch = watches.watch(pool.target, "shared", registry=None)
        for _ in range(5):
            await pool.release(await pool.acquire())
        await pool.close()
        found_in.append(found(watch))
        await pool.clean_up()

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [False] * 3 == found_in


@every_pool
def test_a_pool_that_another_thread_uses_through_its_own_loop(
    cls: type[PoolUnderTest], postgres: EmbeddedPostgres, watches: Watches
) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    pool = cls()
    run(pool.open(postgres))
    watch = watches.watch(pool.target, registry=None)
    for _ in range(3):
        run(pool.release(run(pool.acquire())))
    run(pool.close())
    run(pool.clean_up())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert not found(watch)

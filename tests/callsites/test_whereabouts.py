"""Where a holder is now: for tasks, threads, and jobs that were given to threads."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio.to_thread
import pytest
import sqlalchemy
from sqlalchemy.pool import QueuePool

from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import eventually, until


class Shop:
    """A pool, and code that holds its connections at lines that are known."""

    def __init__(self) -> None:
        self.engine: Final = sqlalchemy.create_engine(
            "sqlite://", poolclass=QueuePool, connect_args={"check_same_thread": False}
        )
        self.watch: Final[Watch] = Watches().watch(self.engine, registry=None)
        self.lines: Final[dict[str, int]] = {}

    def mark(self, name: str) -> bool:
        """Remember the line of the caller as that of a place."""
        self.lines[name] = sys._getframe(1).f_lineno
        return True

    def now(self) -> list[str | None]:
        return [hold.now_at for hold in self.watch.holders()]

    def at(self, place: str, function: str) -> str:
        return f"test_whereabouts.py:{self.lines[place]} in {function}"

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        with self.engine.connect() as connection:
            yield connection

    async def waits_for(self, event: asyncio.Event) -> None:
        _ = self.mark("task") and await event.wait()

    async def holds(self, event: asyncio.Event) -> None:
        async with self.connection():
            await self.waits_for(event)

    def holds_in_thread(self, event: threading.Event) -> None:
        with self.engine.connect():
            _ = self.mark("thread") and event.wait()


@pytest.fixture
def shop() -> Any:
    shop = Shop()
    yield shop
    shop.watch.unwatch()
    shop.engine.dispose()


async def test_a_task_is_where_it_waits(shop: Shop) -> None:
    event = asyncio.Event()
    task = asyncio.create_task(shop.holds(event))
    await eventually(True, lambda: "task" in shop.lines)
    seen = shop.now()
    event.set()
    await task
    assert [shop.at("task", "Shop.waits_for")] == seen


async def test_the_task_that_asks_is_where_it_asks(shop: Shop) -> None:
    async with shop.connection():
        asked = shop.mark("asked") and shop.watch.holders()[0].now_at
    assert shop.at("asked", "test_the_task_that_asks_is_where_it_asks") == asked


def test_a_thread_is_where_it_waits(shop: Shop) -> None:
    event = threading.Event()
    thread = threading.Thread(target=shop.holds_in_thread, args=(event,))
    thread.start()
    until(lambda: "thread" in shop.lines, "the thread holds a connection")
    seen = shop.now()
    event.set()
    thread.join()
    assert [shop.at("thread", "Shop.holds_in_thread")] == seen


def test_a_job_of_a_thread_is_where_its_own_code_waits(shop: Shop) -> None:
    event = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(shop.holds_in_thread, event)
        until(lambda: "thread" in shop.lines, "the job holds a connection")
        seen = shop.now()
        event.set()
        job.result()
    assert [shop.at("thread", "Shop.holds_in_thread")] == seen


def keep(shop: Shop, kept: list[Any]) -> None:
    kept.append(shop.engine.connect())


def wait(event: threading.Event, begun: threading.Event) -> None:
    begun.set()
    event.wait()


def test_a_thread_at_work_for_another_job_says_nothing(shop: Shop) -> None:
    kept: list[Any] = []
    event, begun = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(keep, shop, kept).result()
        idle = shop.now()
        job = threads.submit(wait, event, begun)
        begun.wait()
        busy = shop.now()
        event.set()
        job.result()
    kept.pop().close()
    assert ([None], [None]) == (idle, busy)


async def test_a_job_that_is_over_is_where_its_task_waits(shop: Shop) -> None:
    """A dependency of FastAPI is run in a thread, and its endpoint is a coroutine."""
    event, kept = asyncio.Event(), list[Any]()

    async def request() -> None:
        await anyio.to_thread.run_sync(keep, shop, kept)
        await shop.waits_for(event)
        await anyio.to_thread.run_sync(kept.pop().close)

    task = asyncio.create_task(request())
    await eventually(True, lambda: "task" in shop.lines)
    seen = shop.now()
    event.set()
    await task
    assert [shop.at("task", "Shop.waits_for")] == seen


def end_thread(run: Callable[[], object]) -> None:
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_one_that_has_ended_is_nowhere(shop: Shop) -> None:
    kept: list[Any] = []
    end_thread(lambda: keep(shop, kept))
    assert [None] == shop.now()

    async def job() -> None:
        keep(shop, kept)

    asyncio.run(job())
    assert [None, None] == shop.now()
    for connection in kept:
        connection.close()


def test_a_task_that_runs_in_another_thread(shop: Shop) -> None:
    event = threading.Event()

    async def blocks() -> None:
        async with shop.connection():
            _ = shop.mark("blocked") and event.wait()

    thread = threading.Thread(target=lambda: asyncio.run(blocks()))
    thread.start()
    until(lambda: "blocked" in shop.lines, "the task holds a connection")
    name = "test_a_task_that_runs_in_another_thread.<locals>.blocks"
    seen = shop.now()
    event.set()
    thread.join()
    assert [shop.at("blocked", name)] == seen

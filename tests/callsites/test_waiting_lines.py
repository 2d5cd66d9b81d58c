"""
Where a task, or the job of a thread, runs only library code, the line that waits for it asks.

So it is with `await asyncio.gather(session.get(a), session.get(b))`, with `asyncio.to_thread(
engine.connect)`, and on Python 3.11 with `asyncio.wait_for(session.get(url), 5)`.
"""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio.to_thread
import pytest
from asgiref.sync import sync_to_async
from starlette.concurrency import run_in_threadpool

from poolscope.callsites.frames import NOWHERE
from poolscope.callsites.waiters import place_that_waits
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE, eventually
from support.web import Server

Get = Callable[[], Awaitable[Any]]


async def gathered(get: Get) -> None:
    await asyncio.gather(get(), asyncio.sleep(0))


async def gathered_twice(get: Get) -> None:
    await asyncio.gather(asyncio.gather(get()))


async def limited(get: Get) -> None:
    await asyncio.wait_for(get(), 60)


async def shielded(get: Get) -> None:
    await asyncio.shield(get())


async def waited_for(get: Get) -> None:
    await asyncio.wait([asyncio.ensure_future(get())])


async def awaited(get: Get) -> None:
    task = asyncio.ensure_future(get())
    await task


async def within_a_group(get: Get) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(get())  # type: ignore[arg-type] # aiohttp's object is a coroutine


TASKS: Final = (
    gathered, gathered_twice, limited, shielded, waited_for, awaited, within_a_group
)  # fmt: skip


def line_that_waits(function: Callable[..., Any]) -> str:
    """Return the site at which the first `await` or `async with` of a function stands."""
    lines, first = inspect.getsourcelines(function)
    number = next(
        n for n, line in enumerate(lines) if line.strip().startswith(("await ", "async w"))
    )
    return f"{__name__.replace('.', '/')}.py:{first + number} in {function.__qualname__}"


@pytest.mark.parametrize("ask", TASKS, ids=lambda ask: ask.__name__)
async def test_a_task_of_a_library(
    sessions: Any, server: Server, watches: Watches, ask: Callable[[Get], Awaitable[None]]
) -> None:
    watch = watches.watch(session := sessions(), registry=None)
    get: Any = lambda: session.get(f"{server.url}/later/orders")  # noqa: E731  # a coroutine
    asking = asyncio.ensure_future(ask(get))
    await eventually(1, lambda: watch.snapshot().in_use)
    (hold,) = watch.holders()
    server.tell("orders")
    await asking
    assert (line_that_waits(ask), line_that_waits(ask)) == (hold.site, hold.now_at)


async def test_a_task_that_nobody_waits_for(
    sessions: Any, server: Server, watches: Watches
) -> None:
    watch = watches.watch(session := sessions(), registry=None)
    asking = asyncio.create_task(session.get(f"{server.url}/later/orders"))
    await eventually(1, lambda: watch.snapshot().in_use)
    (hold,) = watch.holders()
    assert (None, None) == (hold.site, hold.now_at)
    server.tell("orders")
    await asking


async def test_a_group_that_does_something_else(
    sessions: Any, server: Server, watches: Watches
) -> None:
    """Its body does not wait for the task: the line there has nothing to do with it."""
    watch = watches.watch(session := sessions(), registry=None)
    async with asyncio.TaskGroup() as group:
        group.create_task(session.get(f"{server.url}/later/orders"))
        await eventually(1, lambda: watch.snapshot().in_use)
        (hold,) = watch.holders()
        server.tell("orders")
    assert hold.site is None


class OtherFuture:
    """As other libraries may have it: awaited as a future of asyncio, with callbacks of its own."""

    _asyncio_future_blocking = False

    def __init__(self, callbacks: object) -> None:
        self._callbacks = callbacks


@pytest.mark.parametrize("callbacks", [None, [print], [(print,)], {}])
def test_futures_of_another_kind_are_looked_at_carefully(callbacks: object) -> None:
    future: Any = OtherFuture(callbacks)
    assert NOWHERE == place_that_waits(future)


async def to_a_thread(connect: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(connect)


async def to_an_executor(connect: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, connect)


async def to_a_thread_of_anyio(connect: Callable[[], Any]) -> Any:
    return await anyio.to_thread.run_sync(connect)


async def to_a_thread_of_starlette(connect: Callable[[], Any]) -> Any:
    return await run_in_threadpool(connect)


async def to_a_thread_of_asgiref(connect: Callable[[], Any]) -> Any:
    return await sync_to_async(connect, thread_sensitive=False)()


JOBS: Final = (
    to_a_thread, to_an_executor, to_a_thread_of_anyio, to_a_thread_of_starlette,
    to_a_thread_of_asgiref,
)  # fmt: skip


@pytest.mark.parametrize("ask", JOBS, ids=lambda ask: ask.__name__)
async def test_a_job_of_a_library(
    sqlite: Any, watches: Watches, ask: Callable[[Callable[[], Any]], Awaitable[Any]]
) -> None:
    # Until the task has come to its `await`, nothing tells that it waits for the job.
    waits = threading.Event()
    asyncio.get_running_loop().call_soon(waits.set)

    def connect() -> sqlite3.Connection:
        assert waits.wait(PATIENCE)
        return sqlite3.connect(":memory:", check_same_thread=False)

    watch = watches.watch(engine := sqlite(creator=connect), registry=None)
    connection = await ask(engine.connect)
    (hold,) = watch.holders()
    await asyncio.to_thread(connection.close)
    assert f"in {ask.__name__}" in str(hold.site)

"""Who has handed a connection on to another task or thread holds it no more; who lends it, does."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from contract.pools import PoolUnderTest
from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import eventually


def nested(watch: Watch) -> tuple[int, bool]:
    """Return how many attempts were nested, and whether that is found."""
    found = "nested-acquire" in [finding.rule for finding in watch.findings()]
    return watch.snapshot().nested, found


Acquire = Callable[[], Coroutine[Any, Any, Any]]
Use = Callable[[Any], Coroutine[Any, Any, None]]
Program = Callable[[Acquire, Use], Awaitable[None]]

# A program takes two connections by `acquire`, and has each used and returned by `use`.


async def passed_to_a_task(acquire: Acquire, use: Use) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(use(await acquire()))


async def passed_by_a_variable(acquire: Acquire, use: Use) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            connection = await acquire()
            group.create_task(use(connection))


async def passed_by_a_variable_that_others_share(acquire: Acquire, use: Use) -> None:
    async with asyncio.TaskGroup() as group:

        def begin() -> None:
            group.create_task(use(connection))

        for _ in range(2):
            connection = await acquire()
            begin()


async def passed_by_a_helper(acquire: Acquire, use: Use) -> None:
    async def next_one() -> Any:
        return await acquire()

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            connection = await asyncio.wait_for(next_one(), None)
            group.create_task(use(connection))


async def passed_through_a_queue(acquire: Acquire, use: Use) -> None:
    dealt: asyncio.Queue[Any] = asyncio.Queue()

    async def work() -> None:
        await use(await dealt.get())

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(work())
        await asyncio.sleep(0)
        for _ in range(2):
            dealt.put_nowait(await acquire())


async def passed_by_a_future(acquire: Acquire, use: Use) -> None:
    async def work(dealt: asyncio.Future[Any]) -> None:
        await use(await dealt)

    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        for future in futures:
            group.create_task(work(future))
        await asyncio.sleep(0)
        for future in futures:
            future.set_result(await acquire())


async def passed_to_an_object(acquire: Acquire, use: Use) -> None:
    class Worker:
        def __init__(self, connection: Any) -> None:
            self.connection = connection

        async def run(self) -> None:
            await use(self.connection)

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(Worker(await acquire()).run())


async def passed_to_a_task_that_uses_it_deeper(acquire: Acquire, use: Use) -> None:
    @asynccontextmanager
    async def returned(connection: Any) -> AsyncIterator[None]:
        yield
        await use(connection)

    async def work(connection: Any) -> None:
        async with returned(connection):
            del connection
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(work(await acquire()))


HANDED_ON = (
    *(passed_to_a_task, passed_by_a_variable, passed_by_a_variable_that_others_share),
    *(passed_by_a_helper, passed_through_a_queue, passed_by_a_future, passed_to_an_object),
    passed_to_a_task_that_uses_it_deeper,
)


async def lent_to_a_task(acquire: Acquire, use: Use) -> None:
    held = await acquire()
    async with asyncio.TaskGroup() as group:
        borrowing = group.create_task(_borrow(held))
        await asyncio.sleep(0)
        another = await acquire()
        borrowing.cancel()
    await use(held)
    await use(another)


async def lent_by_a_list(acquire: Acquire, use: Use) -> None:
    held = [await acquire()]
    borrowing = asyncio.create_task(_borrow(held))
    await asyncio.sleep(0)
    held.append(await acquire())
    borrowing.cancel()
    for connection in held:
        await use(connection)


async def lent_by_an_object(acquire: Acquire, use: Use) -> None:
    class Repository:
        def __init__(self) -> None:
            self.held: list[Any] = []

        async def run(self) -> None:
            self.held.append(await acquire())
            borrowing = asyncio.create_task(_borrow(self.held[0]))
            await asyncio.sleep(0)
            self.held.append(await acquire())
            borrowing.cancel()

    repository = Repository()
    await repository.run()
    for connection in repository.held:
        await use(connection)


async def lent_by_a_context(acquire: Acquire, use: Use) -> None:
    current: contextvars.ContextVar[Any] = contextvars.ContextVar("current")
    current.set(await acquire())

    async def borrow() -> None:
        await _borrow(current.get())

    borrowing = asyncio.create_task(borrow())
    await asyncio.sleep(0)
    another = await acquire()
    borrowing.cancel()
    await use(current.get())
    await use(another)


async def lent_by_a_stack(acquire: Acquire, use: Use) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(2):
            stack.push_async_callback(use, connection := await acquire())
            borrowing = asyncio.create_task(_borrow(connection))
            await asyncio.sleep(0)
            del connection
        borrowing.cancel()


async def kept_by_a_with_block(acquire: Acquire, use: Use) -> None:
    @asynccontextmanager
    async def connection() -> AsyncIterator[None]:
        held = await acquire()
        yield
        await use(held)

    async with connection(), connection():
        pass


async def taken_at_once(acquire: Acquire, use: Use) -> None:
    for connection in [await acquire(), await acquire()]:
        await use(connection)


async def taken_before_others_are_begun(acquire: Acquire, use: Use) -> None:
    """Two such callers at once would wait for each other."""
    held = [await acquire() for _ in range(2)]
    await asyncio.gather(*(use(connection) for connection in held))


async def _borrow(_: Any) -> None:
    await asyncio.Event().wait()


KEPT = (
    *(lent_to_a_task, lent_by_a_list, lent_by_an_object, lent_by_a_context, lent_by_a_stack),
    *(kept_by_a_with_block, taken_at_once, taken_before_others_are_begun),
)


class TestTasks:
    @pytest.mark.parametrize(
        ("program", "is_kept"),
        [*((program, False) for program in HANDED_ON), *((program, True) for program in KEPT)],
        ids=lambda value: getattr(value, "__name__", None),
    )
    async def test_who_has_handed_a_connection_on_does_not_nest(
        self, pool: PoolUnderTest, watches: Watches, program: Program, is_kept: bool
    ) -> None:
        watch = watches.watch(pool.target, registry=None)

        async def use(connection: Any) -> None:
            # All of them are out before one is returned.
            await eventually(2, lambda: watch.snapshot().acquired)
            await pool.release(connection)

        await asyncio.create_task(_run(program, pool.acquire, use))
        await eventually(0, lambda: watch.snapshot().in_use)
        expected = (1, True) if is_kept and pool.nests else (0, False)
        assert expected == nested(watch)

    async def test_a_session_that_is_handed_on(self, postgres: Any, watches: Watches) -> None:
        from sqlalchemy import text
        from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

        engine = create_async_engine(
            postgres.sqlalchemy_url("asyncpg"), pool_size=2, max_overflow=0
        )
        watch = watches.watch(engine, registry=None)
        done = asyncio.Event()

        async def finish(session: AsyncSession) -> None:
            await done.wait()
            await session.close()

        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                session = AsyncSession(engine)
                group.create_task(finish(session))
                await session.execute(text("SELECT 1"))
                session = None  # type: ignore[assignment]  # it is the other task's
            done.set()
        await engine.dispose()
        assert (0, False) == nested(watch)


async def _run(program: Program, acquire: Acquire, use: Use) -> None:
    await program(acquire, use)

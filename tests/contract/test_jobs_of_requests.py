"""
Which jobs in threads are those of one caller: jobs of one operation that one task waits for, one
after the other.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio.to_thread
import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.orm import Session

import poolscope
from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE, eventually

Run = Callable[..., Awaitable[Any]]


@pytest.fixture
def engine(sqlite: Any) -> Any:
    return sqlite(pool_size=2, max_overflow=0, pool_timeout=0.01)


@pytest.fixture
def watch(engine: Any, watches: Watches) -> Watch:
    return watches.watch(engine, registry=None)


def nested(watch: Watch) -> tuple[int, bool]:
    """Return how many attempts were nested, and whether that is found."""
    found = "nested-acquire" in [finding.rule for finding in watch.findings()]
    return watch.snapshot().nested, found


def once_awaited(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """
    Return the function as a job that does nothing before its task waits for it.

    A thread may begin a job before that, and then nothing tells whose it is.
    """
    waits = threading.Event()
    asyncio.get_running_loop().call_soon(waits.set)

    def job() -> Any:
        assert waits.wait(PATIENCE)
        return function(*args)

    return job


async def to_thread(function: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.to_thread(once_awaited(function, *args))


async def in_an_executor(function: Callable[..., Any], *args: Any) -> Any:
    with ThreadPoolExecutor(1) as threads:
        job = partial(contextvars.copy_context().run, once_awaited(function, *args))
        return await asyncio.get_running_loop().run_in_executor(threads, job)


async def by_anyio(function: Callable[..., Any], *args: Any) -> Any:
    return await anyio.to_thread.run_sync(function, *args)


RUNS: list[Run] = [to_thread, in_an_executor, by_anyio]


@pytest.mark.parametrize("run", RUNS)
async def test_a_job_that_asks_while_an_earlier_one_of_its_request_holds_nests(
    engine: Any, watch: Watch, run: Run
) -> None:
    async def request() -> None:
        with poolscope.operation("GET /two"):
            first = await run(engine.connect)
            second = await run(engine.connect)
            for connection in (first, second):
                await run(connection.close)

    await asyncio.create_task(request())
    assert (1, True) == nested(watch)


async def test_jobs_that_different_means_have_run_are_those_of_one_request(
    engine: Any, watch: Watch
) -> None:
    async def request(first: Run, second: Run) -> None:
        with poolscope.operation("GET /two"):
            one = await first(engine.connect)
            another = await second(engine.connect)
            for connection in (one, another):
                connection.close()

    for count, pair in enumerate(((by_anyio, to_thread), (to_thread, by_anyio)), 1):
        await asyncio.create_task(request(*pair))
        assert count == watch.snapshot().nested


async def test_jobs_without_code_of_the_application_are_those_of_their_task(
    engine: Any, watch: Watch
) -> None:
    """As `asyncio.to_thread(engine.connect)`."""
    loop = asyncio.get_running_loop()

    async def take() -> Any:
        with ThreadPoolExecutor(1) as threads:
            # Its thread does nothing else before this task waits.
            waits = threading.Event()
            threads.submit(waits.wait, PATIENCE)
            loop.call_soon(waits.set)
            job = partial(contextvars.copy_context().run, engine.connect)
            return await loop.run_in_executor(threads, job)

    async def request() -> None:
        with poolscope.operation("GET /two"):
            first = await take()
            second = await take()
            first.close()
            second.close()

    await asyncio.create_task(request())
    assert (1, True) == nested(watch)


@pytest.mark.parametrize("run", RUNS)
async def test_a_job_that_asks_after_an_earlier_one_has_returned_its_own_does_not(
    engine: Any, watch: Watch, run: Run
) -> None:
    async def request() -> None:
        with poolscope.operation("GET /two"):
            for _ in range(2):
                held = await run(engine.connect)
                await run(held.close)

    await asyncio.create_task(request())
    assert (0, False) == nested(watch)


@pytest.mark.parametrize("run", RUNS)
async def test_requests_side_by_side_are_several_callers(
    engine: Any, watch: Watch, run: Run
) -> None:
    both, taken = asyncio.Event(), []

    async def request() -> None:
        with poolscope.operation("GET /one"):
            taken.append(await run(engine.connect))
            if len(taken) == 2:
                both.set()
            await both.wait()

    await asyncio.gather(request(), request())
    for connection in taken:
        connection.close()
    assert (0, False) == nested(watch)


class TestSideBySideOnPurpose:
    """A request that has several jobs or tasks run at once lets each take a connection."""

    @pytest.mark.parametrize("run", RUNS)
    async def test_tasks_of_one_request(self, engine: Any, watch: Watch, run: Run) -> None:
        both = threading.Barrier(2)

        def use() -> None:
            with engine.connect():
                both.wait(PATIENCE)

        async def request() -> None:
            with poolscope.operation("GET /both"):
                await asyncio.gather(run(use), run(use))

        await asyncio.create_task(request())
        assert (0, False) == nested(watch)

    @pytest.mark.parametrize("run", RUNS)
    async def test_tasks_whose_jobs_leave_connections_to_them(
        self, engine: Any, watch: Watch, run: Run
    ) -> None:
        """Each returns its own, whatever the other does."""

        async def part() -> None:
            held = await run(engine.connect)
            await run(held.close)

        async def request() -> None:
            with poolscope.operation("GET /both"):
                await asyncio.gather(part(), part())

        for _ in range(5):
            await asyncio.create_task(request())
        assert (0, False) == nested(watch)

    async def test_jobs_that_a_task_waits_for_together(self, engine: Any, watch: Watch) -> None:
        both = threading.Barrier(2)

        def use() -> None:
            with engine.connect():
                both.wait(PATIENCE)

        async def request() -> None:
            loop = asyncio.get_running_loop()
            with poolscope.operation("GET /both"):
                jobs = [partial(contextvars.copy_context().run, use) for _ in range(2)]
                await asyncio.gather(*(loop.run_in_executor(None, job) for job in jobs))

        await asyncio.create_task(request())
        assert (0, False) == nested(watch)

    @pytest.mark.parametrize("later", [to_thread, by_anyio])
    async def test_a_job_that_its_task_has_given_up_and_a_later_one(
        self, engine: Any, watch: Watch, later: Run
    ) -> None:
        taken, until = threading.Event(), threading.Event()

        def stay() -> None:
            with engine.connect():
                taken.set()
                until.wait(PATIENCE)

        async def request() -> None:
            with poolscope.operation("GET /slow"):
                staying = asyncio.current_task()
                assert staying is not None
                cancelling = asyncio.create_task(_when(taken, staying.cancel))
                with pytest.raises(asyncio.CancelledError):
                    await to_thread(stay)
                getattr(staying, "uncancel", int)()
                await cancelling
                held = await later(engine.connect)
                await later(held.close)

        await asyncio.create_task(request())
        until.set()
        await eventually(0, lambda: watch.snapshot().in_use)
        assert (0, False) == nested(watch)


async def _when(event: threading.Event, act: Callable[[], object]) -> None:
    await eventually(True, event.is_set)
    act()


class TestOperations:
    async def test_jobs_of_two_operations_are_not_one_request(
        self, engine: Any, watch: Watch
    ) -> None:
        async def request() -> None:
            held = []
            for name in ("same name", "same name"):
                with poolscope.operation(name):
                    held.append(await to_thread(engine.connect))
            for connection in held:
                connection.close()

        await asyncio.create_task(request())
        assert (0, False) == nested(watch)

    async def test_jobs_of_no_operation_are_callers_of_their_own(
        self, engine: Any, watch: Watch
    ) -> None:
        async def request() -> None:
            held = [await to_thread(engine.connect) for _ in range(2)]
            for connection in held:
                connection.close()

        await asyncio.create_task(request())
        assert (0, False) == nested(watch)


@pytest.mark.parametrize("run", RUNS)
async def test_a_connection_that_another_task_has_got_is_not_held(
    engine: Any, watch: Watch, run: Run
) -> None:
    """A dispatcher takes connections by jobs in threads, and hands each to another task."""
    dealt: asyncio.Queue[Any] = asyncio.Queue()

    async def work(until: asyncio.Event) -> None:
        held = await dealt.get()
        await until.wait()
        held.close()

    async def dispatch() -> None:
        until = asyncio.Event()
        working = [asyncio.create_task(work(until)) for _ in range(2)]
        with poolscope.operation("dispatch"):
            for _ in working:
                connection = await run(engine.connect)
                await dealt.put(connection)
                await eventually(True, dealt.empty)
        until.set()
        await asyncio.gather(*working)

    await asyncio.create_task(dispatch())
    assert (0, False) == nested(watch)


class TestFastAPI:
    @pytest.fixture
    async def client(self, engine: Any) -> AsyncIterator[httpx.AsyncClient]:
        app = FastAPI()

        def orders() -> Iterator[Any]:
            with Session(engine) as session:
                yield session

        def audit() -> Iterator[Any]:
            with Session(engine) as session:
                yield session

        first, second = Depends(orders), Depends(audit)

        @app.get("/two")
        def two(one: Any = first, another: Any = second) -> None:
            one.execute(text("SELECT 1"))
            another.execute(text("SELECT 1"))

        @app.get("/two/async")
        async def two_async(one: Any = first, another: Any = second) -> None:
            for session in (one, another):
                await to_thread(session.execute, text("SELECT 1"))

        @app.get("/one")
        def one(session: Any = first) -> None:
            session.execute(text("SELECT 1"))

        def clean_up() -> None:
            with engine.connect():
                pass

        @app.get("/background")
        def background(tasks: BackgroundTasks, session: Any = first) -> None:
            session.execute(text("SELECT 1"))
            session.commit()
            tasks.add_task(clean_up)

        poolscope.instrument(app, metrics=None)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client

    @pytest.mark.parametrize("path", ["/two", "/two/async"])
    async def test_two_sessions_of_one_request_nest(
        self, client: httpx.AsyncClient, watch: Watch, path: str
    ) -> None:
        response = await asyncio.create_task(client.get(path))
        assert (200, 1, True) == (response.status_code, *nested(watch))

    @pytest.mark.parametrize("path", ["/one", "/background"])
    async def test_a_request_with_one_session_and_its_background_do_not(
        self, client: httpx.AsyncClient, watch: Watch, path: str
    ) -> None:
        for _ in range(3):
            response = await asyncio.create_task(client.get(path))
            assert 200 == response.status_code
        assert (0, False) == nested(watch)

    async def test_a_job_that_outlives_its_request_is_a_caller_of_its_own(
        self, engine: Any, watch: Watch
    ) -> None:
        taken, answered = asyncio.Event(), threading.Event()
        jobs: list[asyncio.Future[Any]] = []
        app = FastAPI()

        def stay(told: Callable[[], object]) -> None:
            with engine.connect():
                told()
                assert answered.wait(PATIENCE)

        @app.get("/job")
        async def begin() -> None:
            loop = asyncio.get_running_loop()
            told = partial(loop.call_soon_threadsafe, taken.set)
            job = partial(contextvars.copy_context().run, stay, told)
            jobs.append(loop.run_in_executor(None, job))
            await taken.wait()
            held = await to_thread(engine.connect)
            await to_thread(held.close)

        poolscope.instrument(app, metrics=None)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            await client.get("/job")
            answered.set()
            await jobs[0]
        assert (0, False) == nested(watch)

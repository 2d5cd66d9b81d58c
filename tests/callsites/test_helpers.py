"""
A generator of the application that only contextlib runs, such as a helper that yields a connection,
asks for whoever enters it: for every kind of pool.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg
import fastapi
import httpx
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE
from support.web import Server

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

Open = Callable[[], Any]
"""Returns an asynchronous context manager of the library that takes a connection."""


@pytest.fixture(params=["async engine", "asyncpg", "aiohttp"])
async def pool(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, watches: Watches
) -> AsyncIterator[tuple[Watch, Open]]:
    if request.param == "async engine":
        engine = create_async_engine(postgres.sqlalchemy_url("asyncpg"))
        yield watches.watch(engine, registry=None), engine.connect
        await engine.dispose()
    elif request.param == "asyncpg":
        async with asyncpg.create_pool(postgres.dsn, min_size=1, max_size=2) as made:
            yield watches.watch(made, registry=None), lambda: made.acquire(timeout=PATIENCE)
    else:
        server = Server()
        await server.start()
        async with aiohttp.ClientSession() as session:
            url = f"{server.url}/stream/x"
            yield watches.watch(session, registry=None), lambda: session.get(url)
        await server.stop()


def functions(watch: Watch) -> list[str]:
    return [str(hold.site).rpartition(".")[2] for hold in watch.holders()]


class TestOfTasks:
    @pytest.fixture(autouse=True)
    def helpers(self, pool: tuple[Watch, Open]) -> None:
        self.watch, self.open = pool

        @asynccontextmanager
        async def connection() -> AsyncIterator[Any]:
            async with self.open() as it:
                yield it

        @asynccontextmanager
        async def transaction() -> AsyncIterator[Any]:
            async with connection() as it:
                yield it

        async def dependency() -> AsyncIterator[Any]:
            async with transaction() as it:
                yield it

        self.connection, self.transaction, self.dependency = connection, transaction, dependency

    async def test_a_helper_is_passed_over(self) -> None:
        async def checkout() -> list[str]:
            async with self.connection():
                return functions(self.watch)

        for _ in range(3):
            assert ["checkout"] == await checkout()

    async def test_so_is_a_helper_in_a_helper_and_one_on_a_stack(self) -> None:
        async def checkout() -> list[str]:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self.transaction())
                return functions(self.watch)

        assert ["checkout"] == await checkout()

    async def test_so_is_one_that_decorates(self) -> None:
        async def checkout() -> list[str]:
            return await decorated()

        @self.transaction()
        async def decorated() -> list[str]:
            return functions(self.watch)

        assert ["checkout"] == await checkout()

    async def test_without_the_application_outside_the_outermost_helper_is_found(self) -> None:
        entering: Any = AsyncExitStack().enter_async_context
        entered = asynccontextmanager(self.dependency)()
        await asyncio.create_task(entering(entered))
        assert ["dependency"] == functions(self.watch)
        await entered.__aexit__(None, None, None)

    async def test_a_dependency_of_fastapi_is_found(self) -> None:
        service, needed = fastapi.FastAPI(), fastapi.Depends(self.dependency)

        @service.get("/")
        async def endpoint(_: Any = needed) -> list[str]:
            return functions(self.watch)

        transport = httpx.ASGITransport(service)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            asking: Any = client.get("/")
            # No frame of this task belongs to the application, but for the service's.
            response = await asyncio.create_task(asking)
        assert ["dependency"] == response.json()

    async def test_a_function_that_a_helper_calls_is_no_helper(self) -> None:
        async def take(stack: AsyncExitStack) -> None:
            await stack.enter_async_context(self.open())

        @asynccontextmanager
        async def connection() -> AsyncIterator[None]:
            async with AsyncExitStack() as stack:
                await take(stack)
                yield

        async with connection():
            assert ["take"] == functions(self.watch)

    async def test_a_class_with_methods_is_no_helper(self) -> None:
        class Connection:
            async def __aenter__(inner) -> Any:  # noqa: N805
                inner.it = self.open()
                return await inner.it.__aenter__()

            async def __aexit__(inner, *_: object) -> Any:  # noqa: N805
                return await inner.it.__aexit__(*_)

        async with Connection():
            assert ["__aenter__"] == functions(self.watch)

    async def test_a_generator_that_the_application_runs_is_no_helper(self) -> None:
        async def rows() -> AsyncIterator[list[str]]:
            async with self.open():
                yield functions(self.watch)

        assert [["rows"]] == [found async for found in rows()]


class TestOfThreads:
    @pytest.fixture(autouse=True)
    def helpers(self, sqlite: Any, watches: Watches) -> None:
        self.engine = sqlite()
        self.watch = watches.watch(self.engine, registry=None)

        @contextmanager
        def connection() -> Iterator[Any]:
            with self.engine.connect() as it:
                yield it

        self.connection = connection

    def test_a_helper_is_passed_over(self) -> None:
        def checkout() -> list[str]:
            with self.connection():
                return functions(self.watch)

        for _ in range(3):
            assert ["checkout"] == checkout()

    def test_so_is_one_on_a_stack_and_one_that_decorates(self) -> None:
        @self.connection()
        def decorated() -> list[str]:
            return functions(self.watch)

        def checkout() -> list[str]:
            with ExitStack() as stack:
                stack.enter_context(self.connection())
                return [*functions(self.watch), *decorated()]

        assert ["checkout", "checkout", "checkout"] == checkout()

    def test_so_is_one_that_asks_when_it_ends(self) -> None:
        held: list[Any] = []

        @contextmanager
        def audited() -> Iterator[None]:
            yield
            held.append(self.engine.connect())

        def checkout() -> None:
            with audited():
                pass

        checkout()
        assert ["checkout"] == functions(self.watch)
        held.pop().close()

    async def test_a_helper_in_a_thread_of_its_own_is_found(self) -> None:
        entered = self.connection()
        await asyncio.to_thread(entered.__enter__)
        assert ["connection"] == functions(self.watch)
        entered.__exit__(None, None, None)

    def test_what_merely_has_the_name_of_contextlib_does_not_hide_a_generator(self) -> None:
        def rows() -> Generator[list[str]]:
            with self.engine.connect():
                yield functions(self.watch)

        with contextlib.closing(rows()) as found:
            assert ["rows"] == next(found)


def test_a_helper_of_the_demo_or_of_a_library_is_passed_over_as_well(
    sqlite: Any, watches: Watches
) -> None:
    engine = sqlite()
    watch = watches.watch(engine, registry=None)

    def checkout() -> list[str]:
        with sqlalchemy.orm.sessionmaker(engine).begin() as session:
            session.execute(sqlalchemy.text("SELECT 1"))
            return functions(watch)

    assert ["checkout"] == checkout()

"""Connections that are held across requests, as services and scripts of different kinds do it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import pytest
import uvloop
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

import poolscope
from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE
from support.web import Server

if TYPE_CHECKING:
    from poolscope.demo.postgres import EmbeddedPostgres

ONE = text("SELECT 1")


@pytest.fixture
async def upstream(
    sessions: Any, watches: Watches, server: Server
) -> Callable[[], AsyncIterator[bytes]]:
    """Ask another server, and yield its answer."""
    session = sessions()
    watches.watch(session, "upstream", registry=None)

    async def ask() -> AsyncIterator[bytes]:
        async with session.get(f"{server.url}/now/answer") as response:
            async for chunk in response.content.iter_any():
                yield chunk

    return ask


def found(watch: Watch) -> list[str]:
    """Return the functions of both lines of what was found."""
    return [
        " across ".join(line.rpartition(".")[2] for line in lines.split(", across "))
        for finding in watch.findings()
        if finding.rule == "held-across-request"
        for lines in finding.sites
    ]


class TestFastAPI:
    @pytest.fixture
    def app(self) -> FastAPI:
        app = FastAPI()
        poolscope.instrument(app, metrics=None)
        return app

    @pytest.fixture
    async def get(self, app: FastAPI) -> AsyncIterator[Callable[[str], Any]]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:

            async def get(path: str) -> bytes:
                return (await asyncio.create_task(client.get(path))).content

            yield get

    async def test_a_synchronous_dependency(
        self, app: FastAPI, get: Any, sqlite: Any, watches: Watches, upstream: Any
    ) -> None:
        engine = sqlite()
        watch = watches.watch(engine, registry=None)

        def session_of_request() -> Iterator[Session]:
            with Session(engine) as session:
                session.execute(ONE)
                yield session

        held = Depends(session_of_request)

        @app.get("/held")
        async def answer(session: Any = held) -> Any:
            return [chunk.decode() async for chunk in upstream()]

        @app.get("/returned")
        async def answer_better(session: Any = held) -> Any:
            session.commit()
            return [chunk.decode() async for chunk in upstream()]

        assert b'["answer"]' == await get("/returned")
        assert [] == found(watch)
        assert b'["answer"]' == await get("/held")
        assert ["session_of_request across ask"] == found(watch)

    async def test_an_asynchronous_dependency(
        self, app: FastAPI, get: Any, postgres: EmbeddedPostgres, watches: Watches, upstream: Any
    ) -> None:
        engine = create_async_engine(postgres.sqlalchemy_url("asyncpg"))
        watch = watches.watch(engine, registry=None)
        session_maker = async_sessionmaker(engine, expire_on_commit=False)

        async def session_of_request() -> AsyncIterator[AsyncSession]:
            async with session_maker() as session:
                yield session

        held = Depends(session_of_request)

        @app.get("/held")
        async def answer(session: Any = held) -> Any:
            await session.execute(ONE)
            return [chunk.decode() async for chunk in upstream()]

        @app.get("/returned")
        async def answer_better(session: Any = held) -> Any:
            await session.execute(ONE)
            await session.commit()
            reply = [chunk.decode() async for chunk in upstream()]
            await session.execute(ONE)
            await session.commit()
            return reply

        assert b'["answer"]' == await get("/returned")
        assert [] == found(watch)
        assert b'["answer"]' == await get("/held")
        assert ["answer across ask"] == found(watch)
        await engine.dispose()

    async def test_a_streamed_response(
        self, app: FastAPI, get: Any, pools: Any, watches: Watches, upstream: Any
    ) -> None:
        pool = await pools()
        watch = watches.watch(pool, registry=None)

        async def chunks(before: bool) -> AsyncIterator[bytes]:
            async with pool.acquire(timeout=PATIENCE) as connection:
                await connection.fetchval("SELECT 1")
                if not before:
                    async for chunk in upstream():
                        yield chunk
            if before:
                async for chunk in upstream():
                    yield chunk

        @app.get("/stream")
        async def stream(before: bool) -> StreamingResponse:
            return StreamingResponse(chunks(before))

        assert b"answer" == await get("/stream?before=true")
        assert [] == found(watch)
        assert b"answer" == await get("/stream?before=false")
        assert ["chunks across ask"] == found(watch)


class TestThreads:
    """A thread that holds a connection runs an event loop, and waits for its end."""

    @pytest.fixture
    def engine(self, sqlite: Any) -> Any:
        return sqlite()

    @pytest.fixture
    def watch(self, engine: Any, watches: Watches) -> Watch:
        return watches.watch(engine, registry=None)

    @pytest.fixture(params=["asyncio", "uvloop"])
    def run(self, request: pytest.FixtureRequest) -> Callable[[Any], None]:
        """Run a coroutine in an event loop of a thread's own, as its main task."""
        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

        def run(coroutine: Any) -> None:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(coroutine)

        return run

    async def ask(self, watches: Watches, url: str) -> None:
        async with aiohttp.ClientSession() as session:
            watches.watch(session, "upstream", registry=None)
            async with session.get(f"{url}/now/x") as response:
                await response.read()

    async def in_a_thread(self, work: Callable[[], None]) -> None:
        """Not in `asyncio.to_thread`, which gives the thread the context of this task."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        errors: list[BaseException] = []

        def job() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)
            loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=job).start()
        await ended.wait()
        assert [] == errors

    async def test_a_thread_that_waits_for_the_request(
        self, engine: Any, watch: Watch, run: Any, watches: Watches, server: Server
    ) -> None:
        def work() -> None:
            with engine.connect():
                run(self.ask(watches, server.url))

        await self.in_a_thread(work)
        assert ["work across ask"] == found(watch)

    async def test_a_thread_that_has_returned_its_connection(
        self, engine: Any, watch: Watch, run: Any, watches: Watches, server: Server
    ) -> None:
        def work() -> None:
            with engine.connect():
                pass
            run(self.ask(watches, server.url))

        await self.in_a_thread(work)
        assert [] == found(watch)

    async def test_another_task_of_the_loop_that_the_thread_runs(
        self, engine: Any, watch: Watch, run: Any, watches: Watches, server: Server
    ) -> None:
        """As a service whose main thread keeps a connection while it serves."""

        async def serve() -> None:
            await asyncio.create_task(self.ask(watches, server.url))

        def work() -> None:
            with engine.connect():
                run(serve())

        await self.in_a_thread(work)
        assert [] == found(watch)

    async def test_another_thread(
        self, engine: Any, watch: Watch, run: Any, watches: Watches, server: Server
    ) -> None:
        def work() -> None:
            run(self.ask(watches, server.url))

        def use() -> None:
            with engine.connect():
                thread = threading.Thread(target=work)
                thread.start()
                thread.join(PATIENCE)

        await self.in_a_thread(use)
        assert [] == found(watch)

    async def test_a_loop_in_the_thread_of_a_job(
        self, engine: Any, watch: Watch, run: Any, watches: Watches, server: Server
    ) -> None:
        def work() -> None:
            with engine.connect():
                run(self.ask(watches, server.url))

        with poolscope.operation("report"):
            await asyncio.to_thread(work)
        assert ["work across ask"] == found(watch)

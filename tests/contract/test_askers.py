"""Who asks for a connection, in the ways that programs run code side by side."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_thread
import greenlet
import httpx
import pytest
import trio
from fastapi import Depends, FastAPI

from poolscope import Watch
from poolscope.watching.watches import Watches
from support.waiting import PATIENCE, eventually


@pytest.fixture
def engine(sqlite: Any) -> Any:
    return sqlite(pool_size=2, max_overflow=0, pool_timeout=0.01)


@pytest.fixture(params=["used before", "unused before"])
def watch(request: pytest.FixtureRequest, engine: Any, watches: Watches) -> Watch:
    """Where the engine was used before, all that runs later has a copy of that context."""
    watch = watches.watch(engine, registry=None)
    if request.param == "used before":
        engine.connect().close()
    return watch


def nested(watch: Watch) -> tuple[int, bool]:
    """Return how many attempts were nested, and whether that is found."""
    found = "nested-acquire" in [finding.rule for finding in watch.findings()]
    return watch.snapshot().nested, found


class TestTrio:
    def test_two_tasks_with_a_connection_each_do_not_nest(self, engine: Any, watch: Watch) -> None:
        async def hold(held: trio.Event, until: trio.Event) -> None:
            with engine.connect():
                held.set()
                await until.wait()

        async def main() -> None:
            first, second, until = trio.Event(), trio.Event(), trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hold, first, until)
                await first.wait()
                nursery.start_soon(hold, second, until)
                await second.wait()
                until.set()

        for _ in range(2):
            trio.run(main)
            assert (0, False) == nested(watch)

    def test_a_task_that_another_one_starts_is_another_caller(
        self, engine: Any, watch: Watch
    ) -> None:
        async def parent() -> None:
            with engine.connect():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(child)

        async def child() -> None:
            with engine.connect():
                await trio.lowlevel.checkpoint()

        trio.run(parent)
        assert (0, False) == nested(watch)

    def test_one_task_nests_and_has_its_name(self, engine: Any, watch: Watch) -> None:
        seen: list[str | None] = []

        async def nest() -> None:
            with engine.connect():
                await trio.lowlevel.checkpoint()
                with engine.connect():
                    seen.extend(hold.owner for hold in watch.holders())

        async def use() -> None:
            with engine.connect():
                await trio.lowlevel.checkpoint()

        for task in (nest, use):  # the first one of all tells that there are such tasks
            trio.run(task)
        before = watch.snapshot().nested
        seen.clear()
        trio.run(nest)
        assert (before + 1, True) == nested(watch)
        assert seen[0] == seen[1]
        assert str(seen[0]).endswith("nest")


class TestCallbacks:
    async def test_scheduled_callbacks_do_not_nest(self, engine: Any, watch: Watch) -> None:
        loop, held = asyncio.get_running_loop(), []
        for _ in range(2):
            loop.call_soon(lambda: held.append(engine.connect()))
        await eventually(2, lambda: len(held))
        loop.call_soon(lambda: [connection.close() for connection in held])
        await eventually(0, lambda: watch.snapshot().in_use)
        assert (0, False) == nested(watch)

    async def test_a_callback_that_schedules_the_next_does_not_nest(
        self, engine: Any, watch: Watch
    ) -> None:
        loop, held = asyncio.get_running_loop(), []

        def take() -> None:
            held.append(engine.connect())
            if len(held) < 2:
                loop.call_soon(take)

        loop.call_soon(take)
        await eventually(2, lambda: len(held))
        for connection in held:
            connection.close()
        assert (0, False) == nested(watch)

    async def test_protocols_that_hold_a_connection_each_do_not_nest(
        self, engine: Any, watch: Watch
    ) -> None:
        """Whatever arrives, in one piece or in several, is another caller."""
        loop, held = asyncio.get_running_loop(), []

        class Holding(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                held.append(engine.connect())

        ends = []
        for _ in range(2):
            here, there = socket.socketpair()
            transport, _ = await loop.connect_accepted_socket(Holding, here)
            ends.append((transport, there))
        for _, there in ends:
            there.send(b"x")
        await eventually(2, lambda: len(held))
        held.pop().close()
        ends[0][1].send(b"y")
        await eventually(2, lambda: len(held))
        for connection in held:
            connection.close()
        for transport, there in ends:
            transport.close()
            there.close()
        assert (0, False) == nested(watch)

    def test_a_loop_that_runs_callbacks_alone(self, engine: Any, watch: Watch) -> None:
        held: list[Any] = []
        loop = asyncio.new_event_loop()
        with engine.connect():
            loop.call_soon(lambda: held.append(engine.connect()))
            loop.call_soon(loop.stop)
            loop.run_forever()
            held.pop().close()
        loop.close()
        assert (0, False) == nested(watch)


class TestThreads:
    def test_greenlets_are_callers_of_their_own(self, engine: Any, watch: Watch) -> None:
        def use() -> None:
            with engine.connect():
                greenlet.getcurrent().parent.switch()

        running = [greenlet.greenlet(use) for _ in range(2)]
        for _ in range(2):
            for one in running:
                one.switch()
        assert (0, False) == nested(watch)

    def test_threads_with_a_copy_of_the_context_are_callers_of_their_own(
        self, engine: Any, watch: Watch
    ) -> None:
        with engine.connect(), ThreadPoolExecutor(1) as threads:
            job = contextvars.copy_context().run
            threads.submit(job, lambda: engine.connect().close()).result(PATIENCE)
        assert (0, False) == nested(watch)


class TestRequestsInThreads:
    """The jobs that one task gives to threads, one after the other, are those of one caller."""

    async def test_a_job_that_asks_while_an_earlier_one_of_its_task_holds_nests(
        self, engine: Any, watch: Watch
    ) -> None:
        async def request() -> None:
            held = [await anyio.to_thread.run_sync(engine.connect) for _ in range(2)]
            for connection in held:
                await anyio.to_thread.run_sync(connection.close)

        await asyncio.create_task(request())
        assert (1, True) == nested(watch)

    async def test_jobs_with_a_time_limit_around_them_are_those_of_their_task(
        self, engine: Any, watch: Watch
    ) -> None:
        async def request() -> None:
            with anyio.fail_after(PATIENCE):
                first = await anyio.to_thread.run_sync(engine.connect)
                second = await anyio.to_thread.run_sync(engine.connect)
            for connection in (first, second):
                await anyio.to_thread.run_sync(connection.close)

        await asyncio.create_task(request())
        assert (1, True) == nested(watch)

    async def test_tasks_of_one_group_are_several_callers(self, engine: Any, watch: Watch) -> None:
        both = threading.Barrier(2)

        def use() -> None:
            with engine.connect():
                both.wait(PATIENCE)

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, use)
            group.start_soon(anyio.to_thread.run_sync, use)
        assert (0, False) == nested(watch)

    async def test_a_job_that_its_task_has_given_up_is_not_the_task_s(
        self, engine: Any, watch: Watch
    ) -> None:
        taken, until = threading.Event(), threading.Event()

        def stay() -> None:
            with engine.connect():
                taken.set()
                until.wait(PATIENCE)

        async def request() -> None:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(_when, taken, scope.cancel)
                    await anyio.to_thread.run_sync(stay, abandon_on_cancel=True)
            connection = await anyio.to_thread.run_sync(engine.connect)
            await anyio.to_thread.run_sync(connection.close)

        await asyncio.create_task(request())
        until.set()
        await eventually(0, lambda: watch.snapshot().in_use)
        assert (0, False) == nested(watch)


async def _when(event: threading.Event, act: Any) -> None:
    await eventually(True, event.is_set)
    act()


class TestFastAPI:
    @pytest.fixture
    async def client(self, engine: Any) -> AsyncIterator[httpx.AsyncClient]:
        app = FastAPI()

        def orders() -> Iterator[Any]:
            with engine.connect() as connection:
                yield connection

        def audit() -> Iterator[Any]:
            with engine.connect() as connection:
                yield connection

        first, second = Depends(orders), Depends(audit)

        @app.get("/one")
        def one(connection: Any = first) -> None: ...

        @app.get("/two")
        def two(connection: Any = first, another: Any = second) -> None: ...

        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client

    async def test_two_connections_of_one_request_nest(
        self, client: httpx.AsyncClient, watch: Watch
    ) -> None:
        response = await asyncio.create_task(client.get("/two"))
        assert (200, 1, True) == (response.status_code, *nested(watch))

    async def test_requests_with_a_connection_each_do_not_nest(
        self, client: httpx.AsyncClient, watch: Watch
    ) -> None:
        for _ in range(5):
            responses = await asyncio.gather(client.get("/one"), client.get("/one"))
            assert [200, 200] == [response.status_code for response in responses]
        assert (0, False) == nested(watch)

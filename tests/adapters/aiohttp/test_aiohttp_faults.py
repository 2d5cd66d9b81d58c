"""aiohttp: one test for each way in which counting up and down would go wrong."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver

from poolscope.adapters.aiohttp.tracer import Tracer
from poolscope.label_values import OTHER_LABEL
from poolscope.readings.hosts import HostReading
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.histograms import count_of
from support.waiting import eventually
from support.web import Server, ends, hosts, kept, opened, state


class Names(AbstractResolver):
    """Resolves any name to the loopback address, once the test allows it."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.asked = asyncio.Event()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> Any:
        self.asked.set()
        await self.may.wait()
        address = {"hostname": host, "host": "127.0.0.1", "port": port}
        return [{**address, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


class Pausing:
    """Tracers of a session's own, one of which pauses when it gets `signal`."""

    def __init__(self, signal: str) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.config = aiohttp.TraceConfig()
        getattr(self.config, f"on_connection_{signal}").append(self.pause)

    async def pause(self, *args: object) -> None:
        self.reached.set()
        await self.go_on.wait()


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def quiet() -> AsyncIterator[None]:
    """Ignore what is logged about connections that were left open."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


class TestWaiting:
    @pytest.mark.parametrize("ends_by", ["cancellation", "time"])
    async def test_a_waiter_that_gives_up_is_not_counted_as_waiting(
        self, server: Server, sessions: Any, watches: Watches, ends_by: str
    ) -> None:
        session = sessions(limit=1)
        watch = watches.watch(session, registry=None)
        holding = await session.get(f"{server.url}/stream/held")
        limit = aiohttp.ClientTimeout(total=0.01 if ends_by == "time" else None)
        waiting = asyncio.create_task(session.get(f"{server.url}/now/x", timeout=limit))
        await eventually((1, 0, 0, 1), lambda: state(watch))
        if ends_by == "time":
            with pytest.raises(TimeoutError):
                await waiting
            assert (1, 1, 0, 0) == ends(watch)
        else:
            await cancel(waiting)
            assert (1, 0, 1, 0) == ends(watch)
        assert (1, 0, 0, 0) == state(watch)
        assert 1 == watch.snapshot().waited
        holding.close()

    async def test_a_waiter_that_must_queue_again_has_waited_once(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(limit=1)
        watch = watches.watch(session, registry=None)
        holding = await session.get(f"{server.url}/stream/held")
        waiting = asyncio.create_task(session.get(f"{server.url}/now/x"))
        await eventually((1, 0, 0, 1), lambda: state(watch))
        # A request that asks now may be faster than the waiter that was woken.
        others = [asyncio.create_task(session.get(f"{server.url}/now/x")) for _ in range(3)]
        holding.close()
        for request in (waiting, *others):
            async with await request as response:
                await response.read()
        assert (5, 0, 0, 0) == ends(watch)
        assert (0, 1, 0, 0) == state(watch)
        now = watch.snapshot()
        assert now.waited == count_of(watch._pool._groups.read(watch._pool).queue_seconds)
        assert now.waited in (3, 4)

    async def test_a_waiter_is_cancelled_as_it_gets_a_slot(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(limit=1)
        watch = watches.watch(session, registry=None)
        holding = await session.get(f"{server.url}/stream/held")
        waiting = asyncio.create_task(session.get(f"{server.url}/now/x"))
        await eventually((1, 0, 0, 1), lambda: state(watch))
        holding.close()
        await cancel(waiting)
        assert (0, 0, 0, 0) == state(watch)
        assert (1, 0, 1, 0) == ends(watch)

    async def test_a_host_has_a_limit_of_its_own(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        names = Names()
        names.may.set()
        session = sessions(limit=3, limit_per_host=1, resolver=names)
        watch = watches.watch(session, registry=None)
        held = [
            await session.get(f"http://{host}.example:{server.port}/stream/{host}")
            for host in ("one", "two")
        ]
        waiting = asyncio.create_task(session.get(f"http://one.example:{server.port}/now/x"))
        await eventually((2, 0, 0, 1), lambda: state(watch))
        assert [
            HostReading(f"one.example:{server.port}", 1, 0, 0, 1, opened=1),
            HostReading(f"two.example:{server.port}", 1, 0, 0, 0, opened=1),
        ] == hosts(watch)
        held[1].close()
        assert (1, 0, 0, 1) == state(watch)
        held[0].close()
        (await waiting).release()
        assert (0, 1, 0, 0) == state(watch)


class TestOpening:
    async def test_a_connection_that_is_being_opened_is_not_in_use(
        self, server: Server, sessions: Any, watches: Watches, clock: FakeClock
    ) -> None:
        names = Names()
        session = sessions(resolver=names)
        watch = watches.watch(session, registry=None)
        asking = asyncio.create_task(session.get(f"http://one.example:{server.port}/stream/x"))
        await names.asked.wait()
        assert (0, 0, 1, 0) == state(watch)
        assert 1 == len(session.connector._acquired)
        clock.advance(3.0)
        names.may.set()
        response = await asking
        assert (1, 0, 0, 0) == state(watch)
        assert 0.0 == watch.snapshot().in_use_seconds
        response.close()

    @pytest.mark.parametrize("ends_by", ["cancellation", "time", "close"])
    async def test_a_connection_that_is_given_up_while_it_is_opened(
        self, sessions: Any, watches: Watches, ends_by: str
    ) -> None:
        session = sessions(resolver=Names())
        watch = watches.watch(session, registry=None)
        limit = aiohttp.ClientTimeout(connect=0.01 if ends_by == "time" else None)
        asking = asyncio.create_task(session.get("http://one.example/", timeout=limit))
        await eventually((0, 0, 1, 0), lambda: state(watch))
        if ends_by == "close":
            await session.close()
        if ends_by == "time":
            with pytest.raises(TimeoutError):
                await asking
        else:
            await cancel(asking)
        assert (0, 0, 0, 0) == state(watch)
        assert (0, 1, 0) == opened(watch)
        assert 1 == sum(ends(watch))

    @pytest.mark.usefixtures("quiet")  # aiohttp 3.9 leaves it to the garbage collector
    async def test_a_connection_that_dies_before_its_caller_has_it(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        trace = Pausing("create_end")
        session = sessions(trace.config)
        watch = watches.watch(session, registry=None)
        asking = asyncio.create_task(session.post(f"{server.url}/now/x"))
        await trace.reached.wait()
        await eventually(1, server.connections)
        server.hang_up()
        await eventually(0, server.connections)
        for _ in range(5):
            await asyncio.sleep(0)
        trace.go_on.set()
        with pytest.raises((aiohttp.ClientError, AssertionError)):
            await asking
        assert (0, 0, 0, 0) == state(watch)
        assert (1, 0, 1) == opened(watch)

    @pytest.mark.usefixtures("quiet")  # aiohttp 3.9 leaves it to the garbage collector
    async def test_an_idle_connection_that_dies_as_it_is_taken(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        trace = Pausing("reuseconn")
        session = sessions(trace.config)
        watch = watches.watch(session, registry=None)
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        asking = asyncio.create_task(session.post(f"{server.url}/now/x"))
        await trace.reached.wait()
        server.hang_up()
        await eventually((0, 0, 0, 0), lambda: state(watch))
        trace.go_on.set()
        with pytest.raises((aiohttp.ClientError, AssertionError)):
            await asking
        assert (0, 0, 0, 0) == state(watch)
        assert (2, 0, 0, 0) == ends(watch)
        now = watch.snapshot()
        assert now.opened == now.closed


class TestIdle:
    async def test_a_closed_connection_is_not_idle_though_the_connector_keeps_it(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        server.hang_up()
        await eventually((0, 0, 0, 0), lambda: state(watch))
        assert 1 == sum(len(kept) for kept in session.connector._conns.values())
        session.connector._cleanup()
        assert (1, 0, 1) == opened(watch)

    async def test_an_expired_connection_is_closed_at_the_next_request(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(keepalive_timeout=-1.0)
        watch = watches.watch(session, registry=None)
        for turn in range(1, 4):
            async with session.get(f"{server.url}/now/x") as response:
                await response.read()
            assert (0, 1, 0, 0) == state(watch)
            assert (turn, 0, turn - 1) == opened(watch)

    async def test_the_host_of_a_connection_that_was_idle_before_the_watch_is_known(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        watch = watches.watch(session, registry=None)
        assert [HostReading(f"127.0.0.1:{server.port}", 0, 1, 0, 0, opened=1)] == hosts(watch)

    async def test_the_host_of_a_connection_in_use_before_is_known_when_it_is_returned(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        response = await session.get(f"{server.url}/stream/held")
        watch = watches.watch(session, registry=None)
        assert (1, 0, 0, 0) == state(watch)
        server.tell("held")
        await response.read()
        # It was counted before its host was known, and no counter falls.
        other = HostReading(OTHER_LABEL, 0, 0, 0, 0, opened=1)
        late = HostReading(f"127.0.0.1:{server.port}", 0, 1, 0, 0)
        # aiohttp 3.9 says of connections in use, too, which host they are to.
        known = hosts(watch)
        assert known in ([other, late], [late._replace(opened=1)])
        server.hang_up()
        await eventually((0, 0, 0, 0), lambda: state(watch))
        assert [host._replace(idle=0) for host in known] == hosts(watch)


class TestBodies:
    async def test_a_connection_is_in_use_until_its_body_ends(
        self, server: Server, sessions: Any, watches: Watches, clock: FakeClock
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        response = await session.get(f"{server.url}/stream/held")
        clock.advance(3.0)
        assert b"begun " == await response.content.readany()
        assert (1, 0, 0, 0) == state(watch)
        server.tell("held")
        # Nobody reads: the rest of the body fits into the buffer, and the connection is free.
        await eventually((0, 1, 0, 0), lambda: state(watch))
        clock.advance(3.0)
        assert b"ended" == await response.read()
        assert (0, 1, 0, 0) == state(watch)
        assert 3.0 == watch.snapshot().in_use_seconds

    @pytest.mark.parametrize("give_up", ["release", "close"])
    async def test_the_connection_of_a_response_that_is_closed_unread_is_not_in_use(
        self, server: Server, sessions: Any, watches: Watches, give_up: str
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        response = await session.get(f"{server.url}/stream/held")
        getattr(response, give_up)()
        assert (0, kept(session), 0, 0) == state(watch)
        assert (1, 0, 1 - kept(session)) == opened(watch)

    async def test_a_connection_is_in_use_until_its_unread_body_ends(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        await session.get(f"{server.url}/stream/held")
        gc.collect()
        assert (1, 0, 0, 0) == state(watch)  # the connector has it
        server.tell("held")
        await eventually((0, 1, 0, 0), lambda: state(watch))

    async def test_a_connection_that_is_lost_in_a_body(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        response = await session.get(f"{server.url}/stream/held")
        server.hang_up()
        await eventually((0, 0, 0, 0), lambda: state(watch))
        assert 1 == len(session.connector._acquired)  # until the caller looks
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        assert (1, 0, 1) == opened(watch)

    async def test_a_connection_that_was_lost_before_the_watch_is_not_open(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        response = await session.get(f"{server.url}/stream/held")
        server.hang_up()
        await eventually(False, response.connection.protocol.is_connected)
        watch = watches.watch(session, registry=None)
        assert (0, 0, 0, 0) == state(watch)
        assert (0, 0, 0) == opened(watch)
        response.close()
        assert (0, 0, 0) == opened(watch)

    @pytest.mark.usefixtures("quiet")
    async def test_a_dropped_connection_is_closed_when_it_is_collected(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        upgraded = [await session.ws_connect(f"{server.url}/socket/x")]
        assert (1, 0, 0, 0) == state(watch)
        upgraded.clear()
        gc.collect()
        assert (0, 0, 0, 0) == state(watch)
        await eventually(0, server.connections)

    async def test_a_request_that_aiohttp_retries_is_two_attempts(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        async with session.get(f"{server.url}/now/x") as response:
            await response.read()
        asking = asyncio.create_task(session.get(f"{server.url}/now/x"))
        await eventually(2, lambda: watch.snapshot().acquired)
        server.hang_up()
        with suppress(aiohttp.ClientError):  # aiohttp 3.9 does not try again
            (await asking).release()
        now = watch.snapshot()
        assert now.acquired - now.reused == now.opened
        assert now.opened - now.closed == now.idle


async def test_a_caller_that_is_woken_and_waits_again_has_waited_for_both(
    sessions: Any, watches: Watches, clock: FakeClock
) -> None:
    watch = watches.watch(sessions(), registry=None)
    hooks: Any = watch._pool.hooks
    attempt = Tracer(hooks, "shop.example:80", clock())
    for seconds in (2.0, 3.0):
        await attempt.send_connection_queued_start()
        clock.advance(seconds)
        await attempt.send_connection_queued_end()
        clock.advance(1.0)
    assert (5.0, 5.0, 0) == (
        attempt.queued,
        watch.snapshot().waiting_seconds,
        watch.snapshot().waiting,
    )

"""aiohttp: reuse, hosts, names, failures, and connections that are never returned properly."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from prometheus_client import REGISTRY, CollectorRegistry

import poolscope
from poolscope import Watch
from poolscope.readings.hosts import HostReading
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.ports import closed_port
from support.waiting import eventually
from support.web import hosts


class Server:
    """A web server on a free port of the loopback interface, which answers when told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        app = web.Application()
        app.router.add_get("/now", self.now)
        app.router.add_get("/later", self.later)
        app.router.add_post("/later", self.later)  # which is not tried again
        app.router.add_get("/redirect", self.redirect)
        app.router.add_get("/socket", self.upgrade)
        self.runner = web.AppRunner(app, keepalive_timeout=3600)

    async def start(self) -> None:
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = self.runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def now(self, request: web.Request) -> web.Response:
        return web.Response(text="now")

    async def later(self, request: web.Request) -> web.Response:
        await self.go_on.wait()
        return web.Response(text="later")

    async def redirect(self, request: web.Request) -> web.Response:
        raise web.HTTPFound("/now")

    async def upgrade(self, request: web.Request) -> web.WebSocketResponse:
        upgraded = web.WebSocketResponse()
        await upgraded.prepare(request)
        async for _ in upgraded:
            pass
        return upgraded

    def connections(self) -> int:
        assert self.runner.server is not None
        return len(self.runner.server.connections)

    def hang_up(self) -> None:
        """Close all connections, as a server does when their keep-alive time is over."""
        assert self.runner.server is not None
        for protocol in self.runner.server.connections:
            protocol.force_close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    server.go_on.set()
    await server.runner.cleanup()


def compare(watch: Watch, session: aiohttp.ClientSession) -> tuple[int, int, int]:
    """Return in use, idle and opened, after comparing them with the connector itself."""
    connector: Any = session.connector
    snapshot = watch.snapshot()
    idle = [protocol for kept in connector._conns.values() for protocol, _ in kept]
    assert len(connector._acquired) == snapshot.in_use + snapshot.opening
    assert sum(protocol.is_connected() for protocol in idle) == snapshot.idle
    assert snapshot.in_use + snapshot.idle == snapshot.opened - snapshot.closed
    return snapshot.in_use, snapshot.idle, snapshot.opened


class TestConnections:
    async def test_a_connection_is_reused(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        for turn in range(3):
            async with session.get(f"{server.url}/now") as response:
                assert "now" == await response.text()
            assert (0, 1, 1) == compare(watch, session)
            assert (turn + 1, turn) == (watch.snapshot().acquired, watch.snapshot().reused)
        assert 1 == server.connections()

    async def test_with_force_close_no_connection_is_kept(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(force_close=True)
        watch = watches.watch(session, registry=None)
        assert (100.0, 0.0) == (watch.snapshot().limit, watch.snapshot().idle_limit)
        for turn in range(1, 4):
            async with session.get(f"{server.url}/now") as response:
                await response.text()
            assert (0, 0, turn) == compare(watch, session)

    async def test_without_a_limit(self, server: Server, sessions: Any, watches: Watches) -> None:
        watch = watches.watch(sessions(limit=0), registry=None)
        assert float("inf") == watch.snapshot().limit

    async def test_a_connection_that_the_server_closes_is_not_idle(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(keepalive_timeout=3600)
        watch = watches.watch(session, registry=None)
        async with session.get(f"{server.url}/now") as response:
            await response.text()
        server.hang_up()
        await eventually(0, lambda: watch.snapshot().idle)
        assert (0, 0, 1) == compare(watch, session)

    async def test_an_unread_response_returns_its_connection_when_its_body_has_arrived(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(limit=1)
        watch = watches.watch(session, registry=None)
        await session.get(f"{server.url}/now")
        gc.collect()
        await eventually(0, lambda: watch.snapshot().in_use)
        assert (0, 1, 1) == compare(watch, session)
        assert 0 == watch.snapshot().leaks_abandoned

    async def test_a_websocket_leaves_no_connection_behind(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(limit=1)
        watch = watches.watch(session, registry=None)
        async with session.get(f"{server.url}/now") as response:
            await response.read()
        assert (0, 1, 1) == compare(watch, session)
        upgraded = await session.ws_connect(f"{server.url}/socket")
        assert (1, 0, 1) == compare(watch, session)
        await upgraded.close()
        assert (0, 0, 1) == compare(watch, session)

    @pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")
    async def test_a_websocket_that_is_dropped(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(limit=1)
        watch = watches.watch(session, registry=None)
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        upgraded = await session.ws_connect(f"{server.url}/socket")
        assert (1, 0, 1) == compare(watch, session)
        del upgraded
        gc.collect()
        assert (0, 0, 1) == compare(watch, session)

    async def test_a_redirect_is_two_attempts(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        async with session.get(f"{server.url}/redirect") as response:
            assert "now" == await response.text()
        assert (0, 1, 1) == compare(watch, session)
        assert (2, 1) == (watch.snapshot().acquired, watch.snapshot().reused)

    async def test_two_sessions_share_a_connector(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        other = aiohttp.ClientSession(connector=session.connector, connector_owner=False)
        async with other.get(f"{server.url}/now") as response:
            await response.text()
        await other.close()
        assert (0, 1, 1) == compare(watch, session)
        assert 1 == watch.snapshot().instances

    async def test_closing_a_session_with_requests_in_flight(
        self, server: Server, sessions: Any, watches: Watches, clock: FakeClock
    ) -> None:
        session = sessions(limit=1)
        watch = watches.watch(session, registry=None)
        requests = [asyncio.create_task(session.post(f"{server.url}/later")) for _ in range(2)]
        await eventually((1, 1), lambda: (watch.snapshot().in_use, watch.snapshot().waiting))
        clock.advance(2.0)
        connector = session.connector
        await session.close()
        for request in requests:
            request.cancel()
        ended = await asyncio.gather(*requests, return_exceptions=True)
        assert all(isinstance(error, BaseException) for error in ended)
        del ended, requests, connector
        snapshot = watch.snapshot()
        assert (0, 0, 0, 0) == (
            snapshot.in_use, snapshot.waiting, snapshot.idle, snapshot.instances,
        )  # fmt: skip
        assert (1, 1, 1) == (snapshot.acquired, snapshot.opened, snapshot.closed)
        assert 1 == snapshot.cancelled + snapshot.timed_out + snapshot.failed
        assert (2.0, 2.0) == (snapshot.in_use_seconds, snapshot.waiting_seconds)


class TestFailures:
    async def test_a_server_that_refuses(self, sessions: Any, watches: Watches) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{closed_port()}/")
        snapshot = watch.snapshot()
        assert (0, 1, 1, 0) == (
            snapshot.acquired, snapshot.failed, snapshot.open_failed, snapshot.opening,
        )  # fmt: skip
        assert (0, 0, 0) == compare(watch, session)

    @pytest.mark.parametrize(
        "timeout", [{"total": 0.01}, {"connect": 0.01}], ids=lambda timeout: next(iter(timeout))
    )
    async def test_time_limits_of_the_session_are_time_outs(
        self, server: Server, sessions: Any, watches: Watches, timeout: dict[str, float]
    ) -> None:
        session = sessions(limit=1)
        watch = watches.watch(session, registry=None)
        holding = asyncio.create_task(session.get(f"{server.url}/later"))
        await eventually(1, lambda: watch.snapshot().in_use)
        with pytest.raises(TimeoutError):
            await session.get(f"{server.url}/now", timeout=aiohttp.ClientTimeout(**timeout))
        snapshot = watch.snapshot()
        assert (1, 0, 1, 0) == (
            snapshot.timed_out, snapshot.cancelled, snapshot.waited, snapshot.waiting,
        )  # fmt: skip
        server.go_on.set()
        (await holding).release()

    async def test_a_connector_that_is_used_without_a_session(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(limit=1)
        watch = watches.watch(session, registry=None)
        holding = asyncio.create_task(session.get(f"{server.url}/later"))
        await eventually(1, lambda: watch.snapshot().in_use)
        seen: list[Any] = []
        original = session.connector.connect

        async def connect(req: Any, traces: Any, timeout: Any) -> Any:
            seen.append(req)
            return await original(req, (), timeout)

        session.connector.connect = connect
        request = asyncio.create_task(session.get(f"{server.url}/now"))
        await eventually(1, lambda: watch.snapshot().waiting)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert (1, 0) == (watch.snapshot().cancelled, watch.snapshot().waiting)
        server.go_on.set()
        (await holding).release()


class Names(AbstractResolver):
    """Resolves one name to the loopback address, and fails for any other."""

    closed = False

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[Any]:
        if host != "good.example":
            raise OSError("no such host")
        address: Any = {
            "hostname": host,
            "host": "127.0.0.1",
            "port": port,
            "family": socket.AF_INET,
            "proto": 0,
            "flags": 0,
        }
        return [address]

    async def close(self) -> None:
        self.closed = True


class TestNamesAndHosts:
    async def test_look_ups_are_hits_misses_and_errors(
        self, server: Server, sessions: Any, watches: Watches, clock: FakeClock
    ) -> None:
        class Slow(Names):
            async def resolve(self, *args: Any, **kwargs: Any) -> list[Any]:
                clock.advance(0.5)
                return await super().resolve(*args, **kwargs)

        registry = CollectorRegistry()
        session = sessions(resolver=Slow(), force_close=True)
        watches.watch(session, "names", registry=registry)
        for _ in range(3):
            async with session.get(f"http://good.example:{server.port}/now") as response:
                await response.text()
        for _ in range(2):
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://bad.example/")

        def value(sample: str, **labels: str) -> float | None:
            return registry.get_sample_value(
                f"connpool_dns_{sample}", {"pool": "names", "kind": "aiohttp", **labels}
            )

        results = {name: value("lookups_total", result=name) for name in ("hit", "miss", "error")}
        assert {"hit": 2.0, "miss": 1.0, "error": 2.0} == results
        assert (3.0, 1.5) == (value("seconds_count"), value("seconds_sum"))

    async def test_the_resolver_is_restored_and_closed_as_before(
        self, sessions: Any, watches: Watches
    ) -> None:
        resolver = Names()
        session = sessions(resolver=resolver)
        watch = watches.watch(session, registry=None)
        assert session.connector._resolver.closed is False
        await session.connector._resolver.close()
        assert resolver.closed
        watch.unwatch()
        assert session.connector._resolver is resolver

    async def test_connections_are_counted_by_host(
        self, server: Server, sessions: Any, watches: Watches
    ) -> None:
        session = sessions(resolver=Names(), limit_per_host=1)
        watch = watches.watch(session, registry=None)
        good = f"good.example:{server.port}"
        requests = [asyncio.create_task(session.get(f"http://{good}/later")) for _ in range(3)]
        await eventually((1, 2), lambda: (watch.snapshot().in_use, watch.snapshot().waiting))
        async with session.get(f"{server.url}/now") as response:
            await response.text()
        expected = [
            HostReading(good, in_use=1, idle=0, opening=0, waiting=2, opened=1),
            HostReading(f"127.0.0.1:{server.port}", 0, idle=1, opening=0, waiting=0, opened=1),
        ]
        assert expected == hosts(watch)
        server.go_on.set()
        for request in requests:
            (await request).release()
        assert [0, 0] == [reading.waiting for reading in hosts(watch)]

    async def test_an_address_of_ipv6_is_in_brackets(self, sessions: Any, watches: Watches) -> None:
        session = sessions()
        watch = watches.watch(session, registry=None)
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://[::1]:1/")
        assert ["[::1]:1"] == [reading.host for reading in hosts(watch)]


class TestTraceConfig:
    async def test_a_session_is_watched_from_its_first_request_on(self, server: Server) -> None:
        registry = CollectorRegistry()
        config = poolscope.trace_config("payments", registry=registry)
        async with aiohttp.ClientSession(trace_configs=[config]) as session:
            for _ in range(2):
                async with session.get(f"{server.url}/now") as response:
                    await response.text()
            labels = {"pool": "payments", "kind": "aiohttp"}
            assert 2.0 == registry.get_sample_value(
                "connpool_acquires_total", {**labels, "outcome": "ok"}
            )
            assert 1.0 == registry.get_sample_value("connpool_instances", labels)
            assert REGISTRY.get_sample_value("connpool_instances", labels) is None

    async def test_the_sessions_own_tracers_get_the_same_signals_as_before(
        self, server: Server, watches: Watches
    ) -> None:
        async def signals(watched: bool) -> list[str]:
            told: list[str] = []
            config = aiohttp.TraceConfig()
            for name in ("queued_start", "queued_end", "create_start", "create_end", "reuseconn"):

                async def tell(*args: object, name: str = name) -> None:
                    told.append(name)

                getattr(config, f"on_connection_{name}").append(tell)
            connector = aiohttp.TCPConnector(limit=1)
            async with aiohttp.ClientSession(
                connector=connector, trace_configs=[config]
            ) as session:
                if watched:
                    watches.watch(session, registry=None)
                requests = [session.get(f"{server.url}/now") for _ in range(3)]
                for response in await asyncio.gather(*requests):
                    await response.text()
            return told

        assert await signals(watched=False) == await signals(watched=True)

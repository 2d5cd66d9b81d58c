"""What an application that looks into aiohttp sees of a watched connector."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from poolscope.watching.watches import Watches
from support.web import Server

TIMEOUT = aiohttp.ClientTimeout()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize(
    "connect",
    [
        lambda connector, request: connector.connect(request, None, TIMEOUT),
        lambda connector, request: connector.connect(request, [], TIMEOUT),
        lambda connector, request: connector.connect(request, traces=None, timeout=TIMEOUT),
        lambda connector, request: connector.connect(timeout=TIMEOUT, traces=(), req=request),
    ],
)
async def test_a_connector_is_used_without_a_session(
    server: Server, sessions: Any, watches: Watches, connect: Callable[..., Any]
) -> None:
    session = sessions()
    requests = []

    class Request(aiohttp.ClientRequest):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            requests.append(self)

    session._request_class = Request
    async with session.request(hdrs.METH_GET, URL(f"{server.url}/now/x")) as response:
        await response.read()
    watch = watches.watch(session, registry=None)
    for _ in range(2):
        connection = await connect(session.connector, requests[0])
        assert 1 == watch.snapshot().in_use
        connection.release()
    connection = await connect(session.connector, requests[0])
    connection.close()
    now = watch.snapshot()
    assert (3, 3, 0, 1) == (now.acquired, now.reused, now.in_use, now.closed)


@pytest.mark.parametrize("arguments", [(), (None,), (None, None), (None,) * 4])
async def test_a_wrong_call_raises_the_same(
    sessions: Any, watches: Watches, arguments: tuple[Any, ...]
) -> None:
    seen = []
    connector = sessions().connector
    for watched in (False, True):
        if watched:
            watches.watch(connector, registry=None)
        with pytest.raises((TypeError, AttributeError)) as raised:
            connector.connect(*arguments)
        seen.append(str(raised.value))
    assert seen[0] == seen[1]


class SlottedResolver(AbstractResolver):
    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        raise OSError

    async def close(self) -> None: ...


async def test_the_application_sees_its_own_resolver(sessions: Any, watches: Watches) -> None:
    resolver = SlottedResolver()
    shared = [sessions(resolver=resolver) for _ in range(2)]
    for number, session in enumerate(shared):
        watches.watch(session, str(number), registry=None)
        assert session.connector._resolver is resolver
        assert type(resolver) is SlottedResolver
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://name.example/")
    assert 2 == resolver.asked
    session.connector._resolver = other = SlottedResolver()
    with pytest.raises(aiohttp.ClientConnectorError):
        await session.get("http://name.example/")
    assert (2, 1) == (resolver.asked, other.asked)


async def test_the_default_resolver_keeps_its_class(sessions: Any, watches: Watches) -> None:
    session = sessions()
    watches.watch(session, registry=None)
    assert type(session.connector._resolver) is aiohttp.DefaultResolver


async def test_a_protocol_keeps_its_class(server: Server, sessions: Any, watches: Watches) -> None:
    session = sessions()
    watch = watches.watch(session, registry=None)
    async with session.get(f"{server.url}/now/x") as response:
        await response.read()
    (((protocol, _),),) = session.connector._conns.values()
    assert protocol.__class__ is ResponseHandler
    assert type(protocol) is not ResponseHandler
    watch.unwatch()
    assert type(protocol) is ResponseHandler
    assert not [name for name in vars(protocol) if "poolscope" in name]


async def test_the_protocol_of_a_closed_connection_is_not_watched(
    server: Server, sessions: Any, watches: Watches
) -> None:
    session = sessions()
    watches.watch(session, registry=None)
    response = await session.get(f"{server.url}/stream/x")
    protocol = response.connection.protocol
    assert type(protocol) is not ResponseHandler
    response.close()
    assert type(protocol) is ResponseHandler

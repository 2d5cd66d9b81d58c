"""aiohttp: how many connections to each host were opened, and how many attempts have failed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from prometheus_client import CollectorRegistry, generate_latest

from poolscope import Watch
from poolscope.fleet.folder import Folder
from poolscope.fleet.segment_reader import PoolFile
from poolscope.label_values import OTHER_LABEL
from poolscope.readings.hosts import SHOWN_HOSTS, HostReading
from poolscope.testing import FakeClock
from poolscope.watching.watches import Watches
from support.ports import closed_port
from support.segments import file_of
from support.waiting import eventually
from support.web import Server, hosts, opened, state


class Names(AbstractResolver):
    """Resolves each name to the loopback interface, but not those that begin with `unknown`."""

    async def resolve(self, host: str, port: int = 0, *args: Any, **kwargs: Any) -> Any:
        if host.startswith("unknown"):
            raise OSError(f"there is no {host}")
        address = {"hostname": host, "host": "127.0.0.1", "port": port}
        return [{**address, "family": 2, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


async def get(session: aiohttp.ClientSession, url: str, **options: Any) -> None:
    async with session.get(url, **options) as response:
        await response.read()


def counters(watch: Watch) -> dict[str, tuple[float, float]]:
    """Return how many connections were opened, and how many attempts have failed, by host."""
    return {each.host: (each.opened, each.open_failed) for each in hosts(watch)}


def add_up(watch: Watch) -> bool:
    """Whether the counters of the hosts are those of the pool."""
    each = counters(watch).values()
    return opened(watch)[:2] == tuple(map(sum, zip(*each, strict=True)))


async def test_each_way_to_fail_counts_for_its_host(
    server: Server, sessions: Any, watches: Watches
) -> None:
    session = sessions(resolver=Names())
    watch = watches.watch(session, registry=None)
    closed = closed_port()
    for _ in range(2):
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://refused.example:{closed}/")
    with pytest.raises(aiohttp.ClientConnectorError):
        await session.get("http://unknown.example/")
    await get(session, f"http://good.example:{server.port}/now/x")
    await get(session, f"http://good.example:{server.port}/now/x")
    expected = {
        f"refused.example:{closed}": (0, 2),
        "unknown.example:80": (0, 1),
        f"good.example:{server.port}": (1, 0),
    }
    assert (expected, True) == (counters(watch), add_up(watch))


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_an_attempt_that_is_ended_while_it_connects_has_failed(
    sessions: Any, watches: Watches, how: str
) -> None:
    """As `connpool_opened_total` has it."""
    mute = socket.create_server(("127.0.0.1", 0))  # which never answers the handshake
    port = mute.getsockname()[1]
    session = sessions()
    watch = watches.watch(session, registry=None)
    limit = aiohttp.ClientTimeout(sock_connect=0.01 if how == "timed out" else None)
    asking = asyncio.create_task(session.get(f"https://127.0.0.1:{port}/", timeout=limit))
    await eventually(True, lambda: state(watch)[2] == 1 or asking.done())
    if how == "cancelled":
        asking.cancel()
    with pytest.raises((asyncio.CancelledError, TimeoutError)):
        await asking
    mute.close()
    assert ({f"127.0.0.1:{port}": (0, 1)}, True) == (counters(watch), add_up(watch))


async def test_a_host_keeps_its_label_however_many_come_later(
    server: Server, sessions: Any, watches: Watches
) -> None:
    session = sessions(resolver=Names())
    watch = watches.watch(session, registry=None)
    names = [f"h{number:02}.example:{server.port}" for number in range(SHOWN_HOSTS + 3)]
    for name in names:
        await get(session, f"http://{name}/now/x")
    server.hang_up()
    await eventually(0, lambda: state(watch)[1])
    for name in reversed(names):
        await get(session, f"http://{name}/now/x")
    own = dict.fromkeys(names[:SHOWN_HOSTS], (2, 0))
    assert ({**own, OTHER_LABEL: (6, 0)}, True) == (counters(watch), add_up(watch))


async def test_no_credential_is_part_of_a_host(
    server: Server, sessions: Any, watches: Watches
) -> None:
    registry = CollectorRegistry()
    session = sessions(resolver=Names())
    watches.watch(session, registry=registry)
    await get(session, f"http://ann:s3cret@good.example:{server.port}/now/x")
    for proxy in ("http://ann:s3cret@127.0.0.1:1", "http://ann:s3cret@unknown.example:80"):
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://far.example/", proxy=proxy)
    text = generate_latest(registry).decode()
    assert 'connpool_host_opened_total{host="far.example:80"' in text
    assert ("s3cret" in text, "ann" in text) == (False, False)


async def test_the_counters_of_a_session_outlive_it(server: Server, watches: Watches) -> None:
    registry = CollectorRegistry()
    labels = {"pool": "upstream", "kind": "aiohttp", "host": f"127.0.0.1:{server.port}"}
    for turn in range(1, 4):
        async with aiohttp.ClientSession() as session:
            watches.watch(session, "upstream", registry=registry)
            await get(session, f"{server.url}/now/x")
            value = registry.get_sample_value(
                "connpool_host_opened_total", {**labels, "outcome": "ok"}
            )
            assert turn == value
        del session
    assert 3 == registry.get_sample_value("connpool_host_opened_total", {**labels, "outcome": "ok"})


async def test_another_process_reads_the_hosts_of_each_moment(
    server: Server, folder: Path, clock: FakeClock
) -> None:
    watch = None
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit_per_host=2, resolver=Names())
    ) as session:
        watch = Watches(clock, Folder(folder)).watch(session, "upstream", registry=None)
        reader = PoolFile(file_of(folder), os.getpid())

        def shown() -> list[HostReading]:
            assert hosts(watch) == reader.read(clock()).hosts()
            return hosts(watch)

        assert [] == shown()
        one, two = (f"{name}.example:{server.port}" for name in ("one", "two"))
        for _ in range(3):  # by events at first, then on the hot path
            await get(session, f"http://{one}/now/x")
            await get(session, f"http://{two}/now/x")
        assert [HostReading(one, 0, 1, 0, 0, 1), HostReading(two, 0, 1, 0, 0, 1)] == shown()
        held = [await session.get(f"http://{name}/stream/x") for name in (two, one, two)]
        waiting = asyncio.create_task(session.get(f"http://{two}/now/x"))
        await eventually(1, lambda: state(watch)[3])
        assert [HostReading(one, 1, 0, 0, 0, 1), HostReading(two, 2, 0, 0, 1, 2)] == shown()
        server.tell("x")
        for response in held:
            await response.read()
        await (await waiting).read()
        assert [HostReading(one, 0, 1, 0, 0, 1), HostReading(two, 0, 2, 0, 0, 2)] == shown()
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("http://unknown.example/")
        assert HostReading("unknown.example:80", 0, 0, 0, 0, 0, 1) == shown()[-1]
    assert [0.0, 0.0, 0.0] == [each.idle for each in shown()]

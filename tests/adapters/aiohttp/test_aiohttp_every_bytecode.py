"""
An exception from outside may come at any bytecode of the hooks of an aiohttp connector. Then the
connector loses no connection, and the numbers are those of the connector.

So they are when another thread reads while the event loop does not run.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, Final
from weakref import ref

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from poolscope.callsites.owners import find_borrower
from poolscope.errors import internal_errors
from poolscope.ledger import recorder
from poolscope.ledger.holding import add_database, databases
from poolscope.ledger.ledger import Ledger
from poolscope.readings.limits import Limits
from poolscope.readings.reading import Reading
from poolscope.testing import FakeClock
from poolscope.watching.watch import Watch
from poolscope.watching.watches import Watches
from support.bytecodes import (
    STEP,
    HardInterruption,
    Interruption,
    at_bytecode,
    in_a_thread,
    interruption,
)
from support.counters import falls
from support.histograms import count_of
from support.laws import laws_of_counters
from support.web import Server, hosts

pytestmark = pytest.mark.usefixtures("few_frames_are_searched")

INTERRUPTIONS: Final = (Interruption, HardInterruption)

ADOPTED: Final = 2
"""Connections that are open when the watch begins: a use has opened them."""


_words = itertools.count()


class Client:
    """A session with two connections at most; the server ends a response when it is given back."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2))
        self.database = Ledger(Limits(1, 1, 0), FakeClock())

    def hold_database(self) -> None:
        """Hold a connection of a database while the responses are asked for."""
        add_database(self.database)
        self.database.served("a", 0.0, 0.0, find_borrower(None, call_sites=True))

    async def close(self) -> None:
        """Close the session; the next client has another database."""
        self.database.emptied(1.0)
        databases.pop(ref(self.database), None)
        await self.session.close()

    async def hold(self, seconds: float | None = None) -> Any:
        timeout = aiohttp.ClientTimeout(total=seconds)
        with suppress(TimeoutError, *INTERRUPTIONS):
            url = f"{self.server.url}/stream/{next(_words)}"
            return await self.session.get(url, timeout=timeout)

    async def give_back(self, response: Any) -> None:
        if response is not None:
            self.server.tell(response.url.name)
            with suppress(aiohttp.ClientError, TimeoutError, *INTERRUPTIONS):
                await response.read()
            with suppress(*INTERRUPTIONS):
                response.release()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect what was interrupted, after its event loop is closed, and not in another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


Use = Callable[[Client], Awaitable[None]]


async def use(client: Client) -> None:
    for response in [await client.hold(), await client.hold()]:
        await client.give_back(response)


async def wait(client: Client) -> None:
    held = [await client.hold(), await client.hold()]
    waiter = asyncio.create_task(client.hold())
    await asyncio.sleep(0)
    for response in held:
        await client.give_back(response)
    await client.give_back(await waiter)


async def time_out(client: Client) -> None:
    held = [await client.hold(), await client.hold()]
    held.append(await client.hold(0.001))
    for response in held:
        await client.give_back(response)


async def close(client: Client) -> None:
    response = await client.hold()
    if response is not None:
        for _ in range(2):  # again if it is interrupted
            with suppress(*INTERRUPTIONS):
                response.close()
    await use(client)


async def beside_a_database(client: Client) -> None:
    for response in [await client.hold(), await client.hold()]:
        await client.give_back(response)


USES: Final = (use, wait, time_out, close, beside_a_database)


def faults(client: Client, watch: Watch) -> list[str]:
    """Return what does not agree with the connector, once the application holds nothing."""
    reading = watch._pool.read()
    client.database.read()  # which applies what is pending
    connector: Any = client.session.connector
    idle = sum(
        protocol.is_connected() for each in connector._conns.values() for protocol, *_ in each
    )
    in_use = sum(isinstance(each, ResponseHandler) for each in connector._acquired)
    laws = {
        "nobody waits or opens": (0, 0) == (reading.waiting, reading.opening),
        "no request is under way": not client.database.across(),
        "nothing is in use": (0, 0) == (reading.in_use, in_use),
        "idle are those of the connector": reading.idle == idle,
        **laws_of_counters(watch, ADOPTED),
    }
    return [law for law, holds in laws.items() if not holds]


@pytest.fixture
def _quick_collections() -> Iterator[None]:
    """Leave out of collections what was there before the test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.skipif(
    not aiohttp.__version__.startswith("3.14"),
    reason="the points at which the library itself loses a connection differ between releases",
)
# Of finalizers, whose exceptions go no further, and of what was left open by them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.usefixtures("_quick_collections")
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_an_exception_at_any_bytecode_of_a_hook(use: Use) -> None:
    server = Server()
    await server.start()
    wrong: list[tuple[Any, ...]] = []
    for number in itertools.count(1, STEP):
        client = Client(server)
        await globals()["use"](client)
        watch = Watches(FakeClock()).watch(client.session, registry=None)
        if use is beside_a_database:
            client.hold_database()
        with at_bytecode(number, interruption(number), let_in=True) as tracer:
            await use(client)
        for _ in range(10):  # until the loop has told of connections that were lost
            await asyncio.sleep(0)
        if use is beside_a_database:
            gc.collect()  # the exception may be part of a cycle, and keep what was interrupted
        if not tracer.begins("send_connection_reuseconn") and tracer.stack[:1] != ["_release"]:
            # There aiohttp has taken the connection, and gives it to nobody; or it has just
            # released one, and does so again.
            wrong += [(number, tracer.where, fault) for fault in faults(client, watch)]
        await client.close()
        if tracer.is_beyond_the_last:
            break
    await server.stop()
    assert [] == wrong
    assert number > 100


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_another_thread_reads_at_any_bytecode_of_a_hook(
    use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "READER_NAPS", 1)
    monkeypatch.setattr(recorder, "NAP", 0.0)
    server = Server()
    await server.start()
    wrong: list[tuple[Any, ...]] = []
    outcomes: set[tuple[float, ...]] = set()
    for number in itertools.count(1, STEP):
        client, errors = Client(server), internal_errors.count
        await globals()["use"](client)
        watch = Watches(FakeClock()).watch(client.session, registry=None)
        if use is beside_a_database:
            client.hold_database()
        seen: list[Reading] = []

        def others(watch: Watch = watch, seen: list[Reading] = seen) -> None:
            seen.append(look(watch))

        with at_bytecode(number, in_a_thread(others), let_in=True) as tracer:
            await use(client)
        for _ in range(10):  # until the loop has told of connections that were lost
            await asyncio.sleep(0)
        seen.append(reading := look(watch))
        wrong += [(number, tracer.where, fault) for fault in faults(client, watch) + falls(seen)]
        if reading.acquired != count_of(reading.hold_seconds) or reading.leaks_abandoned:
            wrong.append((number, tracer.where, "a use has no end"))
        if errors != internal_errors.count:
            wrong.append((number, tracer.where, "an error is ours"))
        outcomes.add((reading.acquired, reading.timed_out, reading.cancelled, reading.failed))
        await client.close()
        if tracer.is_beyond_the_last:
            break
    await server.stop()
    assert [] == wrong
    assert 1 == len(outcomes), outcomes
    assert number > 100


@pytest.mark.skipif(
    not aiohttp.__version__.startswith("3.14"),
    reason="the points at which the library itself loses a connection differ between releases",
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_connection_is_lost_while_an_exception_comes() -> None:
    server = Server()
    await server.start()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    wrong: list[tuple[Any, ...]] = []
    for number in itertools.count(1):
        client = Client(server)
        watch = Watches(FakeClock()).watch(client.session, registry=None)
        response = await client.hold()
        with at_bytecode(number, interruption(number), let_in=True) as tracer:
            response.connection.transport.abort()
            for _ in range(10):  # until the loop has told of it
                await asyncio.sleep(0)
        reading = watch._pool.read()
        # There it comes before the call of aiohttp's own method, as without a watch.
        if not tracer.begins("lose") and (0, 0, 1) != (
            reading.in_use,
            reading.idle,
            reading.closed,
        ):
            wrong.append((number, tracer.where, reading.in_use, reading.idle, reading.closed))
        response.close()
        await client.close()
        if tracer.is_beyond_the_last:
            break
    await server.stop()
    assert [] == wrong
    assert number > 10


ENDS: Final = [name for name in ("close", "abort") if hasattr(ResponseHandler, name)]
"""How this version of aiohttp ends a connection; it has abort() since 3.12."""


@pytest.mark.parametrize("name", ENDS)
async def test_a_connection_that_is_being_closed_while_an_exception_comes_is_closed(
    name: str,
) -> None:
    server = Server()
    await server.start()
    wrong: list[tuple[Any, ...]] = []
    for number in itertools.count(1):
        client = Client(server)
        watch = Watches(FakeClock()).watch(client.session, registry=None)
        response = await client.hold()
        protocol = response.connection.protocol
        transport = protocol.transport
        with (
            at_bytecode(number, interruption(number), let_in=True) as tracer,
            suppress(Interruption, HardInterruption),
        ):
            getattr(protocol, name)()
        closed = transport.is_closing(), watch._pool.read().closed
        if not tracer.begins("lose") and closed != (True, 1):
            wrong.append((number, tracer.where, closed))
        response.close()
        await client.close()
        if tracer.is_beyond_the_last:
            break
    await server.stop()
    assert [] == wrong
    assert number > 10


def look(watch: Watch) -> Reading:
    watch.holders()
    watch.snapshot()
    hosts(watch)
    return watch._pool.read()

"""The aiohttp connector of the machine, what the machine knows of it, and when it is at rest."""

from __future__ import annotations

import asyncio
import functools
import gc
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import uvloop
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from poolscope.readings.reading import Reading
from stateful.aiohttp_expected import end_of, is_expected, looks_up
from stateful.aiohttp_server import (
    QUICK,
    SLOW,
    STUCK,
    ClosingResponse,
    Options,
    Server,
    options,
)
from stateful.deadlines import Deadline
from stateful.interruptions import INTERRUPTIONS
from stateful.machine import LEAK_AFTER, Gauges, PoolMachine
from support.bytecodes import AtBytecode
from support.waiting import PATIENCE
from support.web import hosts

STILL: Final = 3
"""Turns of the event loop without a change, after which everything is at rest: a transport that
is closed tells its protocol one turn later."""


@functools.cache
def freeze() -> None:
    """Exclude all objects of now from garbage collection, once, so that it is quick."""
    gc.collect()
    gc.freeze()


@dataclass(eq=False)
class Request:
    """`answer`: the response or websocket of the caller, once `task` is done."""

    number: int
    host: str
    session: int
    task: asyncio.Task[Any]
    answer: Any = None


class AiohttpMachine(PoolMachine):
    """
    requests: requests that have not ended.
    held: responses whose body has not ended.
    ended: responses whose body has ended, but was not read.
    dropped: numbers of responses whose body has not ended, and that no caller holds any more.
    tracer: what lets an exception land in a use of the connector, while it does.
    """

    patchable = (
        (aiohttp.BaseConnector, "connect"),
        (aiohttp.BaseConnector, "_release"),
        (aiohttp.TCPConnector, "_create_connection"),
        (aiohttp.client_proto.ResponseHandler, "connection_lost"),
    )

    @initialize(
        fast=st.booleans(),
        drawn=options,
        existing=st.lists(st.sampled_from(("now", "stream", "socket")), max_size=3),
    )
    def begin(self, fast: bool, drawn: Options, existing: list[str]) -> None:
        # Only the operations that drop something collect garbage, and then let the loop settle.
        gc.disable()
        freeze()
        self.loop = uvloop.new_event_loop() if fast else asyncio.new_event_loop()
        # Not what they are told of: that would be kept alive.
        self.problems: list[str] = []
        self.loop.set_exception_handler(lambda loop, context: self._complain(context))
        self.number = 0
        self.server = self.loop.run_until_complete(Server.started())
        self.past: list[tuple[Any, Reading]] = []
        self._open(drawn)
        for what in existing:
            if not self.connector.full(QUICK[0]):
                self._begin(what, QUICK[0])
        self._watch()

    def _complain(self, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), INTERRUPTIONS):
            self.problems.append(f"{context['message']}: {context.get('future')}")

    def _open(self, drawn: Options) -> None:
        self.tracer: AtBytecode | None = None

        async def make() -> None:
            self.connector = drawn.connector()
            self.sessions = [self._session(owner) for owner in (True, False)]

        self.options = drawn
        self.requests: list[Request] = []
        self.held: list[Request] = []
        self.ended: list[Request] = []
        self.upgraded: list[Request] = []
        self.dropped: list[int] = []
        self.loop.run_until_complete(make())
        self.names: Any = self.connector._resolver

    def _session(self, owner: bool) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=self.connector,
            connector_owner=owner,
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=ClosingResponse,
        )

    def _watch(self) -> None:
        target = self.sessions[0] if self.options.watch_session else self.connector
        self.out_before = self.connector.out()
        self.adopted = self.out_before + self.connector.idle().total()
        self.connector.asked = self.connector.served = 0
        self.names.answered = self.names.failed = 0
        self.ends: Counter[str] = Counter()
        self._before = None
        self.watch = self.watches.watch(target, leak_after=LEAK_AFTER, registry=None)

    def teardown(self) -> None:
        self.restore_methods()
        gc.enable()
        if not hasattr(self, "loop"):
            return
        # This also runs after a failure, and after hypothesis has stopped the machine half-way.
        passed = sys.exception() is None
        try:
            if passed:
                self.close()
        finally:
            left = self.loop.run_until_complete(self._stop())
            self.loop.close()
        if passed:
            assert set() == left
            assert [] == [message for message in self.problems if not is_expected(message)]
            for watch, reading in self.past:
                assert reading == watch._pool._groups.read(watch._pool)

    async def _stop(self) -> set[Any]:
        """End everything; return the tasks that have not ended."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._close_sessions()
                for request in self.requests:
                    request.task.cancel()
                await self.server.stop()
        except TimeoutError:
            raise AssertionError(f"never closed: {self._unrest()}") from None
        for _ in range(STILL):
            await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    async def _close_sessions(self) -> None:
        for session in self.sessions:
            await session.close()

    # What is known of the pool

    def gauges(self) -> Gauges:
        connector = self.connector
        return Gauges(
            connector.out(),
            connector.idle().total(),
            connector.opening(),
            len(connector.waiters()),
        )

    def in_flight(self) -> int:
        return self.connector.connecting.total()

    def holds(self) -> int:
        """Return how many holds that began with an attempt have not ended."""
        return self.connector.out() - self.out_before

    def out(self) -> int:
        return self.connector.out()

    def compare_with_server(self, connections: int) -> None:
        expected = connections + self.leaked()
        if expected != self.server.connections():
            self._do(lambda: None, lambda: expected == self.server.connections())

    def _counters_obey_their_laws(self, reading: Reading) -> None:
        # Redirects and aiohttp's own retries are attempts as well, so the connector counts how
        # often it is asked.
        self.begun = self.connector.asked
        super()._counters_obey_their_laws(reading)
        assert self.connector.served == reading.acquired
        assert self.ends == Counter(
            timed_out=int(reading.timed_out),
            cancelled=int(reading.cancelled),
            failed=int(reading.failed),
        )
        assert self.names.answered == reading.dns_misses
        assert self.names.failed == reading.dns_errors
        self._hosts_add_up(reading)

    def _hosts_add_up(self, reading: Reading) -> None:
        by_host = hosts(self.watch)
        of_pool = reading.in_use, reading.idle, reading.opening, reading.waiting
        counted = reading.opened, reading.open_failed
        numbers = zip(*(host[1:] for host in by_host), strict=True)
        assert [*of_pool, *counted] == ([sum(each, 0.0) for each in numbers] or [0.0] * 6)
        idle = {host.host.partition(":")[0]: host.idle for host in by_host if host.idle}
        assert self.connector.idle() == idle
        waiting = {host.host.partition(":")[0]: host.waiting for host in by_host if host.waiting}
        assert Counter(host for host, _ in self.connector.waiters()) == waiting

    # Doing something, and letting it settle

    def _do(self, act: Callable[[], object], until: Callable[[], bool] = lambda: True) -> None:
        async def do_and_settle() -> None:
            doing = act()
            if isinstance(doing, Awaitable):
                async with asyncio.timeout(PATIENCE):
                    await doing
            await self._still(lambda: until() and self._at_rest())

        self.loop.run_until_complete(do_and_settle())
        for request in self.requests:
            if request.task.done() and not request.task.cancelled():
                request.answer = None if request.task.exception() else request.task.result()
                if isinstance(request.answer, aiohttp.ClientResponse):
                    self.held.append(request)
                elif request.answer is not None:
                    self.upgraded.append(request)
        self.requests = [request for request in self.requests if not request.task.done()]

    async def _still(self, condition: Callable[[], bool]) -> None:
        """Run the event loop until the condition is true and everything is at rest."""
        still = 0
        deadline = time.monotonic() + PATIENCE
        while still < STILL:
            still = still + 1 if condition() else 0
            await asyncio.sleep(0)
            assert time.monotonic() < deadline, f"never at rest: {self._unrest()}"

    def _at_rest(self) -> bool:
        """Whether each request waits for something that only the machine can do."""
        connector = self.connector
        undone = [
            request
            for request in self.requests
            if not request.task.done() and not self.has_heard_nothing(request)
        ]
        if undone:
            waiting = Counter(host for host, _ in connector.waiters())
            hung = connector.connecting[STUCK] - waiting[STUCK]
            if any(not turn.done() for turn in self.names.pending):
                hung += connector.connecting[SLOW] - waiting[SLOW]
            numbers = self.server.unanswered()
            unanswered = sum(request.number in numbers for request in undone)
            if len(undone) != waiting.total() + hung + unanswered:
                return False
        known = connector.out() + connector.idle().total() + self.leaked()
        return self.server.connections() == known

    # What only exceptions in the hooks can do

    def leaked(self) -> int:
        """Return how many connections are open that aiohttp does not know of."""
        return 0

    def has_heard_nothing(self, request: Request) -> bool:
        """Whether aiohttp does not know that the connection of the request was lost."""
        return False

    def _unrest(self) -> str:
        connector = getattr(self, "connector", None)
        if connector is None:
            return "the connector was not collected"
        undone = [request for request in self.requests if not request.task.done()]
        return (
            f"{undone} waiting {connector.waiters()} connecting {connector.connecting} "
            f"unanswered {self.server.unanswered()} pending {self.names.pending} "
            f"connections {self.server.connections()} != {connector.out()} + {connector.idle()} "
            f"interrupted in {self.tracer.stack if self.tracer is not None else None}"
        )

    def _begin(self, what: str, host: str, **more: Any) -> None:
        self._do(lambda: self._ask(what, host, **more))

    def _ask(
        self,
        what: str,
        host: str,
        method: str = "GET",
        session: int = 0,
        timeout: aiohttp.ClientTimeout | None = None,
        deadline: Deadline | None = None,
    ) -> Request:
        self.number += 1
        url = self.server.url(host, what, self.number)
        asking = self._request(self.sessions[session], what, method, url, timeout)
        if deadline is not None:
            asking = deadline(asking)
        self.requests.append(Request(self.number, host, session, self.loop.create_task(asking)))
        return self.requests[-1]

    async def _request(
        self,
        session: aiohttp.ClientSession,
        what: str,
        method: str,
        url: str,
        timeout: aiohttp.ClientTimeout | None,
    ) -> Any:
        connector = self.connector
        try:
            if what == "socket":
                return await session.ws_connect(url)
            limit = timeout or aiohttp.ClientTimeout(total=None)
            response = await session.request(method, url, ssl=False, timeout=limit)
            if what == "stream":
                return response
            async with response:
                await response.read()
        except BaseException as error:
            if asyncio.current_task() in connector.given_up:
                connector.given_up.discard(asyncio.current_task())
                self.ends[end_of(error)] += 1
            raise

    def unanswered(self) -> list[Request]:
        numbers = self.server.unanswered()
        return [request for request in self.requests if request.number in numbers]

    def waiting(self) -> list[Request]:
        """Return the requests that wait for a slot, with or without the slow and the stuck host."""
        hosts = {host for host, _ in self.connector.waiters()}
        return [request for request in self._unserved() if request.host in hosts]

    def connecting(self) -> list[Request]:
        return [request for request in self._unserved() if request.host in (SLOW, STUCK)]

    def _unserved(self) -> list[Request]:
        numbers = self.server.unanswered()
        return [request for request in self.requests if request.number not in numbers]

    def idle(self) -> int:
        return self.connector.idle().total()

    def _cancel(self, *requests: Request) -> None:
        async def cancel() -> None:
            for request in requests:
                request.task.cancel()
            await asyncio.gather(*(r.task for r in requests), return_exceptions=True)
            for request in requests:
                self.server.answer(request.number)

        self._do(cancel)

    def _end_look_ups(self) -> None:
        # Look-ups run in tasks of their own, which refer to the connector.
        self._do(
            lambda: self.names.end(well=False),
            lambda: not any(map(looks_up, asyncio.all_tasks())),
        )

    def close(self) -> None:
        """Close the session with all requests in flight, and wait until these have ended."""
        self._do(self._close_sessions)
        self.the_reading_is_true()
        self.names.end(well=False)
        for request in self.requests:
            request.task.cancel()
        self._do(lambda: None, lambda: all(request.task.done() for request in self.requests))
        self.the_reading_is_true()
        assert Gauges(0, 0, 0, 0) == self.gauges()
        for request in self.held + self.ended + self.upgraded:
            self.server.answer(request.number)
            self._do(request.answer.close)

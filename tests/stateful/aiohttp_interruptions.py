"""Exceptions that land in the hooks of the aiohttp connector of the machine."""

from __future__ import annotations

import asyncio
import gc
import warnings
from contextlib import suppress
from typing import Final

import aiohttp
from hypothesis import strategies as st
from hypothesis.stateful import precondition

from stateful.aiohttp_base import AiohttpMachine, Request
from stateful.aiohttp_server import QUICK, Options
from stateful.deadlines import DEADLINES
from stateful.interruptions import INTERRUPTIONS, OUTCOMES, ended
from stateful.machine import operation
from support.bytecodes import AtBytecode, at_bytecode, interruption

CLEANS_UP: Final = hasattr(aiohttp.BaseConnector, "_wait_for_available_connection")
"""Whether a tracer may raise: before 3.11, aiohttp then waits for ever, or loses a slot."""

REQUESTS: Final = ("now", "stream", "redirect", "socket", "last")
USES: Final = (*REQUESTS, "end", "close", "drop", "cancel", "deadline")


class InterruptedConnector(AiohttpMachine):
    """
    A connector whose uses may be interrupted.

    Each use takes the way through the hooks that is possible at that moment.

    dropping: the number of the request whose connection the server drops in the use.
    """

    dropping: int | None = None

    @precondition(lambda self: CLEANS_UP)
    @operation(
        step=st.integers(1, 300),
        what=st.sampled_from(USES),
        host=st.sampled_from(QUICK),
        which=st.integers(0, 11),
    )
    def an_exception_lands_in_a_use(self, step: int, what: str, host: str, which: int) -> None:
        self.dropping = None
        tracer = self._interrupt(step, what, host, which)
        if unheard := list(filter(self.has_heard_nothing, self.requests)):
            self._cancel(*unheard)
        self._know_again(tracer)
        self._close_what_has_lost_its_connection()
        broken = self._is_broken(tracer)
        if broken:
            # The numbers are right again once the connector is closed.
            self.close()
            self.server.hang_up_idle()
        # It refers to what was interrupted.
        self.tracer = None
        if broken:
            self._open_another(self.options)

    def _close_what_has_lost_its_connection(self) -> None:
        """
        Close responses whose connection was lost without aiohttp.

        The exception came instead of aiohttp's own `connection_lost`: who reads waits for ever.
        """
        for request in list(self.held):
            connection = request.answer.connection
            transport = connection.transport if connection is not None else None
            if transport is not None and transport.is_closing():
                self.held.remove(request)
                self._do(request.answer.close)
                self.server.answer(request.number)

    async def _use(self, what: str, host: str, which: int) -> None:
        if what == "end" and self.held:
            request = self._take(self.held, which)
            self.server.answer(request.number)
            with suppress(aiohttp.ClientError):
                await request.answer.read()
        elif what == "close" and self.held:
            request = self._take(self.held, which)
            self.server.answer(request.number)
            (request.answer.close if which % 2 else request.answer.release)()
        elif what == "drop" and (numbers := sorted({*self.server.serving()} - {*self.dropped})):
            # Not one whose response nobody has any more: if the exception came instead of aiohttp's
            # own `connection_lost`, nobody could close it, and its slot would stay taken.
            self.dropping = numbers[which % len(numbers)]
            self.server.drop(self.dropping, reset=which % 2 == 0)
        elif what == "cancel":
            asking = self._ask("now", host).task
            for _ in range(which):
                await asyncio.sleep(0)
            asking.cancel()
        elif what == "deadline":
            self._ask("now", host, deadline=DEADLINES[which % len(DEADLINES)])
        else:
            self._ask(what if what in REQUESTS else "now", host)

    def _interrupt(self, step: int, what: str, host: str, which: int) -> AtBytecode:
        """Raise an exception at that bytecode of the hooks, and let everything come to rest."""

        async def use() -> None:
            with suppress(*INTERRUPTIONS):
                await self._use(what, host, which)

        self.dropped_out += 1
        with warnings.catch_warnings():
            # Of connections that were not closed, and of coroutines that were not awaited.
            warnings.simplefilter("ignore", ResourceWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            with at_bytecode(step, interruption(step), let_in=True) as tracer:
                self.tracer = tracer
                self._do(use)
            gc.collect()
            self._do(lambda: None)
        return tracer

    def leaked(self) -> int:
        stack = self.tracer.stack if self.tracer is not None else []
        if "send_connection_create_end" in stack:
            # The exception came before aiohttp knew the connection.
            return 1
        if self.tracer is not None and self.tracer.begins("lose") and "_get" in stack:
            # aiohttp has let go of it, and the exception came before it was closed.
            known = self.connector.out() + self.connector.idle().total()
            return min(1, max(0, self.server.connections() - known))
        return 0

    def has_heard_nothing(self, request: Request) -> bool:
        # The exception came instead of aiohttp's own `connection_lost`: the request waits for ever.
        tracer = self.tracer
        return tracer is not None and tracer.begins("lose") and request.number == self.dropping

    def _is_broken(self, tracer: AtBytecode) -> bool:
        """Whether aiohttp itself has lost a connection, or has released one twice."""
        idle = [id(protocol) for kept in self.connector._conns.values() for protocol, *_ in kept]
        return (
            self.leaked() > 0
            or tracer.begins("send_connection_reuseconn")
            or len(set(idle)) < len(idle)
        )

    def _know_again(self, tracer: AtBytecode) -> None:
        """Take from the reading how the attempt has ended: it counts as one at most."""
        reading, most = self.reading(), bool(tracer.where)
        lost = self.connector.asked - self.in_flight() - ended(reading)
        assert 0 <= lost <= most, (lost, tracer.where)
        self.connector.asked -= lost
        known = {**self.ends, "acquired": self.connector.served}
        wrong = {name: int(getattr(reading, name)) - known.get(name, 0) for name in OUTCOMES}
        assert sum(map(abs, wrong.values())) <= 2 * most, (wrong, tracer.where)
        self.connector.served += wrong.pop("acquired")
        for name, more in wrong.items():
            self.ends[name] += more
        for read, found in (("dns_misses", "answered"), ("dns_errors", "failed")):
            wrong_by = int(getattr(reading, read)) - getattr(self.names, found)
            assert abs(wrong_by) <= most, (read, wrong_by, tracer.where)
            setattr(self.names, found, int(getattr(reading, read)))

    # Also done without an exception

    def _take(self, requests: list[Request], which: int) -> Request:
        return requests.pop(which % len(requests))

    def _open_another(self, drawn: Options) -> None:
        self.loop.run_until_complete(self._still(lambda: self.server.connections() == 0))
        self.past.append((self.watch, self.reading()))
        self._open(drawn)
        self._watch()

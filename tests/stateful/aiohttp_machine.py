"""Everything that can happen between an aiohttp connector and its server, in random order."""

from __future__ import annotations

import asyncio
import functools
import gc
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import aiohttp
from hypothesis import strategies as st

from stateful.aiohttp_base import Request
from stateful.aiohttp_interruptions import InterruptedConnector
from stateful.aiohttp_server import QUICK, REFUSED, SLOW, STUCK, UNKNOWN, Options, options
from stateful.deadlines import DEADLINES, Deadline
from stateful.machine import operation

T = TypeVar("T")

MOMENT: Final = 0.001
"""Seconds: a time limit that passes while the machine only waits."""

# The index of an item, modulo their number; drawn the same way always, for a replay.
which = st.integers(0, 11)
hosts = st.sampled_from(QUICK)
any_host = st.sampled_from((*QUICK, SLOW, STUCK))
sessions = st.integers(0, 1)
turns = st.integers(0, 14)
whats = st.sampled_from(("now", "stream", "later", "socket", "redirect", "elsewhere"))
methods = st.sampled_from(("GET", "POST"))
limits = st.sampled_from(("total", "connect"))


def needs(name: str, otherwise: str, **arguments: Any) -> Callable[[Any], Any]:
    """
    Decorate an operation that needs an item of the machine's `name`; else do `otherwise`.

    With a precondition, what hypothesis draws would depend on races, which it cannot repeat.
    """

    def decorate(apply: Callable[..., None]) -> Any:
        @functools.wraps(apply)
        def applied(self: Machine, **drawn: Any) -> None:
            there = getattr(self, name)
            if there() if callable(there) else there:
                apply(self, **drawn)
                return
            self.done[apply.__name__] -= 1
            host = one_of(QUICK, drawn.get("which", 0))
            getattr(self, otherwise)(**{"host": host, **arguments})

        return applied

    return decorate


def one_of(choices: Sequence[T], which: int) -> T:
    return choices[which % len(choices)]


class Machine(InterruptedConnector):
    """After every operation everything is at rest: each request waits for the machine."""

    # Requests

    @operation(host=hosts, session=sessions)
    def a_request_completes_at_once(self, host: str, session: int) -> None:
        self._begin("now", host, session=session)

    @operation(host=hosts, session=sessions)
    def a_request_is_begun(self, host: str, session: int) -> None:
        self._begin("stream", host, session=session)

    @operation(host=hosts, method=methods)
    def a_request_gets_no_answer(self, host: str, method: str) -> None:
        self._begin("later", host, method=method)

    @operation(host=hosts, many=st.integers(2, 5), what=st.sampled_from(("now", "stream")))
    def many_requests_are_begun(self, host: str, many: int, what: str) -> None:
        def begin() -> None:
            for _ in range(many):
                self._ask(what, host)

        self._do(begin)

    @operation(host=hosts)
    def a_server_closes_after_its_answer(self, host: str) -> None:
        self._begin("last", host)

    @operation(host=hosts, what=st.sampled_from(("redirect", "elsewhere")))
    def a_request_is_redirected(self, host: str, what: str) -> None:
        self._begin(what, host)

    @operation(host=hosts)
    def a_websocket_is_opened(self, host: str) -> None:
        self._begin("socket", host)

    @operation(host=st.sampled_from((REFUSED, UNKNOWN)))
    def a_connection_fails(self, host: str) -> None:
        self._begin("now", host)

    @operation(host=st.sampled_from((SLOW, STUCK)))
    def a_connection_hangs(self, host: str) -> None:
        self.connector.clear_dns_cache()
        self._begin("now", host)

    @operation(well=st.booleans())
    @needs("slow_names", "a_connection_hangs", host=SLOW)
    def a_name_is_resolved_after_all(self, well: bool) -> None:
        self._do(lambda: self.names.end(well))

    @operation(which=which)
    @needs("unanswered", "a_request_gets_no_answer", method="GET")
    def a_request_is_answered(self, which: int) -> None:
        request = one_of(self.unanswered(), which)
        self._do(lambda: self.server.answer(request.number), request.task.done)

    # Bodies

    @operation(which=which)
    @needs("held", "a_request_is_begun", session=0)
    def a_body_ends_and_is_read(self, which: int) -> None:
        request = self._take(self.held, which)

        async def end_and_read() -> None:
            self.server.answer(request.number)
            with suppress(aiohttp.ClientError):
                await request.answer.read()

        self._do(end_and_read)

    @operation(which=which)
    @needs("held", "a_request_is_begun", session=0)
    def a_body_ends_unread(self, which: int) -> None:
        request = self._take(self.held, which)
        content = request.answer.content
        self.ended.append(request)
        self._do(
            lambda: self.server.answer(request.number),
            lambda: content.is_eof() or content.exception() is not None,
        )

    @operation(which=which)
    @needs("ended", "a_request_is_begun", session=1)
    def a_body_is_read_late(self, which: int) -> None:
        request = self._take(self.ended, which)

        async def read() -> None:
            with suppress(aiohttp.ClientError):
                await request.answer.read()

        self._do(read)

    @operation(which=which)
    @needs("held", "a_request_is_begun", session=0)
    def a_response_is_released(self, which: int) -> None:
        request = self._take(self.held, which)
        self._end(request, request.answer.release)

    @operation(which=which)
    @needs("held", "a_request_is_begun", session=0)
    def a_response_is_closed(self, which: int) -> None:
        request = self._take(self.held, which)
        self._end(request, request.answer.close)

    @operation(which=which)
    @needs("held", "a_request_is_begun", session=0)
    def a_response_is_dropped(self, which: int) -> None:
        # aiohttp itself refers to the response until its body or its connection ends.
        self.dropped.append(one_of(self.held, which).number)
        self._drop(self.held, which)

    @operation()
    @needs("dropped", "a_request_is_begun", session=1)
    def a_dropped_body_ends(self) -> None:
        number = self.dropped.pop()
        self._do(lambda: self.server.answer(number), lambda: number not in self.server.serving())

    @operation(which=which)
    @needs("upgraded", "a_websocket_is_opened")
    def a_websocket_is_closed(self, which: int) -> None:
        request = self._take(self.upgraded, which)
        self._do(request.answer.close)

    @operation(which=which)
    @needs("upgraded", "a_websocket_is_opened")
    def a_websocket_is_closed_by_the_server(self, which: int) -> None:
        request = self._take(self.upgraded, which)

        async def close() -> None:
            if request.number in self.server.sockets:
                closing = asyncio.create_task(self.server.sockets[request.number].close())
                await request.answer.receive()
                await closing
            await request.answer.close()

        self._do(close)

    @operation(which=which)
    @needs("upgraded", "a_websocket_is_opened")
    def a_websocket_is_dropped(self, which: int) -> None:
        self._drop(self.upgraded, which)

    # Giving up

    @operation(which=which)
    @needs("waiting", "many_requests_are_begun", many=4, what="stream")
    def a_waiter_is_cancelled(self, which: int) -> None:
        self._cancel(one_of(self.waiting(), which))

    @operation(which=which)
    @needs("connecting", "a_connection_hangs", host=STUCK)
    def a_connecting_request_is_cancelled(self, which: int) -> None:
        self._cancel(one_of(self.connecting(), which))

    @operation(which=which)
    @needs("unanswered", "a_request_gets_no_answer", method="GET")
    def an_unanswered_request_is_cancelled(self, which: int) -> None:
        self._cancel(one_of(self.unanswered(), which))

    @operation(host=any_host, what=whats, turns=turns)
    def a_request_is_cancelled_on_its_way(self, host: str, what: str, turns: int) -> None:
        async def begin_and_cancel() -> None:
            request = self._ask(what, host)
            for _ in range(turns):
                await asyncio.sleep(0)
            request.task.cancel()
            await asyncio.wait([request.task])
            if what == "later":
                self.server.answer(request.number)

        self._do(begin_and_cancel)

    @operation(which=which)
    @needs("handed_over", "many_requests_are_begun", many=4, what="stream")
    def a_waiter_is_cancelled_that_has_just_got_a_slot(self, which: int) -> None:
        held, request = self._take(self.held, which), one_of(self.waiting(), which)

        def release_and_cancel() -> None:
            held.answer.release()
            request.task.cancel()

        self._end(held, release_and_cancel, request.task.done)

    @operation(which=which, limit=limits)
    @needs("full_hosts", "many_requests_are_begun", many=3, what="stream")
    def a_waiter_times_out(self, which: int, limit: str) -> None:
        self._time_out(one_of(self.full_hosts(), which), limit)

    @operation(which=which, deadline=st.sampled_from(DEADLINES))
    @needs("full_hosts", "many_requests_are_begun", many=3, what="stream")
    def a_deadline_passes_in_the_queue(self, which: int, deadline: Deadline) -> None:
        async def begin_and_wait() -> None:
            await asyncio.wait([self._ask("now", host, deadline=deadline).task])

        host = one_of(self.full_hosts(), which)
        self._do(begin_and_wait)

    @operation(limit=st.sampled_from(("total", "connect", "sock_connect")))
    def a_connection_times_out(self, limit: str) -> None:
        # `sock_connect` limits neither the time in the queue nor that of a look-up.
        waits = self.connector.full(STUCK)
        self._time_out(STUCK, "connect" if waits and limit == "sock_connect" else limit)

    @operation(limit=limits)
    @needs("can_look_up", "a_request_is_begun", session=0)
    def a_look_up_times_out(self, limit: str) -> None:
        self.connector.clear_dns_cache()
        self._time_out(SLOW, limit)

    # The server

    @operation()
    @needs("idle", "a_request_completes_at_once", session=0)
    def the_server_closes_what_is_idle(self) -> None:
        self._do(self.server.hang_up_idle)

    @operation(host=hosts, what=whats, method=methods, turns=turns)
    @needs("idle", "a_request_completes_at_once", session=0)
    def the_server_closes_what_a_request_is_sent_on(
        self, host: str, what: str, method: str, turns: int
    ) -> None:
        async def begin_and_hang_up() -> None:
            self._ask(what, host, method)
            for _ in range(turns):
                await asyncio.sleep(0)
            self.server.hang_up_idle()

        self._do(begin_and_hang_up)

    @operation(which=which, reset=st.booleans())
    @needs("serving", "a_request_is_begun", session=0)
    def the_server_drops_a_connection(self, which: int, reset: bool) -> None:
        self._do(lambda: self.server.drop(one_of(sorted(self.serving()), which), reset))

    # The pool

    @operation()
    @needs("idle", "a_request_completes_at_once", session=0)
    def what_is_idle_expires(self) -> None:
        self._do(self.connector.expire)

    @operation(drawn=options)
    def the_session_is_closed(self, drawn: Options) -> None:
        self.close()
        self._open_another(drawn)

    @operation(drawn=options)
    def the_session_is_forgotten(self, drawn: Options) -> None:
        self._give_up()
        self.ended.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self.sessions.clear()
            del self.connector
            gc.collect()
        self._open_another(drawn)

    @operation()
    def a_session_that_shares_the_connector_is_closed(self) -> None:
        async def replace() -> None:
            # After its session was closed, aiohttp 3.14 fails when one of these requests gets a
            # connection, and leaves the connection to the garbage collector.
            tasks = [request.task for request in self.requests if request.session == 1]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.sessions[1].close()
            self.sessions[1] = self._session(owner=False)

        self._do(replace)

    @operation(idle=st.booleans())
    def the_watch_ends_and_begins_again(self, idle: bool) -> None:
        self._give_up(held=idle)
        self.watch.unwatch()
        assert set() == {"connect", "_release", "_close"}.intersection(vars(self.connector))
        self.past.append((self.watch, self.reading()))
        self._watch()

    # What the operations need

    def slow_names(self) -> bool:
        return bool(self.names.pending)

    def serving(self) -> list[int]:
        return list(self.server.serving())

    def full_hosts(self) -> list[str]:
        return [host for host in QUICK if self.connector.full(host)]

    def handed_over(self) -> bool:
        return bool(self.held and self.waiting())

    def can_look_up(self) -> bool:
        return not self.connector.idle()[SLOW]

    def _end(self, request: Request, act: Callable[[], Any], *until: Callable[[], bool]) -> None:
        def end() -> None:
            act()
            self.server.answer(request.number)

        self._do(end, *until)

    def _give_up(self, held: bool = True) -> None:
        """Cancel all requests, and return or drop what is held; idle connections may stay."""
        self._cancel(*self.requests)
        self._end_look_ups()
        if not held:
            return
        while self.held:
            self.a_body_ends_and_is_read(which=0)
        while self.upgraded:
            self.a_websocket_is_closed(which=0)
        while self.dropped:
            self.a_dropped_body_ends()

    def _time_out(self, host: str, limit: str) -> None:
        async def begin_and_wait() -> None:
            limits: dict[str, Any] = {"total": None, limit: MOMENT}
            timeout = aiohttp.ClientTimeout(**limits)
            await asyncio.wait([self._ask("now", host, timeout=timeout).task])

        self._do(begin_and_wait)

    def _drop(self, requests: list[Request], which: int) -> None:
        def drop() -> None:
            self._take(requests, which)
            gc.collect()

        self.dropped_out += 1

        with warnings.catch_warnings():
            # The warning of the garbage collector about connections that were not closed.
            warnings.simplefilter("ignore", ResourceWarning)
            self._do(drop)

"""
asyncpg, on the real library and a real server.

What can block runs in tasks. An operation is over when every task has ended, or is blocked by
something that only a further operation ends.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import functools
import inspect
import itertools
import logging
import math
import os
import time
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import psycopg
import uvloop
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from poolscope.readings.reading import Reading
from stateful.machine import LEAK_AFTER, Gauges, PoolMachine
from support.ports import closed_port
from support.waiting import PATIENCE

# It warns of each connection that it fails to re-open, which is what is done to it here.
logging.getLogger("asyncpg").addHandler(logging.NullHandler())

TURNS: Final = 5
"""Turns of the loop without any work, after which everything that was scheduled has run."""

BLOCKED: Final = frozenset(
    {
        "Queue.get",  # a caller that waits
        "Event.wait",  # in a callback that hangs
        "sleep",  # the library, until it tries again to re-open connections
        "Pool.release",  # for a task of its own
        "Pool.close",  # as above, and for
        "PoolConnectionHolder.wait_until_released",
    }
)
"""Where a task may rest: the names of coroutines."""

PARAMETERS: Final = frozenset(inspect.signature(asyncpg.create_pool).parameters)
"""`connect` and `reset` came with 0.30, `init_size` with 0.32."""

CALLBACKS: Final = PARAMETERS & {"connect", "init", "setup", "reset"}

COUNT: Final = "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE application_name = %s"
NOBODY: Final = f"postgres://u@127.0.0.1:{closed_port()}/d"
OUTCOMES: Final = ("acquired", "timed_out", "cancelled", "failed")

_names: Final = (f"machine-{os.getpid()}-{number}" for number in itertools.count(1))


class RefusedError(Exception):
    """What a callback raises that is told to."""


class Callback:
    """
    A callback of the pool that passes, but for the next call raises or hangs, if it is told to.

    inside: by task, the connections of the calls that hang.
    """

    def __init__(self) -> None:
        self.next = "passes"
        self.inside: dict[asyncio.Task[Any] | None, Any] = {}
        self._gate = asyncio.Event()

    async def __call__(self, connection: Any) -> None:
        does, self.next = self.next, "passes"
        if does == "raises":
            raise RefusedError
        if does == "hangs":
            task = asyncio.current_task()
            self.inside[task] = connection
            try:
                await self._gate.wait()
            finally:
                del self.inside[task]

    async def connect(self, *args: Any, **options: Any) -> Any:
        await self(None)
        return await asyncpg.connect(*args, **options)

    def let_go(self) -> None:
        self._gate.set()
        self._gate = asyncio.Event()


@dataclass(frozen=True)
class Plan:
    """
    How a pool is made.

    warm: how many more connections than `min_size` are opened at first.
    watched: before it is opened, after, or late, with connections `out`.
    """

    max_size: int
    min_size: int
    warm: int
    max_queries: int
    callbacks: frozenset[str]
    first_open: str
    watched: str
    out: int


PLANS: Final = st.builds(
    Plan,
    max_size=st.integers(1, 3),
    min_size=st.integers(0, 3),
    warm=st.integers(0, 3),
    max_queries=st.sampled_from([50_000, 50_000, 1, 4]),
    callbacks=(st.just(CALLBACKS) | st.frozensets(st.sampled_from(sorted(CALLBACKS)))),
    first_open=st.sampled_from(["works", "works", "works", "fails", "is refused"]),
    watched=st.sampled_from(["before", "after", "late"]),
    out=st.integers(1, 3),
)


@functools.cache
def control(dsn: str) -> psycopg.Connection[Any]:
    """Return the one connection by which the server is asked, and told to hang up."""
    connection = psycopg.connect(dsn, autocommit=True)
    atexit.register(connection.close)
    return connection


def innermost(task: asyncio.Task[Any]) -> str:
    """Return the name of the coroutine in which a task rests."""
    coroutine: Any = task.get_coro()
    while isinstance(inner := getattr(coroutine, "cr_await", None), Coroutine):
        coroutine = inner
    return str(coroutine.__qualname__)


def _is_asyncpgs(task: object) -> bool:
    """Whether it runs a coroutine of the library's own, which is none of a watched pool."""
    if not isinstance(task, asyncio.Task):
        return False
    coroutine: Any = task.get_coro()
    return Path(coroutine.cr_code.co_filename).parent == Path(asyncpg.__file__).parent


def outcome(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed_out"
    return "failed" if isinstance(error, Exception) else "cancelled"


def while_acquiring(error: BaseException) -> bool:
    """Whether it was raised while a pool was getting a connection."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == "_acquire" for frame, _ in frames)


class PoolOfAsyncpg(PoolMachine):
    """
    One pool after another, on one event loop.

    attempts: tasks that acquire, or acquire, use and release; others: those that release or close.
    proxies: what callers were given; released: those that they gave back, or lost.
    dead: how many connections were gone before the caller got them.
    out_before: connections that were out when the watch began.
    """

    pool: Any

    @initialize(fast=st.booleans(), plan=PLANS)
    def start(self, fast: bool, plan: Plan) -> None:
        self.loop = uvloop.new_event_loop() if fast else asyncio.new_event_loop()
        self.complaints: list[Any] = []
        self.loop.set_exception_handler(self._complain)
        self._begin(plan)

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        self._end()
        self.watch.unwatch()
        self.loop.close()
        assert [] == self.complaints, self.complaints

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # The library leaves errors of its own behind: when one is released twice at once, or when
        # it closes one for which there was no more time.
        raised = type(context.get("exception")).__module__
        if not (raised.startswith("asyncpg") or _is_asyncpgs(context.get("future"))):
            self.complaints.append(context)

    def _begin(self, plan: Plan) -> None:
        self.plan = plan
        self.name = next(_names)
        self.callbacks = {name: Callback() for name in ("connect", "init", "setup", "reset")}
        self.attempts: list[asyncio.Task[None]] = []
        self.others: list[asyncio.Task[None]] = []
        self.proxies: list[Any] = []
        self.released: list[Any] = []
        self._run(self._open(plan))

    async def _open(self, plan: Plan) -> None:
        options: dict[str, Any] = {name: self.callbacks[name] for name in plan.callbacks}
        if "connect" in options:
            options["connect"] = self.callbacks["connect"].connect
        floor = min(plan.min_size, plan.max_size)
        if "init_size" in PARAMETERS:
            options["init_size"] = min(floor + plan.warm, plan.max_size)
        self.pool = asyncpg.create_pool(
            min_size=floor, max_size=plan.max_size, max_queries=plan.max_queries, **options
        )
        if plan.watched == "before":
            self._watch()
        self._accept(plan.first_open != "is refused")
        self.callbacks["init"].next = "raises" if plan.first_open == "fails" else "passes"
        with contextlib.suppress(RefusedError, OSError):
            await self.pool.__aenter__()
        # Those that were begun together with one that failed.
        await self._settle()
        self.callbacks["init"].next = "passes"
        self._accept(True)
        if self.pool._closed and plan.watched != "before":
            # From 0.32 on after it failed to open, and then it cannot be watched any more.
            await self._open(dataclasses.replace(plan, first_open="well"))
        elif plan.watched != "before":
            if plan.watched == "late":
                for _ in range(min(plan.out, plan.max_size)):
                    self.proxies.append(await self.pool.acquire())
            self._watch()

    def _watch(self) -> None:
        self.begun = 0
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.dead = 0
        self._before = None
        self.watch = self.watches.watch(self.pool, "machine", leak_after=LEAK_AFTER, registry=None)
        self.adopted = len(self.connected)
        self.out_before = self.out()

    def _accept(self, accepts: bool) -> None:
        """Let the server accept new connections from now on, or refuse them."""
        self.pool.set_connect_args(
            self.postgres.dsn if accepts else NOBODY,
            server_settings={"application_name": self.name},
        )

    def _end(self) -> None:
        self._run(self._give_up())
        self._run(self._hang_up())
        assert set() == asyncio.all_tasks(self.loop)
        self.the_reading_is_true()
        assert Gauges(0, 0, 0, 0) == self.gauges()

    async def _let_go(self) -> None:
        for callback in self.callbacks.values():
            callback.let_go()

    async def _give_up(self) -> None:
        await self._let_go()
        for task in self.attempts + self.others:
            task.cancel()

    async def _hang_up(self) -> None:
        self.pool.terminate()
        await self._settle()
        # Before 0.32 a closed pool still connects for those who waited.
        for holder in self.connected:
            holder._con.terminate()

    # Running

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Do something, and let the loop settle."""
        self.loop.run_until_complete(coroutine)
        self.loop.run_until_complete(self._settle())
        for task in [task for task in self.attempts + self.others if task.done()]:
            (self.attempts if task in self.attempts else self.others).remove(task)
            task.result()

    async def _settle(self) -> None:
        myself, quiet = asyncio.current_task(), 0
        deadline = time.monotonic() + PATIENCE
        while quiet < TURNS:
            await asyncio.sleep(0)
            tasks = asyncio.all_tasks()
            busy = [task for task in tasks if task is not myself and innermost(task) not in BLOCKED]
            quiet = 0 if busy else quiet + 1
            assert time.monotonic() < deadline, busy

    async def _start(
        self, tasks: list[asyncio.Task[None]], work: Coroutine[Any, Any, None]
    ) -> None:
        tasks.append(asyncio.create_task(work))

    async def _acquire(self, timeout: float | None = None) -> None:
        self.begun += 1
        try:
            proxy = await self.pool.acquire(timeout=timeout).__aenter__()
        except (Exception, asyncio.CancelledError) as error:
            self.outcomes[outcome(error)] += 1
            return
        self.outcomes["acquired"] += 1
        self.dead += proxy.is_closed()
        self.proxies.append(proxy)

    async def _fetch(self) -> None:
        self.begun += 1
        try:
            await self.pool.fetchval("SELECT 1")
        except (Exception, asyncio.CancelledError) as error:
            if while_acquiring(error):
                self.outcomes[outcome(error)] += 1
                return
            # It failed to release what could not even be used.
            self.dead += isinstance(error.__context__, asyncpg.InterfaceError)
        self.outcomes["acquired"] += 1

    # What is known

    @property
    def connected(self) -> list[Any]:
        return [holder for holder in self.pool._holders if holder.is_connected()]

    @property
    def idle(self) -> list[Any]:
        in_setup = [proxy._holder for proxy in self.callbacks["setup"].inside.values()]
        return [holder for holder in self.connected if holder.is_idle() and holder not in in_setup]

    @property
    def held(self) -> list[Any]:
        """What callers can still use."""
        self.released += [proxy for proxy in self.proxies if proxy._con is None]
        del self.released[:-3]
        self.proxies = [proxy for proxy in self.proxies if proxy._con is not None]
        return [proxy for proxy in self.proxies if not proxy.is_closed()]

    @property
    def open(self) -> bool:
        return not self.pool.is_closing()

    @property
    def full(self) -> bool:
        return bool(self.pool._queue.empty())

    def at(self, coroutine: str) -> list[asyncio.Task[None]]:
        """Return the tasks that rest there."""
        return [task for task in self.attempts + self.others if innermost(task) == coroutine]

    def inside(self, *names: str) -> list[asyncio.Task[None]]:
        """Return the attempts that are in these callbacks."""
        return [
            task
            for task in self.attempts
            if any(task in self.callbacks[name].inside for name in names)
        ]

    def opening(self) -> int:
        return len(self.callbacks["connect"].inside) + len(self.callbacks["init"].inside)

    def _used(self) -> int:
        """Return how many attempts have their connection, and are not done with it."""
        return sum(innermost(task) == "Pool.release" for task in self.attempts)

    def in_flight(self) -> int:
        return len(self.attempts) - self._used()

    def gauges(self) -> Gauges:
        connected, idle = len(self.connected), len(self.idle)
        waiting = sum(not getter.done() for getter in self.pool._queue._getters)
        return Gauges(connected - idle, idle, self.opening(), waiting)

    def holds(self) -> int:
        # One that is in setup is in use, but nobody has it yet. One that was out when the watch
        # began is held, but was not acquired. One that was dead when the caller got it was
        # acquired, and is not held.
        return self.out() - self.out_before + self.dead

    def most_lost(self) -> float:
        # Before 0.32 what is acquired while the pool is closed can be returned by nobody.
        return math.inf if "init_size" not in PARAMETERS and self.pool._closed else 0

    def out(self) -> int:
        return sum(not holder.is_idle() for holder in self.connected)

    def compare_with_server(self, connections: int) -> None:
        in_init = self.callbacks["init"].inside.values()
        expected = connections + sum(not connection.is_closed() for connection in in_init)
        deadline = time.monotonic() + PATIENCE
        # The loop does not run meanwhile, so that the pool stays as it was read.
        while (seen := self._ask_server(COUNT, self.name)[0]) != expected:
            assert time.monotonic() < deadline, (expected, seen)

    def _ask_server(self, query: str, value: Any) -> Any:
        return control(self.postgres.dsn).execute(query, (value,), prepare=True).fetchone()

    def _counters_obey_their_laws(self, reading: Reading) -> None:
        super()._counters_obey_their_laws(reading)
        read = {name: getattr(reading, name) for name in OUTCOMES}
        assert {**self.outcomes, "acquired": self.outcomes["acquired"] + self._used()} == read

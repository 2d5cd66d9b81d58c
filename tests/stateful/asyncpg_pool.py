"""
The asyncpg pool of the machine, on a real server, and what the machine knows of it.

Whatever can block runs in tasks. An operation is over when every task has ended, or is blocked
until a later operation.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import functools
import itertools
import logging
import math
import os
import time
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import asyncpg
import psycopg
import uvloop
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from poolscope.readings.reading import Reading
from stateful.asyncpg_plans import PARAMETERS, PLANS, Callback, Plan, RefusedError
from stateful.interruptions import INTERRUPTIONS, OUTCOMES
from stateful.machine import LEAK_AFTER, Gauges, PoolMachine
from support.ports import closed_port
from support.waiting import PATIENCE

# asyncpg warns of each connection that it fails to re-open, and the machine makes it fail.
logging.getLogger("asyncpg").addHandler(logging.NullHandler())

TURNS: Final = 5
"""Turns of the event loop without work, after which everything that was scheduled has run."""

BLOCKED: Final = frozenset(
    {
        "Queue.get",  # a caller that waits
        "Event.wait",  # a callback that hangs
        "sleep",  # asyncpg, until it tries again to re-open connections
        "Pool.release",  # waits for a task of asyncpg
        "Pool.close",  # waits for tasks of asyncpg, and for
        "PoolConnectionHolder.wait_until_released",
    }
)
"""The names of coroutines in which a task may be blocked."""

COUNT: Final = "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE application_name = %s"
CLOSED_PORT_DSN: Final = f"postgres://u@127.0.0.1:{closed_port()}/d"

_names: Final = (f"machine-{os.getpid()}-{number}" for number in itertools.count(1))


@functools.cache
def control(dsn: str) -> psycopg.Connection[Any]:
    """Return the connection that queries the server and makes it terminate others."""
    connection = psycopg.connect(dsn, autocommit=True)
    atexit.register(connection.close)
    return connection


def innermost(task: asyncio.Task[Any]) -> str:
    """Return the name of the innermost coroutine that a task awaits."""
    coroutine: Any = task.get_coro()
    while isinstance(inner := getattr(coroutine, "cr_await", None), Coroutine):
        coroutine = inner
    return str(coroutine.__qualname__)


def _is_asyncpgs(task: object) -> bool:
    """Whether the task runs a coroutine of asyncpg itself, not one of a watched pool."""
    if not isinstance(task, asyncio.Task):
        return False
    coroutine: Any = task.get_coro()
    return Path(coroutine.cr_code.co_filename).parent == Path(asyncpg.__file__).parent


def outcome(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "timed_out"
    return "failed" if isinstance(error, Exception) else "cancelled"


def while_acquiring(error: BaseException) -> bool:
    """Whether the error was raised while a pool was acquiring a connection."""
    frames = traceback.walk_tb(error.__traceback__)
    # An exception that lands in a hook may come when the method of asyncpg has ended already.
    return any(frame.f_code.co_name in ("_acquire", "__aenter__") for frame, _ in frames)


class PoolOfAsyncpg(PoolMachine):
    """
    One pool after another, on one event loop.

    attempts: tasks that acquire, or acquire, use and release; others: tasks that release or close.
    proxies: the proxies that callers hold; released: the last ones that were returned or lost.
    dead: how many connections were closed before the caller got them.
    out_before: how many connections were in use when the watch began.
    leaked: how many connections asyncpg may have lost while it was opening them.
    interrupting: whether an exception is landing in a use of the pool.
    """

    patchable = (
        (asyncpg.pool.Pool, "_acquire"),
        (asyncpg.pool.Pool, "release"),
        (asyncpg.pool.PoolConnectionHolder, "acquire"),
        (asyncpg.pool.PoolConnectionHolder, "release"),
        (asyncpg.pool.PoolConnectionHolder, "_release"),
    )
    pool: Any

    @initialize(fast=st.booleans(), plan=PLANS)
    def start(self, fast: bool, plan: Plan) -> None:
        self.loop = uvloop.new_event_loop() if fast else asyncio.new_event_loop()
        self.complaints: list[Any] = []
        self.interrupting = False
        self.loop.set_exception_handler(self._complain)
        self._begin(plan)

    def teardown(self) -> None:
        self.restore_methods()
        if not hasattr(self, "loop"):
            return
        self._end()
        self.watch.unwatch()
        self.loop.close()
        assert [] == self.complaints, self.complaints

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # asyncpg itself leaves errors unhandled: when a connection is released twice at once, and
        # when it closes a connection after a time-out.
        error = context.get("exception")
        raised = type(error).__module__
        if isinstance(error, INTERRUPTIONS):
            return  # it has landed in a callback of the loop
        if self.interrupting and isinstance(error, asyncio.CancelledError):
            return  # uvloop's, of a coroutine that was closed while it connected
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
        self.leaked = 0
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
        # The connections that were begun together with one that failed.
        await self._settle()
        self.callbacks["init"].next = "passes"
        self._accept(True)
        if self.pool._closed and plan.watched != "before":
            # Since 0.32 a pool that fails to open is closed, and cannot be watched any more.
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
            self.postgres.dsn if accepts else CLOSED_PORT_DSN,
            server_settings={"application_name": self.name},
        )

    def _end(self) -> None:
        self._run(self._give_up())
        self._run(self._hang_up())
        assert set() == asyncio.all_tasks(self.loop)
        self.the_reading_is_true()
        assert Gauges(0, 0, 0, 0) == self.gauges()

    async def _release_callbacks(self) -> None:
        for callback in self.callbacks.values():
            callback.release_all()

    async def _give_up(self) -> None:
        await self._release_callbacks()
        for task in self.attempts + self.others:
            task.cancel()

    async def _hang_up(self) -> None:
        self.pool.terminate()
        await self._settle()
        # Before 0.32 a closed pool still connects for callers that waited.
        for holder in self.connected:
            holder._con.terminate()

    # Running

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine, and let the event loop settle."""
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
            # The connection could not be used, and releasing it failed.
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
        """The proxies that callers can still use."""
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
        """Return the tasks that are blocked in that coroutine."""
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
        """Return how many attempts have acquired their connection, and not yet released it."""
        return sum(innermost(task) == "Pool.release" for task in self.attempts)

    def in_flight(self) -> int:
        return len(self.attempts) - self._used()

    def gauges(self) -> Gauges:
        connected, idle = len(self.connected), len(self.idle)
        waiting = sum(not getter.done() for getter in self.pool._queue._getters)
        return Gauges(connected - idle, idle, self.opening(), waiting)

    def holds(self) -> int:
        # A connection in `setup` is in use, but no caller holds it yet. One that was in use when
        # the watch began is held, but was not acquired. One that was closed before the caller got
        # it was acquired, and is not held.
        return self.out() - self.out_before + self.dead

    def most_lost(self) -> float:
        # Before 0.32 a connection that was acquired while the pool closed cannot be returned.
        return math.inf if "init_size" not in PARAMETERS and self.pool._closed else 0

    def out(self) -> int:
        return sum(not holder.is_idle() for holder in self.connected)

    def compare_with_server(self, connections: int) -> None:
        in_init = self.callbacks["init"].inside.values()
        expected = connections + sum(not connection.is_closed() for connection in in_init)
        deadline = time.monotonic() + PATIENCE
        # The event loop does not run meanwhile, so the pool stays as it was read.
        while not (
            expected <= (actual := self._ask_server(COUNT, self.name)[0]) <= expected + self.leaked
        ):
            assert time.monotonic() < deadline, (expected, actual)

    def _ask_server(self, query: str, value: Any) -> Any:
        return control(self.postgres.dsn).execute(query, (value,), prepare=True).fetchone()

    def _counters_obey_their_laws(self, reading: Reading) -> None:
        super()._counters_obey_their_laws(reading)
        read = {name: getattr(reading, name) for name in OUTCOMES}
        assert {**self.outcomes, "acquired": self.outcomes["acquired"] + self._used()} == read

"""What the machine knows of an engine: its own actions, the pools' structures, the server."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import math
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from sqlalchemy import event, exc, pool

from poolscope.readings.reading import Reading
from stateful.machine import LEAK_AFTER, Gauges, PoolMachine
from stateful.sqlalchemy_sides import SIDES, AtGates, Background, Held, Side, until

MOST: Final = 5
"""How many callers there are at once, with a connection or without."""

A_DAY: Final = 86_400

OUTCOMES: Final = ("acquired", "timed_out", "failed", "cancelled")
EVENTS: Final = (*OUTCOMES, "waited", "reused", "opened", "open_failed")
"""The counters whose values the machine knows, and of these the ends of an attempt."""

IGNORED: Final = (ResourceWarning, exc.SAWarning)

SOON: Final = 0.001
"""Seconds after which callers give up; with 0 they would not wait at all."""
"""Warnings about connections that are collected or returned twice, which the machine causes."""

_names = (f"machine-{number}" for number in itertools.count())
_controls: dict[str, psycopg.Connection[Any]] = {}


def control_of(dsn: str) -> psycopg.Connection[Any]:
    """Return the connection that queries the server; there is one while the server runs."""
    if dsn not in _controls:
        _controls[dsn] = psycopg.connect(dsn, autocommit=True, prepare_threshold=0)
    return _controls[dsn]


class Known(PoolMachine):
    """
    A watched engine, and what the machine knows of it.

    held: the connections that callers hold; background: callers that wait or are connecting.
    detached: open connections that have left the pool.
    killed, orphans: backends that the server has ended, and those a driver may leave running.
    events: the expected values of the counters.
    lost: slots of the pool that SQLAlchemy has lost, as it does when certain listeners raise.
    """

    patchable = (
        (pool.Pool, "connect"),
        (pool.QueuePool, "_do_get"),
        (pool.QueuePool, "_do_return_conn"),
        (pool.QueuePool, "recreate"),
        (pool.Pool, "_close_connection"),
    )
    side: Side

    @initialize(
        side=st.sampled_from(SIDES),
        size=st.sampled_from([1, 2, 3, 1, 2, 0]),
        overflow=st.sampled_from([0, 1, 2, 0, 1, -1]),
        lifo=st.booleans(),
        ping=st.booleans(),
        out=st.integers(0, 2),
        idle=st.integers(0, 2),
        invalid=st.booleans(),
    )
    def begin(
        self,
        side: Any,
        size: int,
        overflow: int,
        lifo: bool,
        ping: bool,
        out: int,
        idle: int,
        invalid: bool,
    ) -> None:
        self.application = next(_names)
        self.control = control_of(self.postgres.dsn)
        self.held: list[Held] = []
        self.background: list[Background] = []
        self.detached: list[Any] = []
        self.killed: set[int] = set()
        self.orphans: set[int] = set()
        self.events: list[str] = []
        self.at_gates = AtGates()
        self.refusing = False
        self.lost, self.may_lose = 0, False
        self._set_up()
        self.side = side(
            self.postgres,
            self.application,
            pool_size=size,
            max_overflow=overflow,
            pool_use_lifo=lifo,
            pool_pre_ping=ping,
            pool_recycle=A_DAY,
            pool_timeout=SOON,
        )
        self.engine = self.side.engine
        self.limit = size + overflow if size and overflow >= 0 else math.inf
        event.listen(self.engine, "do_connect", self._do_connect)
        self.pools = [weakref.ref(self.engine.pool)]
        self._find(int(min(out, self.limit)), int(min(idle, self.limit)), invalid)
        self.watch = self.watches.watch(self.side.target, leak_after=LEAK_AFTER, registry=None)

    def _set_up(self) -> None:
        """Let garbage be collected by the machine only, and only of objects made from now on."""
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        for category in IGNORED:
            warnings.simplefilter("ignore", category)
        # It logs every error that the machine makes.
        self._logger = logging.getLogger("sqlalchemy.pool")
        self._level = self._logger.level
        self._logger.setLevel(logging.CRITICAL + 1)
        gc.disable()
        gc.freeze()

    def _find(self, out: int, idle: int, invalid: bool) -> None:
        """Open connections before the watch begins."""
        for _ in range(max(out, idle)):
            self.held.append(Held(self.side.run(self.engine.connect), self.clock()))
        for held in self.held[: -out or None]:
            if invalid:
                self.side.run(held.connection.invalidate)
            self.side.run(held.connection.close)
        self.held = self.held[-out:] if out else []
        for held in self.held:
            held.proxied().info["seen"] = True
        for record in self._idle():
            record.info["seen"] = True
        self.adopted_out = len(self.held)
        self.adopted = self.adopted_out + len(self._idle())
        self.events.clear()

    def _do_connect(self, dialect: Any, record: Any, args: Any, options: Any) -> Any:
        gate, self.at_gates.next = self.at_gates.next, None
        try:
            if gate is not None:
                self.at_gates.here.append(gate)
                try:
                    self.side.stay_at(gate)
                finally:
                    self.at_gates.here.remove(gate)
            if self.refusing or gate in self.at_gates.refused:
                raise ConnectionRefusedError
            connection = dialect.connect(*args, **options)
        except BaseException:
            self.events.append("open_failed")
            raise
        self.events.append("opened")
        return connection

    def teardown(self) -> None:
        self.restore_methods()
        if not hasattr(self, "side"):
            return
        try:
            self.refusing = False
            for gate in list(self.at_gates.here):  # each goes away once it is open
                gate.set()
            until(lambda: not self.at_gates.here, self.side.step)
            self._settle()
            while self.held:
                held = self.held.pop()
                with contextlib.suppress(Exception):
                    self.side.run(held.connection.close)
                del held
                self._settle()
            assert [] == self.background
            self.side.run(self.engine.dispose)
            self.watch.unwatch()
            for connection in self.detached:
                self.side.run(connection.close)
        finally:
            self._leave()

    def _leave(self) -> None:
        """End everything, also after a failure."""
        try:
            self.control.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = %s",
                (self.application,),
            )
            self.held.clear()
            self.detached.clear()
            for who in self.background if self.side.cancels else ():
                who.caller.cancel()
            gc.collect()
            self.side.close()
        finally:
            gc.unfreeze()
            gc.enable()
            self._logger.setLevel(self._level)
            self._warnings.__exit__(None, None, None)

    # What is known

    def reading(self) -> Reading:
        self._settle()
        return super().reading()

    def in_flight(self) -> int:
        return len(self.background)

    def holds(self) -> int:
        # Connections that were in use when the watch began were not acquired for it.
        return len(self._out()) - self.adopted_out

    def out(self) -> int:
        return len(self._out())

    def _out(self) -> list[Held]:
        return [held for held in self.held if held.record() is not None]

    def _idle(self) -> list[Any]:
        return [
            record
            for pool in self._pools()
            for record in self.side.records(pool)
            if record.dbapi_connection is not None
        ]

    def gauges(self) -> Gauges:
        out, here = self._out(), len(self.at_gates.here)
        pool: Any = self.engine.pool
        not_out = pool.checkedout() - sum(held.proxied()._pool is pool for held in out)
        not_out -= sum(who.gate is not None and who.pool() is pool for who in self.background)
        if self.may_lose:
            self.lost, self.may_lose = not_out, False
        # SQLAlchemy may have some of them back once they are collected.
        assert not_out <= self.lost
        self.lost = not_out
        assert len(self.watch._pool.ledgers[-1]._lost_slots) <= max(0, self.lost)
        waiting = sum(self.side.blocked(pool) for pool in self._pools())
        return Gauges(len(out), len(self._idle()), here, waiting)

    def compare_with_server(self, connections: int) -> None:
        records = [held.record() for held in self._out()] + self._idle()
        assert len(records) == connections
        ours = {self.side.pid(record.dbapi_connection) for record in records}
        # Detached connections belong to their callers.
        ours |= {self.side.pid(proxied.dbapi_connection) for proxied in self.detached}
        ours -= self.killed | {0}  # 0: the driver knows that it is broken

        def agreed() -> bool:
            on_server = self._on_server()
            return ours == on_server or (ours <= on_server and on_server - ours <= self.orphans)

        until(agreed, self.side.step, lambda: (ours, self._on_server()))

    def _on_server(self) -> set[int]:
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
        return {pid for (pid,) in self.control.execute(query, (self.application,))}

    def _counters_obey_their_laws(self, reading: Reading) -> None:
        super()._counters_obey_their_laws(reading)
        known = Counter(self.events)
        known["opened"] += self.adopted
        actual = {name: getattr(reading, name) for name in EVENTS}
        assert {name: known[name] for name in EVENTS} == actual, (known, actual)
        now = self.clock()
        holds = [now - held.since for held in self._out()]
        waits = [now - who.since for who in self.background if who.gate is None]
        if not self.lost_slots():
            assert max(holds, default=0.0) == reading.oldest_hold_seconds
        assert max(waits, default=0.0) == reading.oldest_wait_seconds

    # How it is done

    def _attempt(self, call: Callable[[], Any]) -> Any:
        """Ask for a connection, and note the outcome."""
        self.begun += 1
        full = self._full()
        connection = self._outcome(lambda: self.side.run(call))
        if full:
            # On a busy machine its time may be over before it has begun to wait.
            more = int(self.reading().waited) - self.events.count("waited")
            assert more in (0, 1)
            self.events += ["waited"] * more
        return connection

    def _outcome(self, result: Callable[[], Any]) -> Any:
        try:
            connection = result()
        except exc.TimeoutError:
            self.events.append("timed_out")
        except asyncio.CancelledError:
            self.events.append("cancelled")
        except Exception:
            self.events.append("failed")
        else:
            self._has(Held(connection, self.clock()))
            return connection
        return None

    def _has(self, held: Held) -> None:
        self.events.append("acquired")
        # `info` lasts as long as the connection to the server.
        info = held.proxied().info
        if info.setdefault("seen", False):
            self.events.append("reused")
        info["seen"] = True
        self.held.append(held)

    def _settle(self) -> None:
        """Wait until every background caller has ended or is blocked."""

        def settled() -> bool:
            undone = sum(not who.caller.done() for who in self.background)
            blocked = sum(self.side.blocked(pool) for pool in self._pools())
            return undone == blocked + len(self.at_gates.here)

        until(settled, self.side.step)
        if ended := [who for who in self.background if who.caller.done()]:
            for who in ended:
                self.background.remove(who)
                if who.gate is None:
                    self.events.append("waited")
                self._outcome(who.caller.result)
            # The error of one that has failed, and what it has asked of the loop, may be all that
            # keeps its connection.
            del who, ended
            self.side.step()
            gc.collect()

    def _pools(self) -> list[Any]:
        """Return the engine's pool and those that it has replaced, the oldest first."""
        if self.pools[-1]() is not self.engine.pool:
            self.pools.append(weakref.ref(self.engine.pool))
        return [pool for reference in self.pools if (pool := reference()) is not None]

    def _full(self) -> bool:
        pool: Any = self.engine.pool
        return bool(pool.checkedout() >= self.limit)

    def _room(self) -> bool:
        return len(self.held) + len(self.background) < MOST

    def _pick(self, which: int) -> Held:
        held = self.held[which % len(self.held)]
        self.may_lose |= held.stuck
        return held

    def _drop(self, held: Held) -> None:
        if held.stuck:
            self._may_orphan()
        self.held.remove(held)

    def _may_orphan(self) -> None:
        """Note that connections may be dropped unclosed, which only some drivers then close."""
        if not self.side.finishes:
            records = [held.record() for held in self._out()] + self._idle()
            self.orphans |= {self.side.pid(record.dbapi_connection) for record in records}

    @contextlib.contextmanager
    def _failing(self, name: str, error: Exception, times: int = 1) -> Iterator[None]:
        """Make a listener raise the given number of times; note the slots that this loses."""
        errors = iter([error] * times)

        def fail(*args: Any) -> None:
            for raised in errors:
                raise raised

        self._may_orphan()
        event.listen(self.engine, name, fail)
        try:
            yield
        except (ZeroDivisionError, exc.DBAPIError):
            pass
        finally:
            event.remove(self.engine, name, fail)
            error.__traceback__ = error.__context__ = None
            self.may_lose = True
            # Connections that were not returned because of it are collected as garbage.
            self.dropped_out += len(self.held)

"""What callers, listeners and a server can do to an engine, in random order."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition
from sqlalchemy import Connection, exc, text
from sqlalchemy.pool import base

from poolscope.errors import internal_errors
from poolscope.readings.reading import Reading
from stateful.deadlines import DEADLINES, Deadline
from stateful.machine import PoolMachine, operation
from stateful.sqlalchemy_known import A_DAY, EVENTS, OUTCOMES, SOON, Known
from stateful.sqlalchemy_sides import Background, Gate, Held, Tasks, until
from support.bytecodes import HardInterruption, Interruption, at_bytecode, interruption

OLDER: Final = 2 * A_DAY

ALWAYS_HELD: Final = getattr(base, "_strong_ref_connection_records", {})
"""By what callers have, the records that SQLAlchemy 2.0 keeps for it, also after it is detached:
even those that a pool has dropped since."""

WHICH: Final = st.integers(0, 11)
"""The index of an item, modulo the number of items."""


class Machine(Known):
    """All operations."""

    @precondition(lambda self: self.held or self.background)
    @operation()
    def a_second_passes(self) -> None:
        # The invariant of the base class holds for each pool by itself: connections in use of a
        # replaced pool take no slots of the pool that replaces it.
        before = [ledger.read() for ledger in self.watch._pool.ledgers]
        self.clock.advance(1.0)
        after = [ledger.read() for ledger in self.watch._pool.ledgers]
        for was, now in zip(before, after, strict=True):
            saturated = was.in_use + was.opening >= was.limit > 0
            assert was.in_use_seconds + was.in_use == now.in_use_seconds
            assert was.waiting_seconds + was.waiting == now.waiting_seconds
            assert was.saturated_seconds + saturated == now.saturated_seconds

    @precondition(lambda self: self._room() and not self._full())
    @operation(raw=st.booleans())
    def connect(self, raw: bool) -> None:
        self._attempt(self.engine.raw_connection if raw else self.engine.connect)

    @precondition(lambda self: self._room() and not self._full())
    @operation(how=st.sampled_from(["", "SELECT 1", "SELECT 1 / 0"]))
    def use_once(self, how: str) -> None:
        if self._attempt(self.engine.connect) is None:
            return
        held = self.held[-1]
        with contextlib.suppress(exc.DBAPIError):
            self.side.run(lambda: how and held.connection.execute(text(how)))
        with contextlib.suppress(exc.DBAPIError):
            self.side.run(held.connection.close)
        self.held.pop()

    @precondition(lambda self: self._full())
    @operation()
    def time_out(self) -> None:
        self._attempt(self.engine.connect)

    @precondition(lambda self: self.held)
    @operation(which=WHICH)
    def close(self, which: int) -> None:
        held = self._pick(which)
        with contextlib.suppress(exc.DBAPIError):  # a transaction that cannot be rolled back
            self.side.run(held.connection.close)
        self._drop(held)

    @precondition(lambda self: self.held)
    @operation(which=WHICH)
    def use(self, which: int) -> None:
        held = self._pick(which)
        if not isinstance(held.connection, Connection):
            return
        if held.connection.invalidated:
            self.held.remove(held)
            if self._attempt(lambda: self._connected_again(held.connection)) is None:
                self.held.append(held)
                return
        with contextlib.suppress(exc.DBAPIError):
            self.side.run(lambda: held.connection.execute(text("SELECT 1")))

    def _connected_again(self, connection: Connection) -> Connection:
        connection.rollback()
        assert connection.connection is not None  # asking for it is what connects
        return connection

    @precondition(lambda self: self._out())
    @operation(which=WHICH)
    def detach(self, which: int) -> None:
        held = self._pick(which)
        if held.record() is not None:
            self._detach(held)

    def _detach(self, held: Held) -> None:
        proxied = held.proxied()
        self.side.run(held.connection.detach)
        ALWAYS_HELD.pop(weakref.ref(proxied), None)
        self.detached.append(proxied)
        self.held.remove(held)

    @precondition(lambda self: self.detached)
    @operation(which=WHICH)
    def close_detached(self, which: int) -> None:
        self.side.run(self.detached.pop(which % len(self.detached)).close)

    @precondition(lambda self: self.held)
    @operation(which=WHICH)
    def invalidate(self, which: int) -> None:
        held = self._pick(which)
        if held.record() is not None:
            self.side.run(held.connection.invalidate)

    @precondition(lambda self: self.held)
    @operation(which=WHICH)
    def invalidate_softly(self, which: int) -> None:
        held = self._pick(which)
        if held.record() is not None:
            self.side.run(lambda: held.proxied().invalidate(soft=True))

    @precondition(lambda self: self.held)
    @operation(which=WHICH)
    def lose(self, which: int) -> None:
        held = self._pick(which)
        out, before = held.record() is not None, self.reading().leaks_abandoned
        self.dropped_out += out
        self._drop(held)
        del held
        gc.collect()
        assert before + out == self.reading().leaks_abandoned

    @precondition(lambda self: len(self._pools()) > 1)
    @operation()
    def collect_garbage(self) -> None:
        self._may_orphan()
        gc.collect()

    @precondition(lambda self: self._idle() or self._out() or self.lost)
    @operation(close=st.booleans())
    def dispose(self, close: bool) -> None:
        if not close:
            self._may_orphan()
        self.side.run(lambda: self.engine.dispose(close=close))
        self.lost = 0

    @precondition(lambda self: self._idle())
    @operation()
    def idle_connections_grow_old(self) -> None:
        for record in self._idle():
            record.starttime -= OLDER

    @precondition(lambda self: self._idle())
    @operation(which=WHICH)
    def server_kills_an_idle_connection(self, which: int) -> None:
        idle = self._idle()
        self._kill(idle[which % len(idle)])

    @precondition(lambda self: self._out())
    @operation(which=WHICH)
    def server_kills_a_connection_that_is_out(self, which: int) -> None:
        out = self._out()
        self._kill(out[which % len(out)].record())

    def _kill(self, record: Any) -> None:
        pid = self.side.pid(record.dbapi_connection)
        self.control.execute("SELECT pg_terminate_backend(%s)", (pid,))
        self.killed.add(pid)

    @precondition(lambda self: self.held or self.refusing)
    @operation()
    def server_refuses_or_accepts(self) -> None:
        self.refusing = not self.refusing

    # Others who ask

    def _start(self, gate: Gate | None = None) -> None:
        self.begun += 1
        self.at_gates.next = gate
        caller = self.side.start(self.engine.connect)
        who = Background(caller, weakref.ref(self.engine.pool), self.clock(), gate)
        self.background.append(who)
        self._settle()
        self.at_gates.next = None  # a connection that was idle needs no gate

    def _comes_back(self, held: Held) -> bool:
        return (
            held.record() is not None
            and not held.stuck
            and held.proxied()._pool is self.engine.pool
        )

    @precondition(
        lambda self: self._room() and self._full() and any(map(self._comes_back, self.held))
    )
    @operation()
    def wait(self) -> None:
        pool: Any = self.engine.pool
        pool._timeout = 1000.0
        self._start()
        pool._timeout = SOON

    @precondition(lambda self: self._room() and not self._full())
    @operation()
    def begin_to_connect(self) -> None:
        self._start(self.side.gate())

    @precondition(lambda self: self.at_gates.here)
    @operation(which=WHICH, refused=st.booleans())
    def go_on_connecting(self, which: int, refused: bool) -> None:
        gate = self.at_gates.here[which % len(self.at_gates.here)]
        if refused:
            self.at_gates.refused.append(gate)
        gate.set()
        until(lambda: gate not in self.at_gates.here, self.side.step)

    @precondition(lambda self: self.side.cancels and self.background)
    @operation(which=WHICH)
    def cancel(self, which: int) -> None:
        who = self.background[which % len(self.background)]
        who.caller.cancel()
        until(who.caller.done, self.side.step)

    @precondition(lambda self: self.side.cancels and self._full())
    @operation(deadline=st.sampled_from(DEADLINES))
    def a_deadline_passes_in_the_queue(self, deadline: Deadline) -> None:
        pool: Any = self.engine.pool
        pool._timeout = 1000.0
        self.begun += 1
        self.events += ["waited", "cancelled"]
        caller = self.side.start_by(deadline, self.engine.connect)
        until(caller.done, self.side.step)
        pool._timeout = SOON
        with pytest.raises(TimeoutError):
            caller.result()

    @precondition(lambda self: self.side.cancels and self._room() and not self._full())
    @operation(steps=st.integers(1, 12))
    def cancel_while_connecting(self, steps: int) -> None:
        self._may_orphan()
        # SQLAlchemy loses the slot of a pre-ping that is cancelled.
        pool: Any = self.engine.pool
        self.may_lose |= pool._pre_ping
        self.begun += 1
        caller = self.side.start(self.engine.connect)
        for _ in range(steps):
            self.side.step()
        caller.cancel()
        until(caller.done, self.side.step)
        connection = self._outcome(caller.result)
        if connection is not None:
            self.side.run(connection.close)
            self.held.pop()
        del caller, connection
        self.the_reading_is_true()
        # When it was cancelled is a matter of chance, and what is idle now; not any more.
        self.dispose(close=True)

    @precondition(
        lambda self: (
            self.side.cancels and any(who.gate is None for who in self.background) and self._out()
        )
    )
    @operation(which=WHICH)
    def cancel_one_whose_turn_it_is(self, which: int) -> None:
        held = self._pick(which)
        waiter = next(who for who in self.background if who.gate is None)
        if held.record() is not None:
            self._detach(held)
        waiter.caller.cancel()
        until(waiter.caller.done, self.side.step)

    # Forks and interruptions

    def look_in_child(self) -> None:
        super().look_in_child()
        if isinstance(self.side, Tasks):
            return  # an event loop does not outlive a fork
        self.refusing, self.at_gates.next = False, None
        self.engine.dispose(close=False)
        for _ in range(2):
            with self.engine.connect():
                assert 1 == PoolMachine.reading(self).in_use
        self.engine.dispose()
        self.counts_from_zero(PoolMachine.reading(self), 2)

    @precondition(lambda self: self._room() and not self._full() and not self.background)
    @operation(step=st.integers(1, 200))
    def an_exception_lands_in_a_use(self, step: int) -> None:
        self._may_orphan()
        before = self.reading()
        with (
            contextlib.suppress(Interruption, HardInterruption),
            at_bytecode(step, interruption(step), let_in=True) as tracer,
        ):
            self.side.run(lambda: self.engine.connect().close())
        # There it may come when the queue has given the record to it, as it may in the queue's own;
        # or before the pool's own method has begun to return it.
        self.may_lose |= tracer.stack[:1] == ["get"] or tracer.begins("_do_return_conn")
        gc.collect()
        self._know_again(before)

    def _know_again(self, before: Reading) -> None:
        """Take from the reading how the attempt has ended: it counts as one at most."""
        self.dropped_out += 1
        self._errors_before = internal_errors.count
        reading = self.reading()
        known = {name: int(getattr(reading, name)) for name in EVENTS}
        more = {name: known[name] - getattr(before, name) for name in EVENTS}
        assert set(more.values()) <= {0, 1}, more
        assert sum(more[name] for name in OUTCOMES) <= 1, more
        known["opened"] -= self.adopted
        self.events = list(Counter(known).elements())
        self.begun += sum(more[name] for name in OUTCOMES)
        for record in self._idle():
            record.info["seen"] = True

    # Listeners of the application

    @precondition(lambda self: self._room() and not self._full())
    @operation(
        name=st.sampled_from(["connect", "checkout", "close"]),
        error=st.sampled_from([ZeroDivisionError, exc.DisconnectionError, exc.InvalidatePoolError]),
        times=st.integers(1, 3),
    )
    def a_listener_fails_while_connecting(self, name: str, error: Any, times: int) -> None:
        with self._failing(name, error(), times):
            self._attempt(self.engine.connect)
        gc.collect()

    @precondition(lambda self: self.held)
    @operation(
        which=WHICH,
        name=st.sampled_from(["reset", "close", "reset", "close", "checkin"]),
        act=st.sampled_from(["close", "invalidate"]),
    )
    def a_listener_fails_while_returning(self, which: int, name: str, act: str) -> None:
        held = self._pick(which)
        if held.record() is None or (name == "checkin" and self.background):
            return  # what is lost thereby would never come to those who wait
        with self._failing(name, ZeroDivisionError()):
            self.side.run(getattr(held.connection, act))
        if name == "checkin" and held.record() is not None:
            held.stuck = True
        else:
            self.held.remove(held)
        del held
        gc.collect()

    @precondition(lambda self: self._idle())
    @operation()
    def a_listener_fails_while_disposing(self) -> None:
        with self._failing("close", ZeroDivisionError()):
            self.side.run(self.engine.dispose)
        gc.collect()

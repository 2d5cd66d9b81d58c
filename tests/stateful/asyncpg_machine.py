"""What a program and a server can do to an asyncpg pool, in random order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final

from hypothesis import strategies as st

from stateful.asyncpg_interruptions import InterruptedPool
from stateful.asyncpg_plans import PARAMETERS, PLANS, Plan
from stateful.deadlines import DEADLINES, Deadline
from stateful.machine import operation
from support.waiting import eventually

MANY: Final = 6
PICK: Final = st.integers(0, MANY)

Operation = Callable[..., None]


def when(condition: Callable[[Machine], Any]) -> Callable[[Operation], Operation]:
    """
    Decorate an operation that needs a condition; if it is false, another one is done instead.

    With a precondition, what hypothesis draws would depend on which of two tasks was faster.
    """

    def decorate(apply: Operation) -> Operation:
        @functools.wraps(apply)
        def possible(self: Machine, **drawn: Any) -> None:
            if condition(self):
                apply(self, **drawn)
                return
            self.done[apply.__name__] -= 1
            if not self.full:
                self.acquire(number=1)
            elif not self.attempts:
                self.start_waiters(number=1)
            elif self.held:
                self.release(pick=0)

        return possible

    return decorate


class Machine(InterruptedPool):
    """All operations. Each lets the event loop settle before it ends."""

    # Callers

    def _ask(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a caller that asks for a connection; make a new pool if this one is closed."""
        self._run(self._start(self.attempts, work))
        if self.pool._closed:
            self._end()
            self._begin(self.plan)

    @operation(number=st.integers(1, 3))
    @when(lambda self: not self.full)
    def acquire(self, number: int) -> None:
        for _ in range(number):
            if not self.full:
                self._ask(self._acquire())

    @operation(number=st.integers(1, 3))
    @when(lambda self: self.full and len(self.attempts) < MANY)
    def start_waiters(self, number: int) -> None:
        for _ in range(number):
            self._ask(self._acquire())

    @operation()
    @when(lambda self: len(self.attempts) < MANY)
    def fetch_by_the_pool(self) -> None:
        self._ask(self._fetch())

    @operation(timeout=st.sampled_from([0.0, 0.0005]))
    @when(lambda self: self.open and self.full)
    def time_out_when_full(self, timeout: float) -> None:
        self._run(self._acquire(timeout))

    @operation(deadline=st.sampled_from(DEADLINES))
    @when(lambda self: self.open and self.full)
    def a_deadline_passes_in_the_queue(self, deadline: Deadline) -> None:
        self._run(self._acquire_by(deadline))

    @operation(pick=PICK)
    @when(lambda self: self.open and not self.full and self.plan.callbacks - {"reset"})
    def time_out_in_a_callback(self, pick: int) -> None:
        name = self._pick(sorted(self.plan.callbacks - {"reset"}), pick)
        # What comes next must not depend on how far the attempt got in time.
        self._pass_callbacks()
        self.callbacks[name].next = "hangs"
        self._run(self._acquire(0.005))
        self._pass_callbacks()

    def _pass_callbacks(self) -> None:
        for callback in self.callbacks.values():
            callback.next = "passes"

    @operation(pick=PICK)
    @when(lambda self: self.at("Queue.get"))
    def cancel_a_waiter(self, pick: int) -> None:
        self._cancel(self.at("Queue.get"), pick)

    @operation(pick=PICK)
    @when(lambda self: self.bring_into("connect", "init"))
    def cancel_while_connecting(self, pick: int) -> None:
        self._cancel(self.inside("connect", "init"), pick)

    @operation(pick=PICK)
    @when(lambda self: self.bring_into("setup"))
    def cancel_in_setup(self, pick: int) -> None:
        self._cancel(self.inside("setup"), pick)

    @operation(pick=PICK)
    @when(lambda self: self.held or self.at("Pool.release"))
    def cancel_a_release(self, pick: int) -> None:
        if self.held:
            self._run(self._release_in_vain(self._pick(self.held, pick)))
        else:
            self._cancel(self.at("Pool.release"), pick)

    async def _release_in_vain(self, proxy: Any) -> None:
        await self._start(self.others, self._release(proxy))
        await asyncio.sleep(0)
        self.others[-1].cancel()

    def _cancel(self, tasks: list[asyncio.Task[None]], pick: int) -> None:
        async def cancel() -> None:
            self._pick(tasks, pick).cancel()

        self._run(cancel())

    @operation(pick=PICK)
    @when(lambda self: self.held)
    def release(self, pick: int) -> None:
        self._run(self._start(self.others, self._release(self._pick(self.held, pick))))

    @operation(pick=PICK)
    @when(lambda self: self.held)
    def release_twice_at_once(self, pick: int) -> None:
        proxy = self._pick(self.held, pick)
        self.others += [self.loop.create_task(self._release(proxy)) for _ in range(2)]
        self._run(asyncio.sleep(0))

    @operation(pick=PICK)
    @when(lambda self: self.released)
    def release_again(self, pick: int) -> None:
        self._run(self._release(self._pick(self.released, pick)))

    @operation(pick=PICK)
    @when(lambda self: self.held)
    def query(self, pick: int) -> None:
        self._run(self._pick(self.held, pick).execute("SELECT 1"))

    @operation(pick=PICK, released=st.booleans())
    @when(lambda self: self.held)
    def cancel_a_query(self, pick: int, released: bool) -> None:
        self._run(self._query_in_vain(self._pick(self.held, pick), released))

    async def _query_in_vain(self, proxy: Any, released: bool) -> None:
        # The cancellation may reach the server before the query, which is then not cancelled.
        querying = asyncio.create_task(proxy.execute("SELECT pg_sleep(0.1)"))
        await asyncio.sleep(0)
        querying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await querying
        if released and "init_size" in PARAMETERS:
            await self._start(self.others, self._release(proxy))
        else:
            # Before 0.32 a connection that is closed during a cancellation stays open.
            await proxy.execute("SELECT 1")

    @operation(pick=PICK, gently=st.booleans())
    @when(lambda self: self.held)
    def close_one_that_is_held(self, pick: int, gently: bool) -> None:
        self._run(self._close_one(self._pick(self.held, pick), gently))

    # The server, and the callbacks

    async def _close(self) -> None:
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await self.pool.close()

    async def _kill(self, connection: Any) -> None:
        """Make the server terminate the connection."""
        self._ask_server("SELECT pg_terminate_backend(%s)", connection.get_server_pid())
        await eventually(True, connection.is_closed)

    def in_callbacks(self) -> list[Any]:
        """Return the open connections that are being set up for a caller."""
        inside = [*self.callbacks["init"].inside.values(), *self.callbacks["setup"].inside.values()]
        return [connection for connection in inside if not connection.is_closed()]

    @operation(pick=PICK)
    @when(lambda self: self.held)
    def kill_one_that_is_held(self, pick: int) -> None:
        self._run(self._kill(self._pick(self.held, pick)._con))

    @operation(pick=PICK)
    @when(lambda self: self.idle)
    def kill_one_that_is_idle(self, pick: int) -> None:
        self._run(self._kill(self._pick(self.idle, pick)._con))

    @operation(pick=PICK)
    @when(lambda self: self.in_callbacks())
    def kill_one_in_a_callback(self, pick: int) -> None:
        self._run(self._kill(self._pick(self.in_callbacks(), pick)))

    @operation(pick=PICK, lost=st.integers(0, 2))
    @when(lambda self: self.open)
    def refuse_connections(self, pick: int, lost: int) -> None:
        self._accept(False)
        for holder in self.idle[:lost]:
            self._run(self._kill(holder._con))
        self._run(self._start(self.attempts, self._acquire()))
        self._accept(True)

    @operation(pick=PICK, does=st.sampled_from(["raises", "hangs"]))
    @when(lambda self: self.plan.callbacks)
    def change_a_callback(self, pick: int, does: str) -> None:
        self._call_back(self._pick(sorted(self.plan.callbacks), pick), does)

    def _call_back(self, name: str, does: str) -> None:
        """Make a callback raise or hang, and bring an attempt into it if possible."""
        self.callbacks[name].next = does
        if name == "reset" and self.held:
            self._run(self._start(self.others, self._release(self.held[0])))
        elif name != "reset" and self.open:
            self._run(self.pool.expire_connections())
            if self.full and self.held:
                self._run(self._close_one(self.held[0], gently=True))
            if not self.full:
                self._run(self._start(self.attempts, self._acquire()))

    def bring_into(self, *names: str) -> bool:
        """Bring an attempt into one of these callbacks; return whether one hangs there."""
        for name in sorted(self.plan.callbacks.intersection(names)):
            if not self.inside(*names):
                self._call_back(name, "hangs")
        self.the_reading_is_true()
        return bool(self.inside(*names))

    @operation()
    @when(lambda self: any(callback.inside for callback in self.callbacks.values()))
    def let_go_of_callbacks(self) -> None:
        self._run(self._release_callbacks())

    # The pool

    @operation()
    @when(lambda self: self.open and (self.held or self.attempts))
    def expire_connections(self) -> None:
        self._run(self.pool.expire_connections())

    @operation(pick=PICK)
    @when(lambda self: any(holder._inactive_callback for holder in self.idle))
    def be_idle_for_too_long(self, pick: int) -> None:
        self._run(self._fire_timer(pick))

    async def _fire_timer(self, pick: int) -> None:
        holder = self._pick([one for one in self.idle if one._inactive_callback], pick)
        holder._inactive_callback.cancel()
        holder._deactivate_inactive_connection()

    @operation()
    @when(lambda self: self.open and not self.attempts and not self.opening())
    def watch_anew(self) -> None:
        self.watch.unwatch()
        self._watch()

    @operation()
    @when(lambda self: self.open and (self.held or self.attempts))
    def close_the_pool(self) -> None:
        self._run(self._start(self.others, self._close()))

    @operation()
    @when(lambda self: self.at("Pool.close"))
    def cancel_the_close(self) -> None:
        self._cancel(self.at("Pool.close"), 0)

    @operation()
    @when(lambda self: not self.pool._closed and len(self.held) + len(self.attempts) > 1)
    def terminate_the_pool(self) -> None:
        self._run(self._terminate())

    async def _terminate(self) -> None:
        self.pool.terminate()

    @operation(plan=PLANS)
    @when(lambda self: self.pool._closed or not (self.held or self.attempts))
    def make_a_new_pool(self, plan: Plan) -> None:
        self._run(self._start(self.others, self._close()))
        self._end()
        self._begin(plan)

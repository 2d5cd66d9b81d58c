"""Exceptions that land in the hooks of the asyncpg pool of the machine."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from stateful.asyncpg_pool import PoolOfAsyncpg, innermost, outcome
from stateful.deadlines import DEADLINES, Deadline
from stateful.interruptions import INTERRUPTIONS, OUTCOMES, ended
from stateful.machine import operation
from support.bytecodes import AtBytecode, at_bytecode, interruption

USES: Final = ("use", "fetch", "release", "close", "connect", "cancel", "time out", "deadline")


class InterruptedPool(PoolOfAsyncpg):
    """
    A pool whose uses may be interrupted.

    Each use takes the way through the hooks that is possible at that moment.
    """

    @operation(step=st.integers(1, 300), what=st.sampled_from(USES), pick=st.integers(0, 6))
    def an_exception_lands_in_a_use(self, step: int, what: str, pick: int) -> None:
        # Where asyncpg loses a holder, the numbers are right again once the pool is closed.
        with warnings.catch_warnings():
            # Of coroutines that were not awaited.
            warnings.simplefilter("ignore", RuntimeWarning)
            self.interrupting = True
            tracer = self._interrupt(step, self._do(what, pick))
            gc.collect()
            self.interrupting = False
        # Where these go on, an exception does not reach asyncpg, which may be opening a connection.
        self.leaked += any(map(tracer.goes_on, ("connect", "_follow", "_follow_holder", "_call")))
        self._see_what_nobody_has()
        broken = self._is_broken()
        self._know_again(tracer)
        if broken or self.pool._closed:
            self._end()
            self._begin(self.plan)

    async def _do(self, what: str, pick: int) -> None:
        if what == "release" and self.held:
            await self._start(self.others, self._release(self._pick(self.held, pick)))
        elif what == "close" and self.held:
            proxy = self._pick(self.held, pick)
            await self._start(self.others, self._close_one(proxy, gently=pick % 2 == 0))
        elif what == "fetch":
            await self._start(self.attempts, self._fetch())
        elif what == "time out":
            await self._start(self.attempts, self._acquire(0.0005))
        elif what == "deadline":
            await self._start(self.attempts, self._acquire_by(DEADLINES[pick % len(DEADLINES)]))
        elif what == "cancel":
            await self._start(self.attempts, self._acquire())
            await asyncio.sleep(0)
            self.attempts[-1].cancel()
        else:
            if what == "connect":
                await self.pool.expire_connections()
            await self._start(self.attempts, self._use())

    async def _use(self) -> None:
        held = len(self.proxies)
        await self._acquire()
        if len(self.proxies) > held:
            # The attempt has ended, though the release may hang in a callback.
            await self._start(self.others, self._release(self.proxies[-1]))

    def _interrupt(self, step: int, use: Coroutine[Any, Any, None]) -> AtBytecode:
        """Raise an exception at that bytecode of the hooks, and let the event loop settle."""
        with at_bytecode(step, interruption(step), let_in=True) as tracer:
            for work in (use, self._settle()):
                with contextlib.suppress(*INTERRUPTIONS):
                    self.loop.run_until_complete(work)
        for task in [task for task in self.attempts + self.others if task.done()]:
            (self.attempts if task in self.attempts else self.others).remove(task)
            with contextlib.suppress(*INTERRUPTIONS):
                task.result()
        return tracer

    def _see_what_nobody_has(self) -> None:
        """Let the time pass after which the watch ends a hold whose attempt was interrupted."""
        self.reading()
        self.clock.advance(2.0)

    def _is_broken(self) -> bool:
        """Whether asyncpg itself has lost a holder: nobody has it, and nobody can acquire it."""
        holders, queue = self.pool._holders, self.pool._queue
        in_use = [holder for holder in holders if not holder.is_idle()]
        acquiring = self.in_flight() - sum(not getter.done() for getter in queue._getters)
        known = queue.qsize() + len(in_use) + acquiring + self._is_opening_by_itself()
        return known != len(holders) or not all(holder.is_connected() for holder in in_use)

    def _is_opening_by_itself(self) -> bool:
        """Whether asyncpg is opening a connection that nobody has asked for, as from 0.32 on."""
        task = getattr(self.pool, "_maintenance_task", None)
        return task is not None and not task.done() and innermost(task) != "sleep"

    def _know_again(self, tracer: AtBytecode) -> None:
        """Take from the reading how the attempt has ended: it counts as one at most."""
        reading = self.reading()
        lost = self.begun - self.in_flight() - ended(reading)
        assert 0 <= lost <= bool(tracer.where), (lost, tracer.where)
        self.begun -= lost
        known = {**self.outcomes, "acquired": self.outcomes["acquired"] + self._used()}
        wrong = {name: int(getattr(reading, name)) - known[name] for name in OUTCOMES}
        assert sum(map(abs, wrong.values())) <= 2 * bool(tracer.where), (wrong, tracer.where)
        for name in OUTCOMES:
            self.outcomes[name] += wrong[name]

    # Also done without an exception

    async def _acquire_by(self, deadline: Deadline) -> None:
        """Acquire with a deadline around, by which the attempt is cancelled."""
        self.begun += 1
        try:
            # `wait_for` takes only what can be made a task.
            proxy = await deadline(self.pool.acquire().__aenter__())
        except (Exception, asyncio.CancelledError) as error:
            gave_up = isinstance(error, TimeoutError)
            self.outcomes["cancelled" if gave_up else outcome(error)] += 1
            return
        self.outcomes["acquired"] += 1
        self.dead += proxy.is_closed()
        self.proxies.append(proxy)

    async def _release(self, proxy: Any) -> None:
        # asyncpg may refuse the release for many reasons, none of which matters here.
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await self.pool.release(proxy)

    async def _close_one(self, proxy: Any, gently: bool) -> None:
        if gently:
            await proxy.close()
        else:
            proxy.terminate()

    def _pick(self, items: Sequence[Any], pick: int) -> Any:
        return items[pick % len(items)]

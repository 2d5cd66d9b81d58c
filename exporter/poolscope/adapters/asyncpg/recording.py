"""Records in its ledger what happens to the connections of an asyncpg pool."""

from __future__ import annotations

import asyncio
import functools
from abc import abstractmethod
from asyncio import _get_running_loop
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg
import asyncpg.pool

from poolscope.adapters.asyncpg.attempts import PendingAttempt, pending_attempts
from poolscope.adapters.asyncpg.looks import Looks
from poolscope.adapters.asyncpg.lost import (
    is_missing,
)
from poolscope.adapters.asyncpg.pools import config_of, limits_of, name_connections, ready
from poolscope.adapters.channels import listens, watch_channels
from poolscope.adapters.loops import used_in_other_loop
from poolscope.adapters.outcomes import outcome_of
from poolscope.callsites.borrower import Borrower, anonymous_borrower
from poolscope.callsites.deadlines import unless_deadline
from poolscope.errors import harmless, harmless_once, is_ours, report
from poolscope.ledger import cells
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.readings.report import Info
from poolscope.watching.pool_log import CUT_OFF, Fate
from poolscope.watching.watched_pool import WatchedPool

# Checked with asyncpg 0.29.0, 0.30.0, 0.31.0 and 0.32.0:
#   Pool._acquire(timeout), _async__init__(), _initialize(), _holders, _queue, _closed, _closing,
#     _initialized; the queue is a LifoQueue, whose _queue[-1] is next
#   PoolConnectionHolder._pool, _con, _in_use, _proxy, acquire(), connect(), close(), terminate(),
#     _release(), _release_on_close(); PoolConnectionProxy._detach()

STOCK_ACQUIRE: Final = asyncpg.pool.Pool._acquire
"""asyncpg's own method: the fast path relies on it, and is not for one that overrides it."""

# By id, because a pool takes no weak reference. The entry is removed when the pool is collected.
hooks_by_pool_id: dict[int, PoolRecording] = {}

find_hooks: Final = hooks_by_pool_id.get


class PoolRecording(Looks):
    """
    Records what happens to one pool. The classes of the pool and its holders call the methods.

    It holds no reference to the pool, so that the pool is collected when the application drops it.
    """

    def __init__(self, pool: Any, watched: WatchedPool) -> None:
        self.watched: Final = watched
        self.info = Info(type(pool).__name__, "asyncpg", asyncpg.__version__)
        self.config = config_of(pool)
        super().__init__(watched.new_ledger(limits_of(pool), self.info, self.config))
        self._pool_id = id(pool)
        # By the id of a holder: the connection that it has, and whether it had to connect for the
        # caller that acquires it.
        self._connections: dict[int, int] = {}
        self._connected: set[int] = set()

    @abstractmethod
    def expect_holders(self, pool: Any) -> None:
        """The pool is about to make its holders: watch each of them."""

    @abstractmethod
    def watch_holder(self, holder: Any) -> None:
        """Change the class of the holder, so that it calls the hooks."""

    # Callers

    def acquire(self, pool: Any, timeout: float | None, acquire: Callable[..., Any]) -> Any:
        """Return an awaitable of a connection; the caller awaits it at once."""
        started, connection = self.clock(), None
        if pool._loop is not _get_running_loop():
            # Its connections are opened in its own loop only.
            used_in_other_loop(self.watched)
        try:
            if (
                acquire is STOCK_ACQUIRE
                and pool._initialized
                and not pool._closing
                and (timeout is None or timeout > 0.0)
                and pool._queue._queue
                and (connection := ready(pool, pool._queue._queue[-1])) is not None
            ):
                who = self.ledger.begin(id(connection), started, ALWAYS_HELD, 3)
                if who is None:
                    # Nothing is awaited and nothing can fail until the caller has it.
                    if timeout is None:
                        self._no_timeout(self.ledger.holds.in_use[id(connection)][2])
                    return acquire(pool, timeout)
            else:
                who = self.ledger.ask(3)
            if timeout is None:
                self._no_timeout(who)
        except BaseException as error:
            who = self._begin_failed("PoolHooks.acquire", connection, error)
        return self._follow(pool, acquire(pool, timeout), PendingAttempt(started, who))

    def _begin_failed(self, place: str, connection: Any, error: BaseException) -> Borrower:
        """
        The fast path has failed, by our fault; raise an exception from outside.

        Then the caller does not get the connection, if it has begun to.
        """
        if connection is not None and not is_ours(error):
            self.ledger.returned(id(connection), self.clock())
        report(place, error)
        return anonymous_borrower()

    def _no_timeout(self, who: Borrower) -> None:
        self.watched.evidence.add_at("no-acquire-timeout", who[:2], unless_deadline)

    async def _follow(self, pool: Any, acquiring: Awaitable[Any], attempt: PendingAttempt) -> Any:
        """Follow an attempt that may wait, connect, or fail."""
        task = _task()
        try:
            pending_attempts[task] = attempt
            self.asked(pool, attempt)
            # If this succeeds, a holder has taken the attempt from `pending_attempts`.
            return await acquiring
        except BaseException as error:
            try:
                if not attempt.is_counted:
                    self.failed(error, attempt)
            finally:
                try:
                    self._end_wait(attempt)
                    _close(acquiring)
                finally:
                    # Whatever comes meanwhile: the next attempt of this task is another one.
                    pending_attempts.pop(task, None)
            raise

    def serve(self, holder: Any, acquire: Callable[..., Any]) -> Any:
        """Return an awaitable of a holder's connection; the pool awaits it at once."""
        # This runs in the caller's own task: asyncpg makes no other one for the time limit. When
        # the task acquires again in a callback of the pool, that is another attempt.
        attempt = pending_attempts.pop(_task(), None)
        if attempt is None:  # recorded by the fast path; the pending one is of another task
            return acquire(holder)
        connection = None
        try:
            self._end_wait(attempt)
            attempt.in_queue, attempt.holder = False, holder
            connection = ready(holder._pool, holder)
            if connection is not None:
                if attempt.queued is not None:
                    self.ledger.waited(attempt.queued)
                    attempt.queued = None
                # Before it is: where an exception comes next, it counts as none rather than twice.
                attempt.is_counted = True
                borrower = self.ledger.begin(
                    id(connection), attempt.started, ALWAYS_HELD, 2, attempt.who
                )
                if borrower is None:
                    return acquire(holder)
                attempt.is_counted = False
        except BaseException as error:
            self._begin_failed("PoolHooks.serve", connection, error)
            attempt.is_counted = False  # by our fault: the attempt goes on
        return self._follow_holder(holder, acquire(holder), attempt)

    async def _follow_holder(
        self, holder: Any, acquiring: Awaitable[Any], attempt: PendingAttempt
    ) -> Any:
        """Follow a holder that may have to connect or to call `setup`."""
        try:
            self.acquiring(holder)
            proxy = await acquiring
            self.acquired(holder, attempt)
            return proxy
        except BaseException as error:
            _close(acquiring)
            if holder._in_use is not None:
                # The caller does not get it, and the pool takes a holder back that has failed.
                holder._proxy._detach()
                holder._proxy = holder._in_use = None
            self.not_acquired(holder)
            give_back(holder, error)
            raise

    @harmless
    def asked(self, pool: Any, attempt: PendingAttempt) -> None:
        if pool._queue is not None and pool._queue.empty() and not pool._closing:
            attempt.in_queue, attempt.waiting_since = True, self.clock()
            self.ledger.waiting(id(attempt), attempt.waiting_since)

    def _end_wait(self, attempt: PendingAttempt) -> None:
        if attempt.waiting_since is not None:
            now = self.clock()
            self.ledger.stopped_waiting(id(attempt), now)
            attempt.queued, attempt.waiting_since = now - attempt.waiting_since, None

    @harmless_once
    def failed(self, error: BaseException, attempt: PendingAttempt) -> None:
        self._end_wait(attempt)
        now, outcome = self.clock(), outcome_of(error, TimeoutError)
        self.ledger.finished(outcome, now - attempt.started, attempt.queued, attempt.in_queue)
        self.find_lost_slots(attempt.who if is_missing(attempt.holder) else None)
        if attempt.in_queue or outcome == cells.TIMEOUT:
            self.watched.log_timeout(now, outcome == cells.TIMEOUT, error)

    # Holders

    @harmless
    def acquiring(self, holder: Any) -> None:
        """A caller has got the holder, which may have to connect and to call `setup`."""
        self._acquiring.add(id(holder))
        self._connected.discard(id(holder))
        if holder.is_connected():
            if id(holder) not in self._connections:
                self._adopt(holder)
            self.ledger.taken(id(holder._con), self.clock())

    @harmless
    def acquired(self, holder: Any, attempt: PendingAttempt) -> None:
        self._acquiring.discard(id(holder))
        now = self.clock()
        if holder.is_connected():
            reused = id(holder) not in self._connected
            self.ledger.served(
                id(holder._con),
                now,
                attempt.started,
                attempt.who,
                ALWAYS_HELD,
                attempt.queued,
                reused,
            )
            self._note_channels(holder._con)
        else:
            # The connection was closed during `setup`: the caller gets a proxy without one.
            self._forget(holder, now)
            self.ledger.finished(cells.OK, now - attempt.started, attempt.queued)
        attempt.is_counted = True

    @harmless
    def not_acquired(self, holder: Any) -> None:
        self._acquiring.discard(id(holder))
        self.released(holder)

    @harmless
    def connecting(self, holder: Any, attempt: int, now: float) -> None:
        self._forget(holder, now)  # its connection has expired, or was found closed
        self.ledger.opening(attempt, now)
        name_connections(holder._pool, self.watched.name_of_connections())

    @harmless
    def connected(self, holder: Any, attempt: int, started: float) -> None:
        now, connection = self.clock(), holder._con
        self._keep(holder)
        self._connected.add(id(holder))
        in_use = id(holder) in self._acquiring
        self.ledger.opened(attempt, id(connection), now, now - started, in_use)
        # Before 0.32 a holder keeps a connection that was lost during `init`.
        self.check_closed(holder)

    @harmless
    def not_connected(self, holder: Any, attempt: int, started: float) -> None:
        """Connecting has failed, or an exception has come after it."""
        if holder.is_connected():
            self.connected(holder, attempt, started)
            return
        now = self.clock()
        self.ledger.open_failed(attempt, now, now - started)

    def released(self, holder: Any) -> None:
        try:
            connection = holder._con
            if connection is None or not self.ledger.end(id(connection), self.clock()):
                self._released(holder)
        except BaseException as error:
            self._released(holder)  # to end a hold twice changes nothing
            report("PoolHooks.released", error)

    def _released(self, holder: Any) -> None:
        if not holder.is_connected():
            self._forget(holder, self.clock())
            return
        if id(holder) not in self._connections:
            # The connection was being opened when the watch began.
            self._keep(holder)
        self.ledger.returned(id(holder._con), self.clock())

    @harmless
    def lost(self, holder: Any) -> None:
        self._forget(holder, self.clock())

    @harmless
    def check_closed(self, holder: Any) -> None:
        """Forget the holder's connection if it is closed."""
        if not holder.is_connected():
            self._forget(holder, self.clock())

    @harmless
    def terminated(self, connection: Any) -> None:
        """
        A connection was closed, perhaps by the server.

        Before 0.32 an idle connection calls only this; one in use has called its holder before.
        """
        self.ledger.closed(id(connection), self.clock())

    def listening(self, key: int, on_purpose: bool) -> None:
        """A connection begins or ends to listen; meanwhile it is held on purpose."""
        self.ledger.purpose_changed(key, self.clock(), on_purpose)

    # The pool

    def closing(self, pool: Any, fate: Fate) -> None:
        """`close` calls `terminate` when it is cancelled."""
        if self.watched.closes_in_order:
            # Connections may come back while it waits.
            is_time = fate is CUT_OFF and not pool._closed
        else:
            is_time = not (pool._closing or pool._closed)
        if is_time:
            self.watched.log_close(self.ledger, fate)

    @harmless
    def maybe_closed(self, pool: Any) -> None:
        if pool._closed:
            for holder in pool._holders:
                self.check_closed(holder)
            self.ledger.retired(self.clock())

    @harmless
    def collected(self) -> None:
        hooks_by_pool_id.pop(self._pool_id, None)
        self.watched.pool_gone(self.ledger)

    def _adopt(self, holder: Any) -> None:
        self._keep(holder)
        self.ledger.adopted(id(holder._con), self.clock(), not holder.is_idle())
        self._note_channels(holder._con)

    def _keep(self, holder: Any) -> None:
        connection = holder._con
        self._connections[id(holder)] = id(connection)
        self._live.add(connection)
        connection.add_termination_listener(self.terminated)
        watch_channels(connection, functools.partial(self.listening, id(connection)))

    def _note_channels(self, connection: Any) -> None:
        """A caller gets a connection that may listen already, as `init` and `setup` can let it."""
        if listens(connection):
            self.listening(id(connection), True)

    def _forget(self, holder: Any, now: float) -> None:
        connection = self._connections.get(id(holder))
        if connection is not None:
            self.ledger.closed(connection, now)
            self._connections.pop(id(holder), None)


def _task() -> int:
    return id(asyncio.current_task())


def give_back(holder: Any, error: BaseException) -> None:
    """
    Give a holder back to its pool where the pool itself does not, after this exception.

    Not if a coroutine is closed that nobody awaits any more: its event loop may be closed, too.
    """
    if not isinstance(error, (Exception, asyncio.CancelledError, GeneratorExit)):
        holder._pool._queue.put_nowait(holder)


def _close(coroutine: Any) -> None:
    """Close a coroutine that may not have begun: Python warns of one that nobody awaits."""
    close = getattr(coroutine, "close", None)
    if close is not None:
        close()

"""
SQLAlchemy: engines (sync and async) and bare pools.

`Pool.connect` is where an attempt begins and ends, `_do_get` and `_do_return_conn` are where a
connection record leaves and enters the pool, whatever class of pool it is and however the record
comes back: closed, detached, invalidated, or collected. Callers wait in the queue. These
are put over on the one pool object; events tell of closing and invalidation.

A connection is identified by its record, which is SQLAlchemy's slot: it outlives reconnects.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import sqlalchemy
from sqlalchemy import exc
from sqlalchemy.pool import Pool, QueuePool
from sqlalchemy.util import queue as sqla_queue

from poolscope import cells, versions
from poolscope import sqlalchemy_records as records
from poolscope.errors import harmless, report
from poolscope.findings import Setup
from poolscope.holders import Who, somebody
from poolscope.holds import KEPT
from poolscope.owners import asking, place_of_asker
from poolscope.patches import MARK, put_over, take_off
from poolscope.report import Info
from poolscope.sites import NOWHERE
from poolscope.sqlalchemy_names import Namer
from poolscope.sqlalchemy_pools import (
    engine_of,
    existing_records,
    limits_of,
    name_of,
    pool_of,
    setup_of,
)
from poolscope.watch import Hooks, Watch

try:
    from greenlet import getcurrent
except ImportError:  # SQLAlchemy needs it for async engines only
    caller = threading.get_ident
else:

    def caller() -> int:
        """Return what identifies the code that is asking: an async engine's greenlet, a thread."""
        return id(getcurrent())


KIND: Final = "sqlalchemy"

# Checked with SQLAlchemy 2.0.0, 2.0.58 and 2.1.9:
#   Pool.dispatch.checkout, with parent_listeners, Pool._pre_ping
#   Pool._do_get() -> record, Pool._do_return_conn(record), Pool._invoke_creator(record)
#   Pool._close_connection(connection, *, terminate=False)
#   QueuePool._pool, with not_empty.wait(timeout), or get(block, timeout) and empty()
#   _ConnectionRecord.fairy_ref, a weak reference to what the caller has
PUT_OVER: Final = (
    "connect", "recreate", "_do_return_conn", "_invoke_creator", "_close_connection",
)  # fmt: skip

_watched: weakref.WeakKeyDictionary[Pool, PoolHooks] = weakref.WeakKeyDictionary()
_attempts = itertools.count()


def check_version() -> None:
    versions.require("SQLAlchemy", sqlalchemy.__version__, "2.0")


def accepts(target: object) -> bool:
    return isinstance(target, Pool) or engine_of(target) is not None


def check_open(target: object) -> None:
    """A SQLAlchemy pool cannot be closed: after `dispose` it goes on."""


def find(target: object) -> Watch | None:
    hooks = _watched.get(pool_of(target))
    return hooks.watch if hooks is not None else None


def default_name(target: object) -> str:
    return name_of(target)


def hook(target: object, watch: Watch) -> EngineHooks:
    return EngineHooks(pool_of(target), watch)


class EngineHooks(Hooks):
    """The pool of an engine, and the pools that replace it: `dispose` makes a new one."""

    def __init__(self, pool: Pool, watch: Watch) -> None:
        self.info = Info(
            type(pool).__name__,
            # The dialect of a bare pool is a stub without a driver.
            getattr(pool._dialect, "driver", ""),
            sqlalchemy.__version__,
        )
        self.setup = setup_of(pool)
        records.listen()
        PoolHooks(pool, watch, self.info, self.setup)
        self._watch = watch
        self._namer = Namer(pool, watch)

    def unhook(self) -> None:
        self._namer.stop()
        for pool, hooks in list(_watched.items()):
            if hooks.watch is self._watch:
                hooks.unhook(pool)
        if not _watched:
            records.stop_listening()


class PoolHooks:
    """One pool object. Holds no reference to it, so that it goes when the application lets go."""

    def __init__(self, pool: Pool, watch: Watch, info: Info, setup: Setup) -> None:
        self.watch: Final = watch
        self.clock: Final = watch.clock
        self.about: Final = info, setup
        self.ledger: Final = watch.new_ledger(limits_of(pool), info, setup)
        # By caller: of the attempt in flight the seconds in the queue, and the record that had
        # to be opened; and the record whose connection is closed next.
        self._queued: dict[int, float] = {}
        self._opened: dict[int, int] = {}
        self._closing: dict[int, weakref.ref[Any]] = {}
        self._asks = asking(self.ledger, watch.look, watch.call_sites)
        self._collected = weakref.ref(pool, self._on_collected)
        watch.add_pool(self.ledger)
        _watched[pool] = self
        for name in PUT_OVER:
            put_over(pool, name, getattr(self, f"_over_{name.strip('_')}"), self)
        for target, name, over in self._where_callers_wait(pool):
            put_over(target, name, over, self)
        if pool._pre_ping or pool.dispatch.checkout:
            self.see_taken()
        self._adopt(existing_records(pool, scan=watch.first_of_name))

    def unhook(self, pool: Pool) -> None:
        for name in (*PUT_OVER, "_do_get"):
            take_off(pool, name, self)
        for target, name, _ in self._where_callers_wait(pool):
            take_off(target, name, self)
        _watched.pop(pool, None)
        self._closing.clear()
        records.forget(self)

    def _where_callers_wait(self, pool: Pool) -> Iterator[tuple[object, str, Any]]:
        """Yield what they wait in, the name of the method, and what is put over it."""
        if isinstance(pool, QueuePool):
            queue: Any = pool._pool
            if isinstance(queue, sqla_queue.AsyncAdaptedQueue):
                yield queue, "get", functools.partial(self._over_async_get, queue)
            else:
                # Only those get here for whom there is nothing in the queue.
                yield queue.not_empty, "wait", self._over_wait

    # What is put over the pool's methods

    def _over_connect(self, original: Callable[[], Any]) -> Callable[[], Any]:
        clock, ledger, asks = self.clock, self.ledger, self._asks
        queued, opened = self._queued, self._opened
        pool: Any = self._collected()
        dispatch, silent = pool.dispatch, pool.dispatch.checkout
        of_class = silent.parent_listeners

        def connect() -> Any:
            nonlocal silent, of_class
            if dispatch.checkout is not silent or of_class:
                silent, of_class = dispatch.checkout, ()
                self.see_taken()
            started = clock()
            try:
                who = asks(started)
            except Exception:
                who = self.cannot_ask()
            try:
                proxied = original()
            except BaseException as error:
                self.failed(error, started)
                raise
            try:
                now, record = clock(), proxied._connection_record
                if queued:
                    self.waited()
                if (
                    opened
                    or record is None
                    or not ledger.begin(id(record), now, started, who, record.fairy_ref)
                ):
                    self.served(proxied, now, started, who)
            except Exception:
                report("PoolHooks.served")
            return proxied

        return connect

    def _over_do_get(self, original: Callable[[], Any]) -> Callable[[], Any]:
        def do_get() -> Any:
            record = original()
            self.taken(record)
            return record

        return do_get

    def _over_do_return_conn(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        clock, ledger, opened = self.clock, self.ledger, self._opened

        def do_return_conn(record: Any) -> None:
            # Before the pool has it: another thread may take it at once.
            try:
                if opened or record.dbapi_connection is None or not ledger.end(id(record), clock()):
                    self.returned(record)
            except Exception:
                report("PoolHooks.returned")
            original(record)

        return do_return_conn

    def _over_invoke_creator(self, original: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def invoke_creator(record: Any) -> Any:
            attempt, started = next(_attempts), self.clock()
            self.opening(attempt, started)
            try:
                connection = original(record)
            except BaseException:
                self.open_failed(attempt, started)
                raise
            self.opened(attempt, record, started)
            return connection

        return invoke_creator

    def _over_close_connection(self, original: Callable[..., None]) -> Callable[..., None]:
        def close_connection(connection: Any, **how: Any) -> None:
            self.closed(connection)
            original(connection, **how)

        return close_connection

    def _over_recreate(self, original: Callable[[], Pool]) -> Callable[[], Pool]:
        def recreate() -> Pool:
            pool = original()
            self.replaced(pool)
            return pool

        return recreate

    def _over_wait(self, original: Callable[..., bool]) -> Callable[..., Any]:
        def wait(timeout: float | None = None) -> Any:
            self.blocking()
            return self._wait(original, timeout)

        return wait

    def _over_async_get(self, queue: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        def get(block: bool = True, timeout: float | None = None) -> Any:
            if not block or not queue.empty() or (timeout is not None and timeout <= 0.0):
                return original(block, timeout)
            return self._wait(original, True, timeout)

        return get

    def _wait(self, original: Callable[..., Any], *args: Any) -> Any:
        started = self.clock()
        self.waiting(started)
        try:
            return original(*args)
        finally:
            self.stopped_waiting(started)

    # What is recorded

    def cannot_ask(self) -> Who:
        report("PoolHooks.asked")
        return somebody()

    @harmless
    def see_taken(self) -> None:
        """
        See when a connection is taken: where it is tested, or listeners get it, before the caller.

        Elsewhere the caller has it as soon as it is taken.
        """
        pool = self._collected()
        if getattr(vars(pool).get("_do_get"), MARK, None) is None:
            put_over(pool, "_do_get", self._over_do_get, self)

    @harmless
    def waited(self) -> None:
        """Somebody has had to wait for a slot; maybe whoever has one now."""
        queued = self._queued.pop(caller(), None)
        if queued is not None:
            self.ledger.waited(queued)

    @harmless
    def served(self, proxied: Any, now: float, started: float, who: Who) -> None:
        opened = self._opened.pop(caller(), None)
        record = proxied._connection_record
        if record is None:  # a listener has detached the connection already
            self.ledger.finished(cells.OK, now - started, None)
            return
        records.track(record, self)
        reused = opened is None
        self.ledger.served(id(record), now, started, who, record.fairy_ref, None, reused)

    @harmless
    def failed(self, error: BaseException, started: float) -> None:
        now = self.clock()
        queued, opened = self._queued.pop(caller(), None), self._opened.pop(caller(), None)
        if opened is not None:
            # Nobody has it: SQLAlchemy drops what it opened for an attempt that fails.
            self.ledger.closed(opened, now)
        outcome = _outcome(error)
        self.ledger.finished(outcome, now - started, queued)
        if outcome == cells.TIMEOUT:
            self.watch.timed_out(now)

    @harmless
    def taken(self, record: Any) -> None:
        if record.dbapi_connection is not None:
            records.track(record, self)
            self.ledger.taken(id(record), self.clock())

    @harmless
    def returned(self, record: Any) -> None:
        # Others may have it before the attempt that has opened it, and gives it up, has ended.
        if self._opened and self._opened.get(caller()) == id(record):
            del self._opened[caller()]
        if record.dbapi_connection is None:  # detached, invalidated, or never opened
            self.ledger.closed(id(record), self.clock())
        else:
            records.track(record, self)
            self.ledger.returned(id(record), self.clock())

    @harmless
    def opening(self, attempt: int, now: float) -> None:
        self.ledger.opening(attempt, now)

    @harmless
    def opened(self, attempt: int, record: Any, started: float) -> None:
        now = self.clock()
        records.track(record, self)
        self._opened[caller()] = id(record)
        self.ledger.opened(attempt, id(record), now, now - started, True)

    @harmless
    def open_failed(self, attempt: int, started: float) -> None:
        now = self.clock()
        self.ledger.open_failed(attempt, now, now - started)

    @harmless
    def collected(self, record: int) -> None:
        """A record is gone, and its connection with it; and the pool may go with them."""
        if self._collected() is None:
            self.watch.pool_gone(self.ledger)
        self.ledger.closed(record, self.clock())

    @harmless
    def closing(self, record: weakref.ref[Any]) -> None:
        """Its connection is closed next, unless a listener of the application raises."""
        self._closing[caller()] = record

    @harmless
    def closed(self, connection: object) -> None:
        record = self._closing.pop(caller(), lambda: None)()
        if record is not None and record.dbapi_connection is connection:
            self.ledger.closed(id(record), self.clock())

    @harmless
    def blocking(self) -> None:
        """A thread is about to wait, and with it an event loop if one runs there."""
        if asyncio._get_running_loop() is not None:
            place = place_of_asker(sys._getframe()) if self.watch.call_sites else NOWHERE
            self.watch.sightings.note_at("blocks-event-loop", place)

    @harmless
    def waiting(self, now: float) -> None:
        self.ledger.waiting(caller(), now)

    @harmless
    def stopped_waiting(self, started: float) -> None:
        now, who = self.clock(), caller()
        self.ledger.stopped_waiting(who, now)
        self._queued[who] = self._queued.get(who, 0.0) + now - started

    @harmless
    def replaced(self, pool: Pool) -> None:
        """The pool takes no new callers, the new one does; connections that are out come back."""
        self.watch.follow_fork()
        self.ledger.retired(self.clock())
        PoolHooks(pool, self.watch, *self.about).ledger.replace(self.ledger)

    def _adopt(self, found: Iterable[Any]) -> None:
        for record in found:
            records.track(record, self)
            back = record.fairy_ref if record.in_use else KEPT
            self.ledger.adopted(id(record), self.clock(), record.in_use, back)

    @harmless
    def _on_collected(self, _: object) -> None:
        self.watch.pool_gone(self.ledger)


def _outcome(error: BaseException) -> int:
    if isinstance(error, exc.TimeoutError):
        return cells.TIMEOUT
    return cells.ERROR if isinstance(error, Exception) else cells.CANCELLED

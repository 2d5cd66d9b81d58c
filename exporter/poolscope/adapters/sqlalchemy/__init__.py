"""
SQLAlchemy: engines (sync and async) and bare pools.

`Pool.connect` is where an attempt begins and ends, `_do_get` and `_do_return_conn` are where a
connection record leaves and enters the pool, whatever class of pool it is and however the record
comes back: closed, detached, invalidated, or collected. These are put over on the one pool object,
as is what callers wait in (`sqlalchemy_queues`); events tell of closing and invalidation.

A connection is identified by its record, which is SQLAlchemy's slot: it outlives reconnects.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

import sqlalchemy
from sqlalchemy import exc
from sqlalchemy.pool import Pool

from poolscope.adapters import versions
from poolscope.adapters.patches import is_over, put_instead, put_over, take_off
from poolscope.adapters.sqlalchemy import records
from poolscope.adapters.sqlalchemy.names import namer_of
from poolscope.adapters.sqlalchemy.pools import (
    engine_of,
    existing_records,
    limits_of,
    name_of,
    pool_of,
    setup_of,
)
from poolscope.adapters.sqlalchemy.queues import Queueing, caller
from poolscope.callsites.borrower import Who, somebody
from poolscope.errors import harmless, report
from poolscope.ledger import cells
from poolscope.ledger.holds import KEPT
from poolscope.readings.report import Info
from poolscope.readings.setup import Setup
from poolscope.watching.hooks import Hooks
from poolscope.watching.watched_pool import WatchedPool

KIND: Final = "sqlalchemy"

# Checked with SQLAlchemy 2.0.0, 2.0.58 and 2.1.9:
#   Pool.dispatch.checkout, with parent_listeners, Pool._pre_ping
#   Pool._do_get() -> record, Pool._do_return_conn(record), Pool._invoke_creator(record)
#   Pool._close_connection(connection, *, terminate=False)
#   _ConnectionRecord.fairy_ref, a weak reference to what the caller has
PUT_OVER: Final = ("connect", "_do_return_conn")
INSTEAD: Final = ("recreate", "_invoke_creator", "_close_connection")

_hooks_by_pool: weakref.WeakKeyDictionary[Pool, PoolHooks] = weakref.WeakKeyDictionary()
_attempts = itertools.count()


def check_version() -> None:
    versions.require("SQLAlchemy", sqlalchemy.__version__, "2.0")


def accepts(target: object) -> bool:
    return isinstance(target, Pool) or engine_of(target) is not None


def check_open(target: object) -> None:
    """A SQLAlchemy pool cannot be closed: after `dispose` it goes on."""


def find(target: object) -> WatchedPool | None:
    hooks = _hooks_by_pool.get(pool_of(target))
    return hooks.watched if hooks is not None else None


def default_name(target: object) -> str:
    return name_of(target)


def hook(target: object, watched: WatchedPool) -> EngineHooks:
    return EngineHooks(pool_of(target), watched)


class EngineHooks(Hooks):
    """The pool of an engine, and the pools that replace it: `dispose` makes a new one."""

    __slots__ = ("_namer", "_watched", "info", "setup")

    def __init__(self, pool: Pool, watched: WatchedPool) -> None:
        self.info = Info(
            type(pool).__name__,
            # The dialect of a bare pool is a stub without a driver.
            getattr(pool._dialect, "driver", ""),
            sqlalchemy.__version__,
        )
        self.setup = setup_of(pool)
        records.listen()
        PoolHooks(pool, watched, self.info, self.setup)
        self._watched = watched
        self._namer = namer_of(pool, watched)

    def unhook(self) -> None:
        if self._namer is not None:
            self._namer.stop()
        for pool, hooks in list(_hooks_by_pool.items()):
            if hooks.watched is self._watched:
                hooks.unhook(pool)
        if not _hooks_by_pool:
            records.stop_listening()


class PoolHooks:
    """One pool object. Holds no reference to it, so that it goes when the application lets go."""

    __slots__ = (
        "_closing", "_collected", "_opened", "_queueing", "clock", "info", "ledger", "setup",
        "watched",
    )  # fmt: skip

    def __init__(self, pool: Pool, watched: WatchedPool, info: Info, setup: Setup) -> None:
        self.watched: Final = watched
        self.clock: Final = watched.clock
        self.info: Final = info
        self.setup: Final = setup
        self.ledger: Final = watched.new_ledger(limits_of(pool), info, setup)
        self._queueing: Final = Queueing(watched, self.ledger)
        # By caller: of the attempt in flight the record that had to be opened; and the record
        # whose connection is closed next.
        self._opened: dict[int, int] = {}
        self._closing: dict[int, weakref.ref[Any]] = {}
        self._collected = weakref.ref(pool, self._on_collected)
        watched.add_pool(self.ledger)
        _hooks_by_pool[pool] = self
        for name in PUT_OVER:
            put_over(pool, name, getattr(self, f"_over_{name.strip('_')}"))
        for name in INSTEAD:
            put_instead(pool, name, getattr(PoolHooks, f"_{name.strip('_')}"), self)
        self._queueing.put_over(pool)
        if pool._pre_ping or pool.dispatch.checkout:
            self.see_taken()
        self._adopt(existing_records(pool, scan=watched.first_of_name))

    def unhook(self, pool: Pool) -> None:
        for name in (*PUT_OVER, *INSTEAD, "_do_get"):
            take_off(pool, name, self)
        self._queueing.take_off(pool)
        _hooks_by_pool.pop(pool, None)
        self._closing.clear()
        records.forget(self)

    # What is put over the pool's methods

    def _over_connect(self, original: Callable[[], Any]) -> Callable[[], Any]:
        clock, ledger, waited = self.clock, self.ledger, self._queueing.ended
        pool: Any = self._collected()
        dispatch, silent = pool.dispatch, pool.dispatch.checkout
        of_class = silent.parent_listeners

        def connect() -> Any:
            nonlocal silent, of_class
            if dispatch.checkout is not silent or of_class:
                silent, of_class = dispatch.checkout, ()
                self.see_taken()
            started = clock()
            if started >= ledger.calm_until:
                self.look_if_due(started)
            try:
                proxied = original()
            except BaseException as error:
                self.failed(error, started)
                raise
            try:
                record = proxied._connection_record
                if waited or self._opened or record is None:
                    self.attended(proxied, started)
                else:
                    who = ledger.begin(id(record), started, record.fairy_ref)
                    if who is not None:
                        self.served(proxied, started, who)
            except Exception:
                self.cannot_begin(proxied, started)
            return proxied

        return connect

    def _over_do_return_conn(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        clock, ledger = self.clock, self.ledger

        def do_return_conn(record: Any) -> None:
            # Before the pool has it: another thread may take it at once.
            try:
                if (
                    self._opened
                    or record.dbapi_connection is None
                    or not ledger.end(id(record), clock())
                ):
                    self.returned(record)
            except Exception:
                report("PoolHooks.returned")
            original(record)

        return do_return_conn

    # What is called instead of methods that are seldom called

    def _do_get(self, _: Pool, original: Callable[[], Any]) -> Any:
        record = original()
        self.taken(record)
        return record

    def _invoke_creator(self, _: Pool, original: Callable[[Any], Any], record: Any) -> Any:
        attempt, started = next(_attempts), self.clock()
        self.opening(attempt, started)
        try:
            connection = original(record)
        except BaseException:
            self.open_failed(attempt, started)
            raise
        self.opened(attempt, record, started)
        return connection

    def _close_connection(
        self, _: Pool, original: Callable[..., None], connection: Any, **how: Any
    ) -> None:
        self.closed(connection)
        original(connection, **how)

    def _recreate(self, _: Pool, original: Callable[[], Pool]) -> Pool:
        pool = original()
        self.replaced(pool)
        return pool

    # What is recorded

    @harmless
    def look_if_due(self, now: float) -> None:
        self.ledger.look_if_due(now)

    @harmless
    def see_taken(self) -> None:
        """
        See when a connection is taken: where it is tested, or listeners get it, before the caller.

        Elsewhere the caller has it as soon as it is taken.
        """
        pool = self._collected()
        if not is_over(pool, "_do_get", self):
            put_instead(pool, "_do_get", PoolHooks._do_get, self)

    def attended(self, proxied: Any, started: float) -> None:
        """An attempt has ended well, for which somebody waited or opened, maybe its own caller."""
        waited, who, record = self._queueing.ended.pop(caller(), None), None, None
        if waited is not None:
            self.ledger.waited(waited.seconds)
            who = waited.who
        if caller() not in self._opened:
            record = proxied._connection_record
        if record is None:
            who = who or self.ledger.ask()
        else:
            who = self.ledger.begin(id(record), started, record.fairy_ref, 3, who)
        if who is not None:
            self.served(proxied, started, who)

    def cannot_begin(self, proxied: Any, started: float) -> None:
        report("PoolHooks.begin")
        self.served(proxied, started, somebody())

    @harmless
    def served(self, proxied: Any, started: float, who: Who) -> None:
        now, opened = self.clock(), self._opened.pop(caller(), None)
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
        waited, opened = (
            self._queueing.ended.pop(caller(), None), self._opened.pop(caller(), None),
        )  # fmt: skip
        if waited is None:
            self.ledger.ask()
        if opened is not None:
            # Nobody has it: SQLAlchemy drops what it opened for an attempt that fails.
            self.ledger.closed(opened, now)
        outcome = _outcome(error)
        queued = waited.seconds if waited is not None else None
        self.ledger.finished(outcome, now - started, queued)
        if outcome == cells.TIMEOUT:
            self.watched.timed_out(now)

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
            self.watched.pool_gone(self.ledger)
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
    def replaced(self, pool: Pool) -> None:
        """The pool takes no new callers, the new one does; connections that are out come back."""
        self.watched.follow_fork()
        self.ledger.retired(self.clock())
        PoolHooks(pool, self.watched, self.info, self.setup).ledger.replace(self.ledger)

    def _adopt(self, found: Iterable[Any]) -> None:
        for record in found:
            records.track(record, self)
            back = record.fairy_ref if record.in_use else KEPT
            self.ledger.adopted(id(record), self.clock(), record.in_use, back)

    @harmless
    def _on_collected(self, _: object) -> None:
        self.watched.pool_gone(self.ledger)


def _outcome(error: BaseException) -> int:
    if isinstance(error, exc.TimeoutError):
        return cells.TIMEOUT
    return cells.ERROR if isinstance(error, Exception) else cells.CANCELLED

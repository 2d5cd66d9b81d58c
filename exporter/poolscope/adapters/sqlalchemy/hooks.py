"""Replaces the methods of a SQLAlchemy pool, and restores them."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

import sqlalchemy
from sqlalchemy.pool import Pool

from poolscope.adapters.patches import is_patched_by, replace_method, restore_method, wrap_method
from poolscope.adapters.sqlalchemy import records
from poolscope.adapters.sqlalchemy.names import namer_of
from poolscope.adapters.sqlalchemy.pools import config_of, existing_records
from poolscope.adapters.sqlalchemy.recording import PoolRecording
from poolscope.errors import harmless, report
from poolscope.ledger.holds import ALWAYS_HELD
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.report import Info
from poolscope.watching.hooks import Hooks
from poolscope.watching.watched_pool import WatchedPool

# Checked with SQLAlchemy 2.0.0, 2.0.58 and 2.1.9:
#   Pool.dispatch.checkout, with parent_listeners, Pool._pre_ping
#   Pool._do_get() -> record, Pool._do_return_conn(record), Pool._invoke_creator(record)
#   Pool._close_connection(connection, *, terminate=False)
#   _ConnectionRecord.fairy_ref, a weak reference to the caller's proxy
WRAPPED_METHODS: Final = ("connect", "_do_return_conn")
REPLACED_METHODS: Final = ("recreate", "_invoke_creator", "_close_connection")

hooks_by_pool: weakref.WeakKeyDictionary[Pool, PoolHooks] = weakref.WeakKeyDictionary()
_attempts = itertools.count()


class EngineHooks(Hooks):
    """The hooks of an engine's pool and of the pools that replace it: `dispose` makes a new one."""

    __slots__ = ("_namer", "_watched", "config", "info")

    def __init__(self, pool: Pool, watched: WatchedPool) -> None:
        self.info = Info(
            type(pool).__name__,
            # The dialect of a bare pool is a stub without a driver.
            getattr(pool._dialect, "driver", ""),
            sqlalchemy.__version__,
        )
        self.config = config_of(pool)
        records.listen()
        PoolHooks(pool, watched, self.info, self.config)
        self._watched = watched
        self._namer = namer_of(pool, watched)

    def unhook(self) -> None:
        if self._namer is not None:
            self._namer.stop()
        for pool, hooks in list(hooks_by_pool.items()):
            if hooks.watched is self._watched:
                hooks.unhook(pool)
        if not hooks_by_pool:
            records.stop_listening()


class PoolHooks(PoolRecording):
    """The hooks of one pool object."""

    __slots__ = ()

    def __init__(self, pool: Pool, watched: WatchedPool, info: Info, config: PoolConfig) -> None:
        super().__init__(pool, watched, info, config)
        watched.add_pool(self.ledger)
        hooks_by_pool[pool] = self
        for name in WRAPPED_METHODS:
            wrap_method(pool, name, getattr(self, f"_wrap_{name.strip('_')}"), self)
        for name in REPLACED_METHODS:
            replace_method(pool, name, getattr(PoolHooks, f"_{name.strip('_')}"), self)
        self._wait_tracker.hook(pool)
        if pool._pre_ping or pool.dispatch.checkout:
            self.watch_checkout()
        self._adopt(existing_records(pool))

    def unhook(self, pool: Pool) -> None:
        for name in (*WRAPPED_METHODS, *REPLACED_METHODS, "_do_get"):
            restore_method(pool, name, self)
        self._wait_tracker.unhook(pool)
        hooks_by_pool.pop(pool, None)
        self._closing.clear()
        records.forget(self)

    # Wrappers of the pool's methods, for every use of a connection

    def _wrap_connect(self, original: Callable[[], Any]) -> Callable[[PoolHooks], Any]:
        clock, ledger, waited = self.clock, self.ledger, self._wait_tracker.ended
        pool: Any = self._collected()
        dispatch, known_listeners = pool.dispatch, pool.dispatch.checkout
        of_class = known_listeners.parent_listeners

        def connect(self: PoolHooks) -> Any:
            nonlocal known_listeners, of_class
            if dispatch.checkout is not known_listeners or of_class:
                known_listeners, of_class = dispatch.checkout, ()
                self.watch_checkout()
            started = clock()
            if started >= ledger.fast_until:
                self.check_if_due(started)
            try:
                proxied = original()
            except BaseException as error:
                self.failed(error, started)
                raise
            try:
                record = proxied._connection_record
                if waited or self._opened or record is None:
                    self.served_after_wait(proxied, started)
                else:
                    who = ledger.begin(id(record), started, record.fairy_ref)
                    if who is not None:
                        self.served(proxied, started, who)
            except Exception:
                self.begin_failed(proxied, started)
            return proxied

        return connect

    def _wrap_do_return_conn(
        self, original: Callable[[Any], None]
    ) -> Callable[[PoolHooks, Any], None]:
        clock, ledger = self.clock, self.ledger

        def do_return_conn(self: PoolHooks, record: Any) -> None:
            # Recorded before the pool has it back, because another thread may take it at once.
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

    # Called instead of methods that are seldom called

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

    # Changes of the hooks

    @harmless
    def watch_checkout(self) -> None:
        """
        Watch `_do_get` too, for a pool that pings or whose `checkout` event has listeners.

        There a connection is in use before the caller gets it; elsewhere the two are the same.
        """
        pool = self._collected()
        if not is_patched_by(pool, "_do_get", self):
            replace_method(pool, "_do_get", PoolHooks._do_get, self)

    @harmless
    def replaced(self, pool: Pool) -> None:
        """A new pool serves all new callers; connections in use still return to this one."""
        self.watched.follow_fork()
        self.ledger.retired(self.clock())
        PoolHooks(pool, self.watched, self.info, self.config).ledger.replace(self.ledger)

    def _adopt(self, existing: Iterable[Any]) -> None:
        for record in existing:
            records.track(record, self)
            holder_ref = record.fairy_ref if record.in_use else ALWAYS_HELD
            self.ledger.adopted(id(record), self.clock(), record.in_use, holder_ref)

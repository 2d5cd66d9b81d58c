"""Puts hooks into a SQLAlchemy pool and the pools that replace it, and takes them out again."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Final

import sqlalchemy
from sqlalchemy.pool import Pool

from poolscope.adapters.channels import unwatch_channels
from poolscope.adapters.classes import unwatch_object, watch_object
from poolscope.adapters.sqlalchemy import records
from poolscope.adapters.sqlalchemy.classes import METHODS, METHODS_WITH_CHECKOUT, PROPERTIES
from poolscope.adapters.sqlalchemy.names import Namer, namer_of
from poolscope.adapters.sqlalchemy.pools import (
    config_of,
    counts_slots,
    driver_connection,
    existing_records,
)
from poolscope.adapters.sqlalchemy.recording import PoolRecording
from poolscope.callsites.libraries import Library
from poolscope.errors import harmless
from poolscope.ledger.open_holds import ALWAYS_HELD
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.report import Info
from poolscope.watching.hooks import Hooks
from poolscope.watching.watched_pool import WatchedPool

# Checked with SQLAlchemy 2.0.0, 2.0.58 and 2.1.9:
#   Pool.dispatch.checkout, with parent_listeners, Pool._pre_ping
#   Pool._do_get() -> record, Pool._do_return_conn(record), Pool._invoke_creator(record)
#   Pool._close_connection(connection, *, terminate=False)
#   _ConnectionRecord.fairy_ref, a weak reference to the caller's proxy
#   AsyncSession.sync_session, AsyncConnection.sync_connection, AsyncTransaction.sync_transaction,
#     Session._transaction, SessionTransaction._parent, ._connections,
#     Connection._dbapi_connection, _ConnectionFairy._connection_record

LIBRARY: Final = Library(
    "sqlalchemy",
    (
        *("sync_session", "sync_connection", "sync_transaction", "_transaction", "_parent"),
        *("_connections", "_dbapi_connection", "_connection_record"),
    ),
)

hooks_by_pool: weakref.WeakKeyDictionary[Pool, PoolHooks] = weakref.WeakKeyDictionary()


class EngineHooks(Hooks):
    """The hooks of an engine's pool and of the pools that replace it: `dispose` makes a new one."""

    __slots__ = ("_namer", "_watched", "config", "info")

    library = LIBRARY

    def __init__(self, pool: Pool, watched: WatchedPool) -> None:
        self.info = Info(
            type(pool).__name__,
            # The dialect of a bare pool is a stub without a driver.
            getattr(pool._dialect, "driver", ""),
            sqlalchemy.__version__,
        )
        self.config = config_of(pool)
        self._watched = watched
        self._namer: Namer | None = None
        try:
            records.listen()
            PoolHooks(pool, watched, self.info, self.config)
            self._namer = namer_of(pool, watched)
        except BaseException:
            self.unhook()
            raise

    def find_abandoned(self) -> None:
        # Events tell of abandoned connections; this makes sure that none was interrupted.
        records.find_collected()
        for _, hooks in self._own_hooks():
            hooks.find_lost_slots()

    def unhook(self) -> None:
        if self._namer is not None:
            self._namer.stop()
        for pool, hooks in self._own_hooks():
            hooks.unhook(pool)
        if not hooks_by_pool:
            records.stop_listening()

    def _own_hooks(self) -> Iterator[tuple[Any, PoolHooks]]:
        """Yield the pools of this watch with their hooks; others may be added meanwhile."""
        for reference in hooks_by_pool.keyrefs():  # one step, unlike `items`
            pool = reference()
            hooks = hooks_by_pool.get(pool) if pool is not None else None
            if hooks is not None and hooks.watched is self._watched:
                yield pool, hooks


class PoolHooks(PoolRecording):
    """The hooks of one pool object."""

    __slots__ = ()

    def __init__(self, pool: Any, watched: WatchedPool, info: Info, config: PoolConfig) -> None:
        """If this fails, the pool is left as it was."""
        super().__init__(pool, watched, info, config)
        watched.add_pool(self.ledger)
        try:
            hooks_by_pool[pool] = self
            pool._poolscope_hooks = self
            pool._poolscope_listeners = pool.dispatch.checkout
            watch_object(pool, METHODS, PROPERTIES)
            self._wait_tracker.hook(pool)
            if pool._pre_ping or pool.dispatch.checkout:
                self.watch_checkout(pool)
            self._adopt(existing_records(pool))
            if counts_slots(pool):
                self._missing_slots.begin(functools.partial(self._count_missing, pool))
        except BaseException:
            self.unhook(pool)
            raise

    def unhook(self, pool: Pool) -> None:
        hooks_by_pool.pop(pool, None)
        unwatch_object(pool)
        self._wait_tracker.unhook(pool)
        for record in existing_records(pool):
            unwatch_channels(driver_connection(pool, record.dbapi_connection))
        self._closing.clear()
        records.forget(self)

    @harmless
    def watch_checkout(self, pool: Any) -> None:
        """
        Watch `_do_get` too, for a pool that pings or whose `checkout` event has listeners.

        There a connection is in use before the caller gets it; elsewhere the two are the same.
        """
        pool._poolscope_listeners, self.of_all_pools = pool.dispatch.checkout, ()
        watch_object(pool, METHODS_WITH_CHECKOUT, PROPERTIES)

    @harmless
    def replaced(self, pool: Pool) -> None:
        """A new pool serves all new callers; connections in use still return to this one."""
        self.watched.follow_fork()
        self.ledger.retired(self.clock())
        PoolHooks(pool, self.watched, self.info, self.config).ledger.replace(self.ledger)

    def _adopt(self, existing: Iterable[Any]) -> None:
        for record in existing:
            records.track(record, self)
            self.learn_loop(record)
            holder_ref = record.fairy_ref if record.in_use else ALWAYS_HELD
            self.ledger.adopted(id(record), self.clock(), record.in_use, holder_ref)
            self.watch_channels(record, record.dbapi_connection)

"""Gives a watched asyncpg pool and its holders their classes, and takes them away again."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable
from typing import Any, Final

from poolscope.adapters.asyncpg.classes import HOLDER_METHODS, POOL_METHODS, HolderList
from poolscope.adapters.asyncpg.recording import PoolRecording, hooks_by_pool_id
from poolscope.adapters.channels import unwatch_channels
from poolscope.adapters.classes import unwatch_object, watch_object
from poolscope.callsites.libraries import Library
from poolscope.errors import harmless
from poolscope.watching.watched_pool import WatchedPool

# Checked with asyncpg 0.29.0 to 0.32.0: PoolAcquireContext.connection; PoolConnectionProxy,
#   PoolConnectionHolder._con; Transaction, PreparedStatement, Cursor._connection;
#   PoolConnectionHolder._pool
LIBRARY: Final = Library("asyncpg", ("connection", "_con", "_connection"))


class PoolHooks(PoolRecording):
    """The hooks of one pool."""

    library = LIBRARY

    def __init__(self, pool: Any, watched: WatchedPool) -> None:
        """If this fails, the pool is left as it was."""
        super().__init__(pool, watched)
        watched.add_pool(self.ledger)
        try:
            hooks_by_pool_id[id(pool)] = self
            watch_object(pool, POOL_METHODS)
            self._keep_holders(pool, pool._holders)
            for holder in pool._holders:
                watch_object(holder, HOLDER_METHODS)
                if holder.is_connected():
                    self._adopt(holder)
            if pool._holders:
                self._missing_slots.begin(self.missing_counter(pool._holders))
        except BaseException:
            self._unhook(pool)
            raise

    def unhook(self) -> None:
        hooks_by_pool_id.pop(self._pool_id, None)
        pool = self._find_pool()
        if pool is not None:
            self._unhook(pool)

    def _find_pool(self) -> Any:
        """Return the pool, which takes no weak reference; None if it is gone."""
        for holder in self.holders() or ():
            if id(holder._pool) == self._pool_id:
                return holder._pool
        # It has not been opened: it is searched for by its id.
        return next((each for each in gc.get_objects() if id(each) == self._pool_id), None)

    def _unhook(self, pool: Any) -> None:
        hooks_by_pool_id.pop(self._pool_id, None)
        unwatch_object(pool)
        pool._holders = list(pool._holders)
        for holder in pool._holders:
            unwatch_object(holder)
            if holder.is_connected():
                holder._con.remove_termination_listener(self.terminated)
                unwatch_channels(holder._con)

    def _keep_holders(self, pool: Any, holders: Iterable[Any]) -> None:
        """Let the pool keep its holders in a list that takes weak references."""
        pool._holders = kept = HolderList(self, holders)
        self.holders = weakref.ref(kept)

    @harmless
    def expect_holders(self, pool: Any) -> None:
        self._keep_holders(pool, ())

    @harmless
    def watch_holder(self, holder: Any) -> None:
        watch_object(holder, HOLDER_METHODS)

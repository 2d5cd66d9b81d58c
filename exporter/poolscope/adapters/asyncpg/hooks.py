"""Gives a watched asyncpg pool and its holders their classes, and takes them away again."""

from __future__ import annotations

import gc
from typing import Any

from poolscope.adapters.asyncpg.classes import HolderList, watched_holder_class, watched_pool_class
from poolscope.adapters.asyncpg.recording import PoolRecording, hooks_by_pool_id
from poolscope.errors import harmless
from poolscope.watching.watched_pool import WatchedPool


class PoolHooks(PoolRecording):
    """The hooks of one pool."""

    def __init__(self, pool: Any, watched: WatchedPool) -> None:
        super().__init__(pool, watched)
        watched.add_pool(self.ledger)
        hooks_by_pool_id[id(pool)] = self
        pool.__class__ = watched_pool_class(pool.__class__)
        for holder in pool._holders:
            self.watch_holder(holder)
            if holder.is_connected():
                self._adopt(holder)

    def unhook(self) -> None:
        hooks_by_pool_id.pop(self._pool_id, None)
        # A pool takes no weak reference, so it is searched for by its id.
        for pool in gc.get_objects():
            if id(pool) == self._pool_id:
                self._restore_classes(pool)
                break

    @harmless
    def expect_holders(self, pool: Any) -> None:
        pool._holders = HolderList(self)

    @harmless
    def watch_holder(self, holder: Any) -> None:
        holder.__class__ = watched_holder_class(holder.__class__)

    def _restore_classes(self, pool: Any) -> None:
        pool.__class__ = type(pool).__base__
        pool._holders = list(pool._holders)
        for holder in pool._holders:
            holder.__class__ = type(holder).__base__
            if holder.is_connected():
                holder._con.remove_termination_listener(self.terminated)

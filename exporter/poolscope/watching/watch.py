"""What `poolscope.watch` returns."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

from poolscope.readings.findings import Finding
from poolscope.readings.holders import Hold, holds_of, longest_first
from poolscope.readings.snapshot import Snapshot, snapshot_of
from poolscope.watching.watched_pool import WatchedPool


class Watch:
    """
    A pool that is watched, as returned by `poolscope.watch`.

    It does not keep the pool alive, and returns a snapshot also after the pool was collected. As a
    context manager it calls `unwatch` at the end of the block.
    """

    __slots__ = ("__weakref__", "_pool")

    def __init__(self, pool: WatchedPool) -> None:
        self._pool = pool
        pool.handle = self

    def of(self, pool: WatchedPool) -> Self:
        """Return this watch, which is of that pool from now on."""
        self._pool = pool
        pool.handle = self
        return self

    def __repr__(self) -> str:
        return f"<poolscope.Watch {self.name!r} ({self.kind})>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unwatch()

    @property
    def name(self) -> str:
        """The value of the label `pool`."""
        return self._pool.name

    @property
    def kind(self) -> str:
        """The value of the label `kind`: the package of the pool's library, such as `asyncpg`."""
        return self._pool.kind

    def snapshot(self) -> Snapshot:
        """
        Return one consistent reading of the pool.

        After the pool was closed its gauges are 0 and its counters keep their last values.
        """
        return snapshot_of(self.name, self.kind, self._pool.read())

    def holders(self) -> list[Hold]:
        """Return the holders of the pool's connections; the longest hold comes first."""
        return longest_first(holds_of(self.name, self.kind, self._pool.holders(), os.getpid()))

    def findings(self) -> list[Finding]:
        """
        Return the known mistakes that pools of this name show, the most severe first.

        Each is explained in a page of docs/findings.
        """
        return list(self._pool.findings())

    def unwatch(self) -> None:
        """
        Remove all hooks from the pool, and its series from the registry.

        Calling it again does nothing. If other pools share the name, the series keep what this one
        has counted, because a counter must not fall.
        """
        self._pool.unwatch()

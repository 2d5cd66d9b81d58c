"""The base class of the hooks that an adapter puts into a pool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable
from typing import ClassVar

from poolscope.callsites.libraries import Library
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.report import Info


class Hooks(ABC):
    """The hooks of one pool."""

    __slots__ = ()

    info: Info
    config: PoolConfig
    library: ClassVar[Library]

    @abstractmethod
    def unhook(self) -> None:
        """Remove the hooks: the pool is then as it was before the watch."""

    def find_abandoned(self) -> None:
        """Find connections that nobody can return, where no event reports that; tell the ledger."""
        return

    def find_dropped(self, keys: frozenset[Hashable]) -> Collection[Hashable]:
        """
        Return which of these connections in use their holders have dropped, where no event reports
        that; tell the ledger of those that nobody can return.
        """
        return frozenset()

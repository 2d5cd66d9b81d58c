"""What an adapter has put into a pool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from poolscope.readings.hosts import HostReading
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.report import Info


class Hooks(ABC):
    """What an adapter has put into one pool, to be taken out again."""

    __slots__ = ()

    info: Info
    config: PoolConfig

    @abstractmethod
    def unhook(self) -> None:
        """Leave the pool as it was found."""

    def hosts(self) -> Sequence[HostReading]:
        """Return the connections by host, busiest first; empty where there are no hosts."""
        return ()

    def find_abandoned(self) -> None:
        """Tell the ledger what is out and can be returned by nobody, where no event does."""
        return

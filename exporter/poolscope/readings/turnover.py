"""Pools that came and went: whether the code makes one for each request or job."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

MANY_POOLS: Final = 20
FEW_ACQUIRES: Final = 10.0
"""For each pool; one that is shared serves hundreds."""

SHORT_LIFE: Final = 60.0
"""Seconds. A request takes less; a pool that lives longer is one of a tenant or a worker."""

PERIOD: Final = 3600.0
"""Seconds within which so many pools must have ended; a job that runs each hour makes fewer."""

MAX_KNOWN_LINES: Final = 1000
"""How many lines are told apart; further ones are not looked at."""


class Turnover:
    """
    How many pools of one name have ended within `PERIOD` in this process, soon after they were
    watched, and how many callers these have served, by the line that watched them.

    A pool that lives does not count, nor does a process: many shards, tenants and workers may have
    a pool each, and a job that runs in a process of its own may make one.
    """

    __slots__ = ("_ended",)

    def __init__(self) -> None:
        # The clock when the period began, pools and callers.
        self._ended: dict[Hashable, tuple[float, int, float]] = {}

    def add(self, line: Hashable, acquired: float, since: float, now: float) -> None:
        """A pool has ended at the clock's `now`, which was watched `since` and served so many."""
        if now - since > SHORT_LIFE:
            return
        if line in self._ended or len(self._ended) < MAX_KNOWN_LINES:
            begun, pools, callers = self._ended.get(line, (now, 0, 0.0))
            if now - begun > PERIOD:
                begun, pools, callers = now, 0, 0.0
            self._ended[line] = begun, pools + 1, callers + acquired

    def is_high(self, line: Hashable) -> bool:
        """Whether many pools of a line have ended, each of which served few callers."""
        _, pools, callers = self._ended.get(line, (0.0, 0, 0.0))
        return pools >= MANY_POOLS and callers < FEW_ACQUIRES * pools

    def copy(self) -> Turnover:
        copy = Turnover()
        copy._ended = self._ended.copy()
        return copy

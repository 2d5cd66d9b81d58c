"""Pools that came and went: whether the code makes one for each request or job."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

MANY_POOLS: Final = 20
FEW_ACQUIRES: Final = 10.0
"""For each pool; one that is shared serves hundreds."""

MAX_KNOWN_LINES: Final = 1000
"""How many lines are told apart; further ones are not looked at."""


class Turnover:
    """
    How many pools of one name have ended in this process, and how many callers these have served,
    by the line that watched them.

    A pool that lives does not count, nor does a process: many shards, tenants and workers may have
    a pool each, and a job that runs in a process of its own may make one.
    """

    __slots__ = ("_ended",)

    def __init__(self) -> None:
        self._ended: dict[Hashable, tuple[int, float]] = {}

    def add(self, line: Hashable, acquired: float) -> None:
        """A pool has ended, which served that many callers."""
        if line in self._ended or len(self._ended) < MAX_KNOWN_LINES:
            pools, callers = self._ended.get(line, (0, 0.0))
            self._ended[line] = pools + 1, callers + acquired

    def is_high(self, line: Hashable) -> bool:
        """Whether many pools of a line have ended, each of which served few callers."""
        pools, callers = self._ended.get(line, (0, 0.0))
        return pools >= MANY_POOLS and callers < FEW_ACQUIRES * pools

    def copy(self) -> Turnover:
        copy = Turnover()
        copy._ended = self._ended.copy()
        return copy

"""The pools as the exporter shows them: the sums of all workers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FoundMistake:
    """A finding of a pool, with the lines of the application that make the mistake."""

    rule: str
    severity: str
    message: str
    sites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PoolRow:
    """
    The numbers of a pool, and what was found.

    limit: math.inf if there is none.
    leaked: connections that are out now and overdue, abandoned or both.
    in_use_seconds, waiting_seconds: sums over connections and callers.
    """

    name: str
    kind: str
    limit: float = math.inf
    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    in_use_peak: int = 0
    leaked: int = 0
    acquired: int = 0
    waited: int = 0
    timed_out: int = 0
    reused: int = 0
    in_use_seconds: float = 0.0
    waiting_seconds: float = 0.0
    findings: tuple[FoundMistake, ...] = ()

    @property
    def utilization(self) -> float:
        """The share of the limit that is in use, from 0 to 1; 0 without a limit."""
        return min(1.0, self.in_use / self.limit) if self.limit else 0.0


def rows_of(document: Mapping[str, Any]) -> list[PoolRow]:
    """Return the pools in an answer of /api/v1/pools."""
    return [_row(pool) for pool in document["pools"]]


def _row(pool: Mapping[str, Any]) -> PoolRow:
    counts = (
        *("in_use", "idle", "waiting", "in_use_peak"),
        *("acquired", "waited", "timed_out", "reused"),
    )
    return PoolRow(
        name=pool["pool"],
        kind=pool["kind"],
        limit=math.inf if pool["limit"] is None else pool["limit"],
        leaked=sum(hold["overdue"] or hold["abandoned"] for hold in pool["holders"]),
        in_use_seconds=pool["in_use_seconds"],
        waiting_seconds=pool["waiting_seconds"],
        findings=tuple(
            FoundMistake(f["rule"], f["severity"], f["message"], tuple(f["sites"]))
            for f in pool["findings"]
        ),
        **{name: int(pool[name]) for name in counts},
    )

"""What the screen shows of the pools: their numbers, and what changed since the last look."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from poolscope.readings.findings import SEVERITIES
from poolscope.terminal.sources import Counts, Key, Numbers

KEPT_SECONDS: Final = 60.0
"""How far back the small trend of each pool goes."""

Order = Literal["fullest", "waiting", "name", "rate"]
ORDERS: Final[tuple[Order, ...]] = ("fullest", "waiting", "rate", "name")


@dataclass(frozen=True, slots=True)
class PoolRow:
    """
    One pool, of all processes.

    limit: None if there is none. utilization: of the fullest process, 0 to 1.
    leaked: connections that are overdue, abandoned or both.
    rate, timeouts: acquires and time-outs each second since the last look; None at the first one.
    acquire, hold: the durations in seconds that half and 99 % of those since the last look were
        within; None without any.
    trend: the share of the limit in use at each look of the last minute, the oldest first.
    raw: what the exporter says of it.
    """

    pool: str
    kind: str
    in_use: int
    idle: int
    waiting: int
    limit: int | None
    utilization: float
    oldest_wait: float
    oldest_hold: float
    leaked: int
    rate: float | None = None
    timeouts: float | None = None
    acquire: tuple[float, float] | None = None
    hold: tuple[float, float] | None = None
    trend: tuple[float, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return self.limit is not None and self.in_use >= self.limit > 0

    @property
    def findings(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.raw["findings"]
        return sorted(found, key=lambda each: SEVERITIES.index(each["severity"]))

    @property
    def key(self) -> Key:
        return self.pool, self.kind


class Model:
    """Keeps the last look, to compare the next one with it."""

    def __init__(self) -> None:
        self.rows: list[PoolRow] = []
        self.numbers: Numbers | None = None
        self.at = -math.inf
        self._trends: defaultdict[Key, deque[tuple[float, float]]] = defaultdict(deque)

    def update(self, numbers: Numbers, now: float) -> None:
        """Take another look, at a time in seconds."""
        before, seconds = self.numbers, now - self.at
        last = {row.key: row.raw for row in self.rows}
        rows = []
        for raw in numbers.document["pools"]:
            key = raw["pool"], raw["kind"]
            changed = _changes(last.get(key), raw, seconds) if before is not None else {}
            if before is not None:
                changed["acquire"] = _quantiles(before.acquires.get(key), numbers.acquires.get(key))
                changed["hold"] = _quantiles(before.holds.get(key), numbers.holds.get(key))
            rows.append(_row(raw, self._trend(key, raw, now), **changed))
        known = {row.key for row in rows}
        for key in self._trends.keys() - known:
            del self._trends[key]
        self.rows, self.numbers, self.at = rows, numbers, now

    def _trend(self, key: Key, raw: Mapping[str, Any], now: float) -> tuple[float, ...]:
        trend = self._trends[key]
        trend.append((now, _share(raw)))
        while trend[0][0] < now - KEPT_SECONDS:
            trend.popleft()
        return tuple(share for _, share in trend)

    def sorted_rows(self, order: Order = "fullest", words: str = "") -> list[PoolRow]:
        """Return the rows whose pool, kind, holders or findings have all of the words."""
        wanted = words.lower().split()
        rows = [row for row in self.rows if all(word in _text(row) for word in wanted)]
        return sorted(rows, key=lambda row: (_rank(row, order), row.pool, row.kind))


def _rank(row: PoolRow, order: Order) -> tuple[float, ...]:
    if order == "name":
        return ()
    if order == "rate":
        return (-(row.rate or 0.0),)
    if order == "waiting":
        return -row.waiting, -row.utilization
    return -row.utilization, -row.waiting


def _text(row: PoolRow) -> str:
    """Return what a filter looks at."""
    holders = [f"{each['site']} {each['operation']} {each['owner']}" for each in row.raw["holders"]]
    rules = [each["rule"] for each in row.raw["findings"]]
    return "\n".join((row.pool, row.kind, *holders, *rules)).lower()


def _row(raw: Mapping[str, Any], trend: tuple[float, ...], **changed: Any) -> PoolRow:
    limit = raw["limit"]
    return PoolRow(
        pool=raw["pool"],
        kind=raw["kind"],
        in_use=int(raw["in_use"]),
        idle=int(raw["idle"]),
        waiting=int(raw["waiting"]),
        limit=int(limit) if limit is not None else None,
        utilization=max(float(raw["utilization_max"]), _share(raw)),
        oldest_wait=float(raw["oldest_wait_seconds"]),
        oldest_hold=float(raw["oldest_hold_seconds"]),
        leaked=_leaked(raw),
        trend=trend,
        raw=raw,
        **changed,
    )


def _leaked(raw: Mapping[str, Any]) -> int:
    both = sum(hold["overdue"] and hold["abandoned"] for hold in raw["holders"])
    return int(raw["overdue"] + raw["abandoned"] - both)


def _share(raw: Mapping[str, Any]) -> float:
    limit = raw["limit"]
    return min(1.0, raw["in_use"] / limit) if limit else 0.0


def _changes(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    if before is None or seconds <= 0:
        return {}
    acquired = after["acquired"] - before["acquired"]
    timed_out = after["timed_out"] - before["timed_out"]
    if acquired < 0 or timed_out < 0:  # the exporter was started with an empty folder
        return {}
    return {"rate": acquired / seconds, "timeouts": timed_out / seconds}


def _quantiles(before: Counts | None, after: Counts | None) -> tuple[float, float] | None:
    """Return the median and the 99th percentile of the durations in between."""
    if before is None or after is None:
        return None
    counts = [(bound, count - before.get(bound, 0.0)) for bound, count in sorted(after.items())]
    total = counts[-1][1] if counts else 0.0
    if total <= 0 or any(count < 0 for _, count in counts):
        return None
    return _quantile(counts, 0.5 * total), _quantile(counts, 0.99 * total)


def _quantile(counts: Sequence[tuple[float, float]], rank: float) -> float:
    """Return below how many seconds so many are, spread evenly in their bucket."""
    lower, below = 0.0, 0.0
    for bound, count in counts:
        if count >= rank and count > below:
            if bound == math.inf:
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower

"""The public reading of one watch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from poolscope.readings.reading import Reading


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    One consistent reading of a watched pool.

    The fields before `acquired` are gauges at the moment of reading: numbers of connections or
    callers, and ages in seconds. `limit` and `idle_limit` are `math.inf` if there is no limit. The
    fields from `acquired` on are counters since the watch began, or sums in seconds, which never
    decrease.
    """

    name: str
    kind: str
    in_use: int
    idle: int
    opening: int
    waiting: int
    limit: float
    idle_limit: float
    idle_floor: int
    overdue: int
    abandoned: int
    in_use_peak: int
    waiting_peak: int
    oldest_hold_seconds: float
    oldest_wait_seconds: float
    instances: int

    acquired: int
    timed_out: int
    cancelled: int
    failed: int
    waited: int
    gave_up: int
    reused: int
    opened: int
    open_failed: int
    closed: int
    invalidated: int
    nested: int
    leaks_overdue: int
    leaks_abandoned: int
    leaks_recovered: int
    in_use_seconds: float
    waiting_seconds: float
    saturated_seconds: float


_IS_COUNT: Final = {
    field.name: field.type == "int"
    for field in dataclasses.fields(Snapshot)
    if field.name in Reading._fields
}


def snapshot_of(name: str, kind: str, reading: Reading) -> Snapshot:
    """Return a reading as users see it, with counts as whole numbers."""
    values: dict[str, Any] = {
        field: int(getattr(reading, field)) if is_count else getattr(reading, field)
        for field, is_count in _IS_COUNT.items()
    }
    invalidated = int(reading.invalidated_hard + reading.invalidated_soft)
    return Snapshot(name=name, kind=kind, invalidated=invalidated, **values)

"""What a user gets to see of one watch."""

from __future__ import annotations

from dataclasses import dataclass

from poolscope.readings.reading import Reading


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    One consistent reading of a watched pool.

    The first fields are gauges, as of the moment of reading: numbers of connections or callers,
    and ages in seconds. `limit` and `idle_limit` are `math.inf` where there is no limit. From
    `acquired` on they are counters since the watch began, or sums in seconds; none ever falls.
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


def snapshot_of(name: str, kind: str, reading: Reading) -> Snapshot:
    """Return what `reading` says, with whole numbers where only whole numbers can be."""
    return Snapshot(
        name=name,
        kind=kind,
        in_use=int(reading.in_use),
        idle=int(reading.idle),
        opening=int(reading.opening),
        waiting=int(reading.waiting),
        limit=reading.limit,
        idle_limit=reading.idle_limit,
        idle_floor=int(reading.idle_floor),
        overdue=int(reading.overdue),
        abandoned=int(reading.abandoned),
        in_use_peak=int(reading.in_use_peak),
        waiting_peak=int(reading.waiting_peak),
        oldest_hold_seconds=reading.oldest_hold_seconds,
        oldest_wait_seconds=reading.oldest_wait_seconds,
        instances=int(reading.instances),
        acquired=int(reading.acquired),
        timed_out=int(reading.timed_out),
        cancelled=int(reading.cancelled),
        failed=int(reading.failed),
        waited=int(reading.waited),
        reused=int(reading.reused),
        opened=int(reading.opened),
        open_failed=int(reading.open_failed),
        closed=int(reading.closed),
        invalidated=int(reading.invalidated_hard + reading.invalidated_soft),
        nested=int(reading.nested),
        leaks_overdue=int(reading.leaks_overdue),
        leaks_abandoned=int(reading.leaks_abandoned),
        leaks_recovered=int(reading.leaks_recovered),
        in_use_seconds=reading.in_use_seconds,
        waiting_seconds=reading.waiting_seconds,
        saturated_seconds=reading.saturated_seconds,
    )

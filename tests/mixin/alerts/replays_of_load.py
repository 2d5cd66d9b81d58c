"""Replays of unusual loads: pools that are full on purpose, at times, or hardly used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mixin.alerts.estate import DAY, HOUR, Estate, Replay, of, orders

SLOW, EXHAUSTED = "ConnPoolAcquireSlow", "ConnPoolExhausted"


def pool(minutes: int, **measures: Any) -> Estate:
    estate = Estate(minutes)
    estate.pool(orders(), **measures)
    estate.add("up", 1.0, of())
    return estate


def when(times: Callable[[int], bool], value: float, otherwise: float = 0.0) -> Any:
    return lambda minute: value if times(minute) else otherwise


def batch(minute: int) -> bool:
    return minute % HOUR in range(30, 39)


def hourly(minute: int) -> float:
    return float(minute % HOUR == 10)


def every_other(minute: int) -> bool:
    return minute >= 30 and minute % 2 == 0


def two_of_three(minute: int) -> bool:
    return minute >= 30 and minute % 3 != 0


def night(minute: int) -> bool:
    """Return whether a nightly batch runs, which is an hour later from the second night on."""
    day, now = divmod(minute, DAY)
    return now - (HOUR if day else 0) in range(120, 165)


def leak(step: int) -> float:
    """Return the connections in use of a pool of 20 that loses one every four hours."""
    return min(20.0, 4.0 + step / (2 * HOUR))


def leaking(*, overdue: bool) -> Estate:
    """Return three days, in steps of two minutes."""
    estate = Estate(3 * DAY // 2, step=120)
    full: Any = lambda step: leak(step) >= 20.0  # noqa: E731
    estate.pool(
        orders(),
        limit=20.0,
        in_use=leak,
        waiting=when(full, 6.0),
        ok=when(full, 0.0, 120.0),
    )
    if overdue:
        estate.add('leaked{reason="overdue"}', lambda step: leak(step) - 4.0, orders())
    return estate


def many_hosts(dead: str) -> Estate:
    """Return a client of 500 hosts, of which 20 have names of their own; one is dead."""
    estate, labels = Estate(2 * HOUR), {**of(), "pool": "crawl", "kind": "aiohttp"}
    opened = {f"h{number}.example:443": 3.0 for number in range(20)} | {"other": 480 * 3.0}
    for host, each in opened.items():
        failed = 3.0 if host == dead else 0.0
        for outcome, number in (("ok", each - failed), ("error", failed)):
            name = f'host_opened_total{{outcome="{outcome}"}}'
            estate.grow(name, number, {**labels, "host": host})
    for outcome, number in (("ok", 499 * 3.0), ("error", 3.0)):
        estate.grow(f'opened_total{{outcome="{outcome}"}}', number, labels)
    estate.pool(labels, limit=1000.0, in_use=200.0, ok=6000.0, error=3.0)
    return estate


LEAKED = {
    ("ConnPoolNearExhaustion", "warning"): 1,
    ("ConnPoolExhaustionPredicted", "warning"): 1,
    (EXHAUSTED, "critical"): 1,
    (EXHAUSTED, "warning"): 1,
}

REPLAYS = [
    Replay(
        "workers that keep all connections of their pool busy, and for which nobody waits",
        pool(6 * HOUR, in_use=10.0, saturated=1.0, ok=20.0),
    ),
    Replay(
        "a batch whose own tasks fill the pool for nine minutes of each hour",
        pool(6 * HOUR, in_use=when(batch, 10.0, 1.0), saturated=when(batch, 1.0), ok=60.0),
    ),
    Replay(
        "a batch that makes others wait for nine minutes of each hour: it pages each time",
        pool(6 * HOUR, in_use=when(batch, 10.0, 1.0), waiting=when(batch, 5.0), ok=60.0),
        {(EXHAUSTED, "critical"): 6},
    ),
    Replay("a service with one request an hour", pool(2 * DAY, ok=hourly)),
    Replay(
        "a service with one request an hour, which is always slow",
        pool(2 * DAY, ok=hourly, slow=hourly),
        {(SLOW, "warning"): 2},
    ),
    Replay(
        "callers that wait every other minute: one ticket, that stays",
        pool(3 * HOUR, in_use=when(every_other, 9.0, 3.0), waiting=when(every_other, 8.0), ok=300),
        {(EXHAUSTED, "warning"): 1},
    ),
    Replay(
        "callers that wait two of three minutes: one page, that stays",
        pool(
            3 * HOUR, in_use=when(two_of_three, 9.0, 3.0), waiting=when(two_of_three, 8.0), ok=300
        ),
        {(EXHAUSTED, "critical"): 1, (EXHAUSTED, "warning"): 1},
    ),
    Replay(
        "a nightly batch that is an hour later since summer time has ended",
        pool(3 * DAY, limit=20.0, in_use=when(night, 18.0, 2.0), ok=when(night, 60.0, 6.0)),
    ),
    Replay(
        "a pool of one whose holder waits for itself, and times out again and again",
        pool(
            2 * HOUR,
            limit=1.0,
            in_use=when(lambda minute: minute >= 30, 1.0, 0.2),
            waiting=when(lambda minute: minute >= 30, 0.8),
            ok=when(lambda minute: minute >= 30, 0.0, 60.0),
            timeout=when(lambda minute: minute >= 30, 1.6),
            gave_up=when(lambda minute: minute >= 30, 1.6),
        ),
        {
            ("ConnPoolAcquireTimeouts", "critical"): 1,
            ("ConnPoolAcquireTimeouts", "warning"): 1,
            (EXHAUSTED, "warning"): 1,
        },
    ),
    Replay(
        "a leak that grows over three days",
        leaking(overdue=True),
        {
            ("ConnPoolConnectionsOverdue", "warning"): 1,
            **LEAKED,
        },
    ),
    Replay(
        "a leak that grows over three days, of which nothing is said to be overdue",
        leaking(overdue=False),
        LEAKED,
    ),
    Replay(
        "one dead host of 500 that has a name of its own",
        many_hosts("h7.example:443"),
        {("ConnPoolOpenFailures", "warning"): 1},
    ),
    Replay("one dead host of 500 that is one of the others", many_hosts("other")),
]

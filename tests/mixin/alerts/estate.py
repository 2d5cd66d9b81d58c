"""Series of services, pools and exporters, minute by minute, from which replays are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mixin.alerts.replay import alert
from mixin.alerts.simulated_day import Series
from poolscope.mixin.queries import name_of

PARTS: Final = ("_bucket", "_count")
OUTCOMES: Final = ("ok", "error", "timeout", "cancelled")
HOUR: Final = 60
DAY: Final = 24 * HOUR

Each = float | Callable[[int], float | None]
"""A number for each minute, or a function of the minute; None where there is no sample."""


@dataclass
class Estate:
    """
    minutes: how long the replay is: the number of its samples, if they are not a minute apart.
    failed: the minutes in which no scrape succeeds.
    step: the seconds between two scrapes. If they are not 60, read "minute" below as "step".
    """

    minutes: int
    failed: frozenset[int] = frozenset()
    step: int = 60
    series: Series = field(default_factory=dict)

    def add(self, name: str, each: Each, labels: Mapping[str, str]) -> None:
        """Add a series with this value in each minute; the name may have labels of its own."""
        found = [each(minute) if callable(each) else each for minute in range(self.minutes)]
        # Of a scrape that fails, Prometheus knows only that it has failed.
        missing = 0.0 if name == "up" else None
        self.series[_named(name, labels)] = [
            missing if minute in self.failed else value for minute, value in enumerate(found)
        ]

    def grow(self, name: str, each: Each, labels: Mapping[str, str]) -> None:
        """Add a counter that grows so much in each minute; it ends where `each` is None."""
        total, values = 0.0, list[float | None]()
        for minute in range(self.minutes):
            growth = each(minute) if callable(each) else each
            total += growth or 0.0
            values.append(None if growth is None else total)
        self.add(name, lambda minute: values[minute], labels)

    def pool(self, labels: Mapping[str, str], **measures: Any) -> None:
        """
        Add the series of a pool in one target.

        limit, in_use, waiting: means of each minute.
        saturated: the share of the minute in which no connection was free; without it, 1 where
            somebody waits.
        ok, error, timeout, cancelled, slow: attempts in each minute.
        bound: how the bound of 1 second is written.
        gave_up: those that ended while they waited, whatever their outcome.
        """

        def value(name: str, minute: int, default: float = 0.0) -> float | None:
            each = measures.get(name, default)
            found: float | None = each(minute) if callable(each) else each
            return None if measures.get("there", always)(minute) is False else found

        def mean(name: str) -> Callable[[int], float | None]:
            return lambda minute: value(name, minute)

        def seconds(name: str) -> Callable[[int], float | None]:
            return lambda minute: scaled(value(name, minute), self.step)

        def saturated(minute: int) -> float | None:
            waits = value("waiting", minute)
            return scaled(value("saturated", minute, float(bool(waits))), self.step)

        def attempts(minute: int) -> float | None:
            found = [value(name, minute) for name in OUTCOMES]
            return None if None in found else sum(each or 0.0 for each in found)

        def fast(minute: int) -> float | None:
            every, slow = attempts(minute), value("slow", minute)
            return None if every is None or slow is None else every - slow

        self.add("limit", lambda minute: value("limit", minute, 10.0), labels)
        self.add("idle_limit", lambda minute: value("limit", minute, 10.0), labels)
        self.add("instances", lambda minute: value("instances", minute, 1.0), labels)
        self.add("instances_created_total", lambda minute: value("made", minute, 1.0), labels)
        self.add("waiting", mean("waiting"), labels)
        self.grow("in_use_seconds_total", seconds("in_use"), labels)
        self.grow("waiting_seconds_total", seconds("waiting"), labels)
        self.grow("saturated_seconds_total", saturated, labels)
        self.grow("waits_total", mean("waits"), labels)
        self.grow("waits_given_up_total", mean("gave_up"), labels)
        for outcome in OUTCOMES:
            self.grow(f'acquires_total{{outcome="{outcome}"}}', mean(outcome), labels)
        for ended in ("reused_total", "hold_seconds_count{}"):
            self.grow(ended, mean("ok"), labels)
        self.grow("acquire_seconds_count{}", attempts, labels)
        # Prometheus 3 writes all bounds as "1.0", and older versions as the process does.
        bound = measures.get("bound", "1.0")
        self.grow(f'acquire_seconds_bucket{{le="{bound}"}}', fast, labels)


def always(minute: int) -> bool:
    return True


def scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def of(service: str = "shop", instance: str = "shop-1:8000", **more: str) -> dict[str, str]:
    """Return the labels of a target."""
    return {"cluster": "eu", "service": service, "job": service, "instance": instance, **more}


def orders(**labels: str) -> dict[str, str]:
    """Return the labels of the pool `orders` in a target."""
    return {**of(**labels), "pool": "orders", "kind": "asyncpg"}


def _named(name: str, labels: Mapping[str, str]) -> str:
    family, _, own = name.partition("{")
    full = "up"
    if family != full:
        part = next((part for part in PARTS if family.endswith(part)), "")
        full = name_of(family.removesuffix(part)) + part
    inside = [f'{key}="{value}"' for key, value in labels.items()]
    return f"{full}{{{','.join([*inside, *filter(None, [own.removesuffix('}')])])}}}"


@dataclass(frozen=True)
class Replay:
    """
    What happens, and which alerts must fire; all others must not.

    fires: alerts by name and severity, with how many series of each.
    """

    name: str
    estate: Estate
    fires: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def expected(self) -> list[dict[str, Any]]:
        return [alert(*key, count) for key, count in self.fires.items()]

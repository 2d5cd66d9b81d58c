"""When a number is bad: one place for alerts and dashboards."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from poolscope.metrics.pool_families import FAMILIES

ACQUIRE_BUCKETS: Final = next(
    family.buckets for family in FAMILIES if family.name == "connpool_acquire_seconds"
)

DURATION_UNITS: Final = {
    "y": 31_536_000.0,
    "w": 604_800.0,
    "d": 86_400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
}
DURATION: Final = re.compile("".join(f"(?:([0-9]+){unit})?" for unit in DURATION_UNITS), re.ASCII)


class ThresholdError(ValueError):
    """A threshold makes no sense; the message names it, and says what would be right."""


class BurnRate(NamedTuple):
    """
    That too many attempts are slow: for long, so that it matters, and still, so that it is true.

    factor: how many times faster than the objective allows the budget of slow attempts is used up.
    long_window, short_window: over which times it must be.
    """

    factor: float
    long_window: str
    short_window: str


def seconds(duration: str) -> float:
    """Return the seconds of a duration as Prometheus has them; raises ValueError."""
    match = DURATION.fullmatch(duration)
    if not match or not duration:
        raise ValueError(f"{duration!r} is no duration, such as 90s, 5m or 1h30m")
    return sum(
        int(n) * each for n, each in zip(match.groups(), DURATION_UNITS.values(), strict=True) if n
    )


def _field(default: Any, help: str) -> Any:
    """Return a field with a comment, which the command shows for its flag."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """
    Shares are 0 to 1, rates are events in a second, durations are as Prometheus has them.

    Of a pair the warning comes first, the critical one second; dashboards colour by both. Raises
    ThresholdError, also for what could never fire.
    """

    # Pairs that dashboards have too

    utilization: tuple[float, float] = _field(
        (0.8, 0.95),
        "of the connections that a pool allows, the share that is out on average; the second one "
        "is for a single process",
    )
    saturated: tuple[float, float] = _field(
        (0.1, 0.5),
        "of the time, the share in which no connection was free; alerts if callers wait, too",
    )
    waiting: tuple[float, float] = _field((0.1, 1.0), "callers that wait, on average")
    timeouts: tuple[float, float] = _field(
        (0.001, 0.01), "of all attempts to get a connection, the share that gave up"
    )
    acquire_seconds: tuple[float, float] = _field(
        (0.1, 1.0),
        "seconds for getting a connection; what takes longer than the second one is slow to the "
        "objective, which must be a bound of the histogram",
    )
    open_failures: tuple[float, float] = _field(
        (0.01, 0.1),
        "of all connections that were opened, the share that failed; the second one only colours",
    )
    reuse: tuple[float, float] = _field(
        (0.9, 0.5),
        "of all attempts, the share that got an open connection; below the first one is worth "
        "knowing, below the second one a warning",
    )
    leaked: tuple[float, float] = _field(
        (1.0, 1.0), "connections that are overdue, or abandoned; the second one only colours"
    )
    server_used: tuple[float, float] = _field(
        (0.8, 0.95),
        "of the connections that a server accepts, the share that is used; the second one only "
        "colours",
    )
    idle_in_transaction_seconds: tuple[float, float] = _field(
        (60.0, 600.0),
        "seconds for which a connection has done nothing inside of a transaction; the second one "
        "only colours",
    )

    # What else alerts ask

    errors: tuple[float, float] = _field(
        (0.01, 0.1), "of all attempts to get a connection, the share that ended with an error"
    )
    objective: float = _field(0.99, "of all attempts, the share that must not be slow")
    fast_burn: BurnRate = _field(  # noqa: RUF009 - it makes a field
        BurnRate(14.4, "1h", "5m"), "slow attempts that wake somebody"
    )
    steady_burn: BurnRate = _field(  # noqa: RUF009 - it makes a field
        BurnRate(6.0, "6h", "30m"), "fewer, for longer, that do so, too"
    )
    slow_burn: BurnRate = _field(  # noqa: RUF009 - it makes a field
        BurnRate(3.0, "1d", "2h"), "slow attempts for a ticket"
    )
    creeping_burn: BurnRate = _field(  # noqa: RUF009 - it makes a field
        BurnRate(1.0, "3d", "6h"), "fewer, for longer, for one, too"
    )
    invalidation_ratio: float = _field(
        0.01, "of all attempts, how many times a connection was found to be unusable"
    )
    dns_failures: float = _field(0.05, "of all hosts that were looked up, the share that failed")
    churn_seconds: float = _field(30.0, "for how long a connection should stay open, on average")
    few_acquires: float = _field(10.0, "attempts for each pool; a pool that is shared has more")

    # Below them a share is noise

    events: float = _field(5.0, "failures within the window, below which no share of them counts")
    slow_events: float = _field(10.0, "slow attempts within the long time of a burn, likewise")
    traffic: float = _field(0.1, "attempts, or closed connections, in a second, likewise")

    # Numbers within `rare_event_window`

    nested: float = _field(10.0, "attempts by somebody who held a connection already")
    overdue_often: float = _field(10.0, "connections that were overdue, returned or not")
    connections_lost: float = _field(1.0, "connections that a process held when it was gone")
    pools_made: float = _field(100.0, "pools that were made, in a pool for each request")

    # What is to come

    predict_from: str = _field("6h", "the time from which a trend is taken")
    predict_for: str = _field("4h", "how far ahead a trend is followed")
    predict_growth: float = _field(
        1.1, "times the utilization of the day before, at its most, below which no trend counts"
    )
    smallest_pool: float = _field(10.0, "connections that a pool must allow to have a trend")

    # How long it is looked at, and how long it must last

    window: str = _field("5m", "the time of shares and rates: at least four scrapes")
    rare_event_window: str = _field("1h", "the time in which rare things are counted")
    absence_window: str = _field("6h", "for how long what is gone is missed")
    page_after: str = _field(
        "5m", "how long what is critical must last: with the window, no single moment is enough"
    )
    exhausted_after: str = _field("2m", "how long a pool must be exhausted, likewise")
    ticket_after: str = _field("15m", "how long a warning must last")
    overdue_after: str = _field("30m", "how long connections must be overdue")
    predicted_after: str = _field("30m", "how long a trend must last")
    info_after: str = _field("1h", "how long what is worth knowing must last")
    exporter_after: str = _field("5m", "how long an exporter, or a server, must not answer")
    absent_after: str = _field("10m", "how long metrics must be absent; after exporters are missed")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, BurnRate):
                self._check_burn_rate(field.name, value)
            elif isinstance(value, tuple):
                self._check_pair(field.name, value)
            elif isinstance(value, str):
                _check_duration(field.name, value, zero=field.name.endswith("_after"))
            else:
                _check_number(field.name, value)
        if self.acquire_seconds[1] not in ACQUIRE_BUCKETS:
            bounds = ", ".join(f"{bound:g}" for bound in ACQUIRE_BUCKETS)
            raise ThresholdError(
                f"acquire_seconds: {self.acquire_seconds[1]:g} is no bound of the histogram, which "
                f"are {bounds}"
            )
        if not seconds(self.exporter_after) < seconds(self.absent_after):
            raise ThresholdError(
                f"absent_after: {self.absent_after} must be longer than exporter_after, which is "
                f"{self.exporter_after}"
            )

    @property
    def budget(self) -> float:
        """Of all attempts, the share that may be slow."""
        return 1 - self.objective

    def _check_pair(self, name: str, pair: tuple[float, float]) -> None:
        warning, critical = pair
        for value in pair:
            _check_number(name, value)
        if name in LOWER_IS_WORSE:
            warning, critical = -warning, -critical
        if warning > critical:
            raise ThresholdError(
                f"{name}: the warning must not come after the critical threshold, "
                f"and {getattr(self, name)} does"
            )

    def _check_burn_rate(self, name: str, burn_rate: BurnRate) -> None:
        _check_number(name, burn_rate.factor)
        for duration in (burn_rate.long_window, burn_rate.short_window):
            _check_duration(name, duration)
        if not seconds(burn_rate.short_window) < seconds(burn_rate.long_window):
            raise ThresholdError(
                f"{name}: {burn_rate.short_window} must be shorter than {burn_rate.long_window}"
            )
        if not 0 < burn_rate.factor * self.budget < 1:
            raise ThresholdError(
                f"{name}: {burn_rate.factor:g} times the {self.budget:.3g} that the objective allows is "
                "no share between 0 and 1, so that it would never fire, or always"
            )


def _check_number(name: str, value: float) -> None:
    if not value >= 0:
        raise ThresholdError(f"{name}: {value} must not be negative")
    if value == math.inf:
        raise ThresholdError(f"{name}: {value} is never reached")
    if name in SHARES and value > 1:
        raise ThresholdError(f"{name}: {value} is a share, from 0 to 1")
    if name in SHARES - LOWER_IS_WORSE and value == 1:
        raise ThresholdError(f"{name}: {value} is never exceeded; it must be below 1")
    if name in POSITIVE and value == 0:
        raise ThresholdError(f"{name}: {value} must be more than 0, or it means nothing")


def _check_duration(name: str, duration: str, *, zero: bool = False) -> None:
    try:
        length = seconds(duration)
    except ValueError as error:
        raise ThresholdError(f"{name}: {error}") from None
    if not length and not zero:
        raise ThresholdError(f"{name}: {duration} must be more than 0, or it means nothing")


LOWER_IS_WORSE: Final = frozenset({"reuse"})
SHARES: Final = frozenset({
    "utilization", "saturated", "timeouts", "open_failures", "reuse", "server_used", "errors",
    "objective", "invalidation_ratio", "dns_failures",
})  # fmt: skip
POSITIVE: Final = frozenset({
    "reuse", "leaked", "events", "slow_events", "nested", "overdue_often", "connections_lost", "pools_made",
    "few_acquires", "churn_seconds", "smallest_pool", "predict_growth",
})  # fmt: skip
"""Numbers that say at least so many, or less than so much."""

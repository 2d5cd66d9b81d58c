"""The thresholds of alerts, which also colour the panels of dashboards."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from poolscope.readings.buckets import ACQUIRE_BUCKETS

SECONDS_PER_UNIT: Final = {
    "y": 31_536_000.0,
    "w": 604_800.0,
    "d": 86_400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
}
DURATION: Final = re.compile("".join(f"(?:([0-9]+){unit})?" for unit in SECONDS_PER_UNIT), re.ASCII)


class ThresholdError(ValueError):
    """A threshold is invalid; the message names it and says what would be valid."""


class BurnRate(NamedTuple):
    """
    How fast the error budget may be spent: a multi-window burn rate, as in the SRE workbook.

    factor: how many times faster than the objective allows the budget of slow attempts is spent.
    long_window: the time over which it must be spent so fast, so that it matters.
    short_window: the time over which it must be, too, so that the alert ends soon after the cause.
    """

    factor: float
    long_window: str
    short_window: str


def seconds(duration: str) -> float:
    """Return the seconds of a duration in the notation of Prometheus; raises ValueError."""
    match = DURATION.fullmatch(duration)
    if not match or not duration:
        raise ValueError(f"{duration!r} is not a duration, such as 90s, 5m or 1h30m")
    counts = zip(match.groups(), SECONDS_PER_UNIT.values(), strict=True)
    return sum(int(count) * length for count, length in counts if count)


def _field(default: Any, help: str) -> Any:
    """Return a field with the help text of its flag."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """
    Shares are from 0 to 1, rates are per second, durations are in the notation of Prometheus.

    A pair is (warning, critical). Raises ThresholdError, also for a threshold with which an alert
    could never fire.
    """

    # Pairs that also colour panels

    utilization: tuple[float, float] = _field(
        (0.8, 0.95),
        "mean share of the pool's limit that is in use; the second value is for a single process",
    )
    saturated: tuple[float, float] = _field(
        (0.1, 0.5),
        "share of the time in which no connection was free; alerts fire only if callers wait as "
        "well",
    )
    waiting: tuple[float, float] = _field((0.1, 1.0), "mean number of waiting callers")
    timeouts: tuple[float, float] = _field(
        (0.001, 0.01), "share of the attempts to get a connection that timed out"
    )
    acquire_seconds: tuple[float, float] = _field(
        (0.1, 1.0),
        "seconds to get a connection; an attempt that takes longer than the second value counts as "
        "slow for the objective, and that value must be a bucket bound of the histogram",
    )
    open_failures: tuple[float, float] = _field(
        (0.01, 0.1),
        "share of the connections that could not be opened; the second value only colours panels",
    )
    reuse: tuple[float, float] = _field(
        (0.9, 0.5),
        "share of the callers that got a connection that was already open; below the first value "
        "there is an info, below the second one a warning",
    )
    leaked: tuple[float, float] = _field(
        (1.0, 1.0),
        "number of overdue or abandoned connections; the second value only colours panels",
    )
    server_used: tuple[float, float] = _field(
        (0.8, 0.95),
        "share of the connections that a server accepts that is in use; the second value only "
        "colours panels",
    )
    idle_in_transaction_seconds: tuple[float, float] = _field(
        (60.0, 600.0),
        "seconds for which a connection has been idle in a transaction; the second value only "
        "colours panels",
    )

    # Thresholds of alerts only

    errors: tuple[float, float] = _field(
        (0.01, 0.1), "share of the attempts to get a connection that ended with an error"
    )
    broken: float = _field(
        0.9,
        "share of the attempts of a single process, or to a single host, that fail, from which it "
        "is broken, however many attempts others make",
    )
    alive: float = _field(
        0.5,
        "share of the last day in which a service had processes, from which it is missed when it "
        "has none",
    )
    full: float = _field(
        0.95,
        "share of the last fifth of the window in which no connection was free, from which the "
        "alert need not wait for the rest of it, if more callers wait than there are connections",
    )
    objective: float = _field(0.99, "share of the attempts that must not be slow")
    fast_burn: BurnRate = _field(  # noqa: RUF009 - it makes a field
        BurnRate(14.4, "1h", "5m"), "a high burn rate over a short window, which pages"
    )
    steady_burn: BurnRate = _field(  # noqa: RUF009 - it makes a field
        BurnRate(6.0, "6h", "30m"), "a lower burn rate over a longer window, which pages"
    )
    slow_burn: BurnRate = _field(  # noqa: RUF009 - it makes a field
        BurnRate(3.0, "1d", "2h"), "a low burn rate over a day, which opens a ticket"
    )
    creeping_burn: BurnRate = _field(  # noqa: RUF009 - it makes a field
        BurnRate(1.0, "3d", "6h"), "the lowest burn rate over days, which opens a ticket"
    )
    invalidation_ratio: float = _field(
        0.01, "connections that were found to be unusable, as a share of the attempts"
    )
    dns_failures: float = _field(0.05, "share of the DNS lookups that failed")
    churn_seconds: float = _field(30.0, "mean time that a connection should stay open, in seconds")
    few_acquires: float = _field(
        10.0, "mean number of callers that a pool serves, below which it is not shared by requests"
    )

    # Minimum counts, below which a share is noise

    events: float = _field(5.0, "failures within the window from which their share counts")
    slow_events: float = _field(
        10.0, "slow attempts within the long window of a burn rate from which their share counts"
    )
    steady: float = _field(
        0.1,
        "attempts in the hour before the last one (for tickets: in as long as their short "
        "window), as a share of those since, from which slow ones count; there are fewer after a "
        "start or an idle night",
    )
    traffic: float = _field(
        0.1, "attempts, or closed connections, per second from which a share of them counts"
    )

    # Counts within `rare_event_window`

    nested: float = _field(10.0, "attempts by a caller that already held a connection of the pool")
    overdue_often: float = _field(10.0, "connections that became overdue, returned or not")
    connections_lost: float = _field(1.0, "connections that were held by a process when it ended")
    pools_made: float = _field(
        100.0, "pools that were created, if the code creates one for each request"
    )

    # Predictions

    predict_from: str = _field("6h", "how far back the trend of a prediction begins")
    predict_for: str = _field("4h", "how far ahead the trend is extrapolated")
    predict_growth: float = _field(
        1.1,
        "how many times the maximum of the day before utilization must be for a trend to count",
    )
    smallest_pool: float = _field(10.0, "the smallest limit of a pool for which a trend counts")

    # Windows, and how long a condition must hold

    window: str = _field("5m", "the window of rates and shares: at least four scrapes")
    rare_event_window: str = _field("1h", "the window in which rare events are counted")
    absence_window: str = _field(
        "6h", "how long after its last sample a missing exporter or service is reported"
    )
    page_after: str = _field(
        "5m",
        "how long a critical condition must hold: together with the window, one bad moment is not "
        "enough",
    )
    exhausted_after: str = _field(
        "45s", "how long a pool must be exhausted, by the shares above, before the alert pages"
    )
    resolved_after: str = _field(
        "5m",
        "how long a critical alert still fires after its condition, so that minutes without "
        "scrapes do not resolve it and page again; 0s for Prometheus before 2.42",
    )
    ticket_after: str = _field("15m", "how long a warning condition must hold")
    overdue_after: str = _field("30m", "how long connections must be overdue")
    predicted_after: str = _field("30m", "how long a prediction must hold")
    info_after: str = _field("1h", "how long an info condition must hold")
    exporter_after: str = _field("5m", "how long an exporter or a server must be unreachable")
    absent_after: str = _field(
        "10m",
        "how long metrics must be absent; longer than exporter_after, whose alert comes first",
    )

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
                f"acquire_seconds: {self.acquire_seconds[1]:g} is not a bucket bound of the "
                f"histogram; the bounds are {bounds}"
            )
        if not seconds(self.exporter_after) < seconds(self.absent_after):
            raise ThresholdError(
                f"absent_after: {self.absent_after} must be longer than exporter_after, which is "
                f"{self.exporter_after}"
            )

    @property
    def short_window(self) -> str:
        """The last fifth of the window, in which a pool that is full all the time is noticed."""
        return f"{max(1, round(seconds(self.window) / 5))}s"

    @property
    def budget(self) -> float:
        """The share of the attempts that may be slow."""
        return 1 - self.objective

    def _check_pair(self, name: str, pair: tuple[float, float]) -> None:
        warning, critical = pair
        for value in pair:
            _check_number(name, value)
        if name in LOWER_IS_WORSE:
            warning, critical = -warning, -critical
        if warning > critical:
            raise ThresholdError(
                f"{name}: in {getattr(self, name)}, the critical threshold is reached before the "
                "warning"
            )

    def _check_burn_rate(self, name: str, burn_rate: BurnRate) -> None:
        _check_number(name, burn_rate.factor)
        long_window, short_window = burn_rate.long_window, burn_rate.short_window
        for duration in (long_window, short_window):
            _check_duration(name, duration)
        if not seconds(short_window) < seconds(long_window):
            raise ThresholdError(f"{name}: {short_window} must be shorter than {long_window}")
        if not 0 < burn_rate.factor * self.budget < 1:
            raise ThresholdError(
                f"{name}: {burn_rate.factor:g} times the budget of {self.budget:.3g} is not a "
                "share between 0 and 1, so that the alert would fire always or never"
            )


def _check_number(name: str, value: float) -> None:
    if not value >= 0:
        raise ThresholdError(f"{name}: {value} must be 0 or more")
    if value == math.inf:
        raise ThresholdError(f"{name}: {value} is never reached")
    if name in SHARES and value > 1:
        raise ThresholdError(f"{name}: {value} must be a share between 0 and 1")
    if name in SHARES - LOWER_IS_WORSE and value == 1:
        raise ThresholdError(f"{name}: {value} is never exceeded; it must be below 1")
    if name in POSITIVE and value == 0:
        raise ThresholdError(f"{name}: {value} must be more than 0")


def _check_duration(name: str, duration: str, *, zero: bool = False) -> None:
    try:
        length = seconds(duration)
    except ValueError as error:
        raise ThresholdError(f"{name}: {error}") from None
    if not length and not zero:
        raise ThresholdError(f"{name}: {duration} must be more than 0")


LOWER_IS_WORSE: Final = frozenset({"reuse"})
SHARES: Final = frozenset({
    "utilization", "saturated", "full", "timeouts", "open_failures", "reuse", "server_used",
    "errors", "objective", "broken", "alive", "steady", "invalidation_ratio", "dns_failures",
})  # fmt: skip
POSITIVE: Final = frozenset({
    "reuse", "leaked", "events", "slow_events", "nested", "overdue_often", "connections_lost",
    "pools_made", "few_acquires", "churn_seconds", "smallest_pool", "predict_growth",
})  # fmt: skip
"""Thresholds at which 0 would make the alert fire always or never."""

"""PromQL of the rules: measures of pools, summed over all processes by the labels of the pool."""

from __future__ import annotations

import textwrap
from typing import Final

from poolscope.metrics.family import POOL_LABELS
from poolscope.mixin.alerts.options import Options
from poolscope.mixin.queries import FAMILY_TYPES, Queries, name_of
from poolscope.mixin.thresholds import Thresholds, seconds

RATIO_RATE: Final = "ratio_rate"
WITH_ERROR: Final = 'outcome="error"'


class Expressions:
    """
    Builds expressions with the matchers and labels of the options.

    scope: the labels of a service.
    pool_labels: the labels of a pool.
    target: the labels of a scraped target.
    target_pool: the labels of a pool in one scraped target.
    server_labels: the labels of a database server, which several services may share.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.thresholds: Thresholds = options.thresholds
        self.scope = options.scope
        self.pool_labels = (*options.scope, *POOL_LABELS)
        self.target = options.target
        self.target_pool = (*options.target, *POOL_LABELS)
        self.cluster_labels = (options.cluster,) if options.cluster else ()
        self.server_labels = (*self.cluster_labels, "server")
        self._queries = Queries(options.matchers)

    def select(self, family: str, *matchers: str, part: str = "") -> str:
        return self._queries.select(family, *matchers, part=part).removesuffix("{}")

    def up(self) -> str:
        """Return the metric with which Prometheus says whether it could scrape a target."""
        inside = ", ".join(self.options.matchers)
        return f"up{{{inside}}}" if inside else "up"

    def sum(self, inner: str, by: tuple[str, ...] | None = None) -> str:
        """Return a sum by labels; the default is the labels of a pool."""
        return f"sum by ({', '.join(self.pool_labels if by is None else by)}) ({inner})"

    def max(self, inner: str, by: tuple[str, ...] | None = None) -> str:
        """Return a maximum by labels; the default is the labels of a pool."""
        return f"max by ({', '.join(self.pool_labels if by is None else by)}) ({inner})"

    def rate(
        self,
        family: str,
        *matchers: str,
        part: str = "",
        over: str = "",
        by: tuple[str, ...] | None = None,
    ) -> str:
        """Return the per-second rate of a counter; for a counter of seconds, it is a mean."""
        counter = self._counter(family, *matchers, part=part)
        return self.sum(f"rate({counter}[{over or self.window}])", by)

    def increase(
        self,
        family: str,
        *matchers: str,
        part: str = "",
        over: str = "",
        by: tuple[str, ...] | None = None,
    ) -> str:
        """Return the increase of a counter; the default window is `rare_event_window`."""
        over = over or self.thresholds.rare_event_window
        return self.sum(f"increase({self._counter(family, *matchers, part=part)}[{over}])", by)

    def increase_in_window(self, family: str, *matchers: str) -> str:
        """Return the increase of a counter within the window."""
        return self.increase(family, *matchers, over=self.window)

    def mean(
        self, family: str, *matchers: str, over: str = "", by: tuple[str, ...] | None = None
    ) -> str:
        """Return the mean of a gauge over the window, so that it can be related to rates."""
        gauge = self._gauge(family, *matchers)
        return self.sum(f"avg_over_time({gauge}[{over or self.window}])", by)

    def current(self, family: str, *matchers: str) -> str:
        """Return the sum of the latest values of a gauge; a scrape that fails does not end it."""
        return self.sum(self._latest(family, *matchers))

    def failed_share_of_hosts(self, *matchers: str, by: tuple[str, ...]) -> str:
        """Return the share of the attempts to open a connection that have failed lately."""

        def attempts(*outcome: str) -> str:
            return self.increase("host_opened_total", *matchers, *outcome, over=self.lately, by=by)

        return ratio(attempts(WITH_ERROR), attempts())

    def failures_of_hosts(self, *matchers: str, by: tuple[str, ...]) -> str:
        """Return how many attempts to open a connection have failed within `rare_event_window`."""
        return self.increase("host_opened_total", *matchers, WITH_ERROR, by=by)

    def maximum(self, family: str, *matchers: str, by: tuple[str, ...] | None = None) -> str:
        """
        Return the maximum of the latest values of a gauge that several targets may report about the
        same thing; a scrape that fails does not end it.
        """
        return self.max(self._latest(family, *matchers), by)

    def _latest(self, family: str, *matchers: str) -> str:
        return f"last_over_time({self._gauge(family, *matchers)}[{self.window}])"

    @property
    def window(self) -> str:
        return self.thresholds.window

    @property
    def lately(self) -> str:
        """The time in which connections to a host count, which may be opened rarely."""
        return f"{2 * seconds(self.window):.0f}s"

    # Names of the series that recording rules make: LEVEL:METRIC:OPERATIONS

    def _recorded(self, family: str, operation: str, level: str = "pool") -> str:
        return f"{level}:{name_of(family).removesuffix('_total')}:{operation}"

    @property
    def saturated(self) -> str:
        """The share of the time in which no connection was free."""
        return self._recorded("saturated_seconds_total", f"{RATIO_RATE}{self.window}")

    @property
    def waiting(self) -> str:
        """The mean number of callers that wait."""
        return self._recorded("waiting_seconds_total", f"rate{self.window}")

    @property
    def utilization(self) -> str:
        """The mean share of the limit that is in use."""
        return self._recorded("in_use_seconds_total", f"{RATIO_RATE}{self.window}")

    @property
    def attempts(self) -> str:
        """Attempts to get a connection, per second."""
        return self._recorded("acquire_seconds", f"rate{self.window}")

    @property
    def slow(self) -> str:
        """Slow attempts per second: those that took longer than the objective allows."""
        return self._recorded("acquire_seconds", f"slow_rate{self.window}")

    @property
    def slow_attempts(self) -> str:
        """Slow attempts within the window."""
        return self._recorded("acquire_seconds", f"slow_increase{self.window}")

    def slow_share(self, over: str) -> str:
        """Return the share of the attempts within a time that were slow."""
        return self._recorded("acquire_seconds", f"slow_{RATIO_RATE}{over}")

    @property
    def lost(self) -> str:
        """Holds of a target that have begun, have not ended, and are not in progress either."""
        return self._recorded("hold_seconds", "lost", level="target")

    @property
    def lost_max(self) -> str:
        return f"{self.lost}_max{self.window}"

    @property
    def alive(self) -> str:
        """Whether the exporters of a service see a live process: 1 or 0."""
        return self._recorded("exporter_processes", "alive", level="service")

    @property
    def present(self) -> str:
        """Whether a service has metrics: 1, or 0 for a while after it had some."""
        return self._recorded("instances_created_total", "present", level="service")

    def _counter(self, family: str, *matchers: str, part: str = "") -> str:
        kind = FAMILY_TYPES[name_of(family)]
        if kind != ("histogram" if part else "counter"):
            raise TypeError(f"{family}{part} is a {kind}")
        return self.select(family, *matchers, part=part)

    def _gauge(self, family: str, *matchers: str) -> str:
        if FAMILY_TYPES[name_of(family)] != "gauge":
            raise TypeError(f"{family} is not a gauge")
        return self.select(family, *matchers)


def number(value: float) -> str:
    """Return a number in the notation of PromQL, without floating-point noise."""
    return f"{value:.12g}"


def seconds_of(duration: str) -> str:
    """Return the seconds of a duration as a number of PromQL."""
    return number(seconds(duration))


def all_of(*conditions: str) -> str:
    """Return that all conditions hold; the value is that of the first one."""
    return "\nand\n".join(conditions)


def any_of(*conditions: str) -> str:
    """Return that one of the conditions holds; the value is that of the first one that does."""
    return "\nor\n".join(map(within, conditions))


def within(inner: str, before: str = "") -> str:
    """Return an expression in parentheses, on lines of its own."""
    return f"{before}(\n{textwrap.indent(inner, '  ')}\n)"


def above(measure: str, threshold: float) -> str:
    return f"{measure} > {number(threshold)}"


def below(measure: str, threshold: float) -> str:
    return f"{measure} < {number(threshold)}"


def at_least(measure: str, threshold: float) -> str:
    return f"{measure} >= {number(threshold)}"


def ratio(part: str, whole: str) -> str:
    """Return the ratio of two sums; where both are 0 it is NaN, for which no comparison holds."""
    return f"{part}\n  / {whole}"

"""PromQL of the rules: what the measures of pools are, added up by name over all processes."""

from __future__ import annotations

from typing import Final

from poolscope.metrics.pool_families import POOL_LABELS
from poolscope.mixin.alerts.options import Options
from poolscope.mixin.queries import FAMILY_TYPES, Queries, name_of
from poolscope.mixin.thresholds import Thresholds, seconds

RATIO_RATE: Final = "ratio_rate"


class Expressions:
    """
    Makes expressions, with the matchers and labels of the options.

    pool_labels: the labels of a pool; `scope`: those of whose it is; `target`: those of what is scraped.
    server_labels: those of a server, which several services may use.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.thresholds: Thresholds = options.thresholds
        self.scope = options.scope
        self.pool_labels = (*options.scope, *POOL_LABELS)
        self.target = options.target
        self.cluster_labels = (options.cluster,) if options.cluster else ()
        self.server_labels = (*self.cluster_labels, "server")
        self._queries = Queries(options.matchers)

    def select(self, family: str, *matchers: str, part: str = "") -> str:
        return self._queries.select(family, *matchers, part=part).removesuffix("{}")

    def up(self) -> str:
        """Return what Prometheus itself says of whatever it scrapes."""
        inside = ", ".join(self.options.matchers)
        return f"up{{{inside}}}" if inside else "up"

    def sum(self, inner: str, by: tuple[str, ...] | None = None) -> str:
        return f"sum by ({', '.join(self.pool_labels if by is None else by)}) ({inner})"

    def max(self, inner: str, by: tuple[str, ...] | None = None) -> str:
        return f"max by ({', '.join(self.pool_labels if by is None else by)}) ({inner})"

    def rate(self, family: str, *matchers: str, part: str = "") -> str:
        """Return how fast a counter grows in a second; of seconds it is a mean."""
        return self.sum(f"rate({self._counter(family, *matchers, part=part)}[{self.window}])")

    def increase(
        self, family: str, *matchers: str, over: str = "", by: tuple[str, ...] | None = None
    ) -> str:
        """Return how much a counter has grown, over `counted` or another time."""
        over = over or self.thresholds.rare_event_window
        return self.sum(f"increase({self._counter(family, *matchers)}[{over}])", by)

    def increase_in_window(self, family: str, *matchers: str) -> str:
        """Return the increase within the window."""
        return self.increase(family, *matchers, over=self.window)

    def mean(self, family: str, *matchers: str) -> str:
        """Return the sum of a gauge over the time that rates are of, so that they fit together."""
        return self.sum(f"avg_over_time({self._gauge(family, *matchers)}[{self.window}])")

    def current(self, family: str, *matchers: str) -> str:
        return self.sum(self._gauge(family, *matchers))

    def maximum(self, family: str, *matchers: str, by: tuple[str, ...] | None = None) -> str:
        """Return the greatest value of a gauge that several may tell of the same thing."""
        return self.max(self._gauge(family, *matchers), by)

    @property
    def window(self) -> str:
        return self.thresholds.window

    # Names of what recording rules make

    def _recorded(self, family: str, operation: str) -> str:
        return f"pool:{name_of(family).removesuffix('_total')}:{operation}"

    @property
    def saturated(self) -> str:
        """The share of the time in which no connection was free."""
        return self._recorded("saturated_seconds_total", f"{RATIO_RATE}{self.window}")

    @property
    def waiting(self) -> str:
        """Callers that wait, on average."""
        return self._recorded("waiting_seconds_total", f"rate{self.window}")

    @property
    def utilization(self) -> str:
        """Of the connections that are allowed, the share that is out, on average."""
        return self._recorded("in_use_seconds_total", f"{RATIO_RATE}{self.window}")

    @property
    def attempts(self) -> str:
        return self._recorded("acquire_seconds", f"rate{self.window}")

    @property
    def slow(self) -> str:
        """Attempts in a second that took longer than they should."""
        return self._recorded("acquire_seconds", f"slow_rate{self.window}")

    def slow_share(self, over: str) -> str:
        return self._recorded("acquire_seconds", f"slow_{RATIO_RATE}{over}")

    @property
    def lost(self) -> str:
        """Holds that began and never ended, less those that are still going on."""
        return self._recorded("hold_seconds", "lost").replace("pool:", "target:")

    @property
    def lost_max(self) -> str:
        return f"{self.lost}_max{self.window}"

    def _counter(self, family: str, *matchers: str, part: str = "") -> str:
        kind = FAMILY_TYPES[name_of(family)]
        if kind != ("histogram" if part else "counter"):
            raise TypeError(f"{family}{part} is a {kind}")
        return self.select(family, *matchers, part=part)

    def _gauge(self, family: str, *matchers: str) -> str:
        if FAMILY_TYPES[name_of(family)] != "gauge":
            raise TypeError(f"{family} is no gauge")
        return self.select(family, *matchers)


def number(value: float) -> str:
    """Return a number as PromQL has it, without the dust of floating point."""
    return f"{value:.12g}"


def length(duration: str) -> str:
    """Return the seconds of a duration."""
    return number(seconds(duration))


def all_of(*conditions: str) -> str:
    """Return that all of them hold; the value is that of the first."""
    return "\nand\n".join(conditions)


def above(measure: str, threshold: float) -> str:
    return f"{measure} > {number(threshold)}"


def below(measure: str, threshold: float) -> str:
    return f"{measure} < {number(threshold)}"


def at_least(measure: str, threshold: float) -> str:
    return f"{measure} >= {number(threshold)}"


def ratio(part: str, whole: str) -> str:
    """Return the ratio of two sums; no comparison holds where both are 0."""
    return f"{part}\n  / {whole}"

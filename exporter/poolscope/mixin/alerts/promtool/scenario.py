"""
Scenarios: series that become bad, and the alert that must fire because of them.

Time passes in steps, a fifth of the window, so that all windows are whole steps. The values come
from the thresholds: exactly at a threshold no alert may fire, a little beyond it must.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from poolscope.mixin.alerts.expressions import Expressions
from poolscope.mixin.labels import LABEL_MATCHER
from poolscope.mixin.queries import name_of
from poolscope.mixin.thresholds import seconds

STEPS_PER_WINDOW: Final = 5

SILENT_STEPS: Final = 3
"""For how many steps after an alert would have fired it is checked to stay silent."""

MARGIN: Final = 1.05
"""A value beyond a threshold is this many times the threshold, or less by the same factor."""

ROUNDING_MARGIN: Final = 1e-9
"""The share by which a value is moved if floating point cannot hit the threshold exactly."""

UP_METRIC: Final = "up"
"""Prometheus's own metric of whether it could scrape a target; it is not in the catalogue."""

Labels = Mapping[str, str]
Shape = Literal["grows", "jumps", "is"]


@dataclass(frozen=True, slots=True)
class Series:
    """
    One time series.

    shape: what `bad` and `good` mean. For "grows", the increase in each step; for "jumps", the
        increase at once when the series becomes bad; for "is", the value.
    bad, good: its values in the bad and the good state; None if it is absent then.
    text, healthy_text: all its values in promtool's notation, in place of the above: in a test in
        which it becomes bad, and in one in which it does not.
    """

    name: str
    labels: Labels
    bad: float | None
    good: float | None = 0.0
    shape: Shape = "is"
    text: str = ""
    healthy_text: str = ""

    @property
    def selector(self) -> str:
        inside = ",".join(f'{key}="{value}"' for key, value in self.labels.items() if value)
        return f"{self.name}{{{inside}}}"

    def values(self, phases: Sequence[tuple[bool, int]]) -> str:
        """Return its values in promtool's notation; a phase is (whether it is bad, steps)."""
        if self.text:
            return self.text if any(bad for bad, _ in phases) else self.healthy_text
        parts, last, was_there = [], 0.0, False
        if self.shape == "grows":
            parts.append("0")
        for bad, steps in phases:
            value = self.bad if bad else self.good
            if self.shape == "grows" and value is not None:
                # promtool adds the increases one by one.
                parts.append(f"{_number(last + value)}+{_number(value)}x{steps - 1}")
                last = math.fsum([last, *[value] * steps])
            elif self.shape == "jumps":
                last = last + (value or 0.0) if bad else last
                parts.append(f"{_number(last)}+0x{steps - 1}")
            elif value is None:
                parts.append(f"stale _x{steps - 1}" if was_there else f"_x{steps}")
            else:
                parts.append(f"{_number(value)}+0x{steps - 1}")
            was_there = value is not None
        return " ".join(parts)


def _number(value: float) -> str:
    """Return a number without loss, in promtool's notation."""
    if value == math.inf:
        return "Inf"
    return f"{value:.0f}" if value == int(value) else f"{value:.17g}"


@dataclass(frozen=True)
class Scenario:
    """
    How one alert is made to fire.

    series: the series by names of their own; their bad values are a little beyond the thresholds.
    value: the value of the alert when it fires.
    labels: the labels of the alert when it fires, without those that the rule adds.
    silent: variants in which the alert must not fire, by title. A variant is what differs: for a
        name of `series` another value of `bad`, or another series, or an additional one.
    extra_labels: the labels that the rule adds, besides the severity.
    true_at: how many steps after the series have become bad the condition is true.
    steps_before: how many steps the series are good before they become bad.
    resolves_after: how many steps after the series are good again the alert must have ended; 0 if
        it never ends.
    optional: names of series without which the alert fires as well.
    step_factor: how many times longer than usual a step is.
    ends_at_once: whether the condition ends with the first step in which the series are good.
    title: what distinguishes the scenario from others of the same alert.
    part: a suffix of the name of its file, where an alert has several files.
    gauges: the values of the queries in its texts, by the name of the metric.
    hosts: the hosts that its texts name, with the shares that fail.
    """

    alert: str
    severity: str
    series: Mapping[str, Series]
    value: float
    labels: Labels
    silent: Mapping[str, Mapping[str, float | Series | None]] = field(default_factory=dict)
    extra_labels: Labels = field(default_factory=dict)
    true_at: int = 0
    steps_before: int = 0
    resolves_after: int = STEPS_PER_WINDOW + 2
    optional: Sequence[str] = ()
    step_factor: float = 1
    ends_at_once: bool = True
    title: str = ""
    part: str = ""
    gauges: Mapping[str, float] = field(default_factory=dict)
    hosts: Mapping[str, float] = field(default_factory=dict)

    def changed(self, variant: Mapping[str, float | Series | None]) -> list[Series]:
        """Return the series of a variant."""
        series = dict(self.series)
        for name, change in variant.items():
            series[name] = (
                change if isinstance(change, Series) else replace(series[name], bad=change)
            )
        return list(series.values())


class ScenarioFactory:
    """
    Makes series for the options, and values that are at a threshold or a little beyond.

    window: the window of the rates, if it is not that of the thresholds.
    pool, server, target: the labels that an alert about a pool, a server or a target has.
    step: the length of a step in seconds.
    """

    def __init__(self, promql: Expressions, window: str = "") -> None:
        options = promql.options
        self.promql = promql
        self.thresholds = options.thresholds
        self.window = seconds(window or promql.window)
        self.step = self.window / STEPS_PER_WINDOW
        self.cluster = {options.cluster: "eu"} if options.cluster else {}
        self.scope = self.cluster | ({options.service: "shop"} if options.service else {})
        instance = {options.instance: "10.0.0.1:10464"} if options.instance else {}
        self.target = {**self.scope, "job": "poolscope", **instance}
        self.pool = {**self.scope, "pool": "orders", "kind": "sqlalchemy"}
        self.server = {**self.cluster, "server": "db:5432"}
        self._matching = _labels_matching(options.matchers)

    def series(
        self, family: str, bad: float | None, good: float | None = 0.0, **labels: Any
    ) -> Series:
        """
        Return a series of a family; by default it is one of the pool.

        `part` and `shape` are no labels, and `of` replaces the labels of the pool.
        """
        part, shape = labels.pop("part", ""), labels.pop("shape", "is")
        of = labels.pop("of", {"pool": "orders", "kind": "sqlalchemy"})
        all_labels = self.matching({**self.target, **of, **labels})
        return Series(self.name(family, part), all_labels, bad, good, shape)

    def name(self, family: str, part: str = "") -> str:
        return family if family == UP_METRIC else name_of(family) + part

    def matching(self, labels: Labels) -> Labels:
        """Return labels that the matchers of the options select."""
        return {**self._matching, **labels}

    def grows(self, family: str, bad: float, good: float = 0.0, **labels: Any) -> Series:
        """Return a counter that grows by so much in each step."""
        return self.series(family, bad, good, shape="grows", **labels)

    def jumps(self, family: str, bad: float, **labels: Any) -> Series:
        """Return a counter that grows by so much once, when the series become bad."""
        return self.series(family, bad, shape="jumps", **labels)

    def recorded(self, name: str, bad: float, good: float = 0.0) -> Series:
        """Return a series that a recording rule makes."""
        return Series(name, self.pool, bad, good)

    def steps(self, duration: str, step_factor: float = 1) -> int:
        """Return the number of steps in a duration, rounded up."""
        return math.ceil(seconds(duration) / (self.step * step_factor) - ROUNDING_MARGIN)

    # Values at thresholds, computed as Prometheus does

    def rate(self, each_step: float) -> float:
        """Return the rate of a counter that grows by so much in each step."""
        return STEPS_PER_WINDOW * each_step * (1 / self.window)

    def rate_since_3(self, each_step: float) -> float:
        """
        Return that rate as Prometheus 3 computes it: the first sample of a window belongs to the
        window before, and what the others have grown by is extrapolated.
        """
        steps = STEPS_PER_WINDOW - 1
        return steps * each_step * (STEPS_PER_WINDOW / steps / self.window)

    def growth_for_rate(self, rate: float, share_of: float = 1.0, *, less: bool = False) -> float:
        """Return the growth in each step of a counter whose rate, by `share_of`, is `rate`."""
        each = rate * share_of * self.step
        return exactly(each, lambda each: self.rate(each) / share_of, rate, less=less, grows=True)

    def parts_with_share(self, share: float, *, less: bool = False) -> tuple[float, float]:
        """
        Return the growths of two counters of which the first one has exactly that share, where that
        can be also by the rates of Prometheus 3.
        """
        events = max(1.0, self.thresholds.events / STEPS_PER_WINDOW)
        wholes = [10**power * first for power in range(2, 9) for first in (1, 2, 3, 4, 6, 8)]
        for rates in ((self.rate, self.rate_since_3), (self.rate,)):
            for whole in wholes:
                part = float(round(share * whole))
                rest = whole - part
                if part >= events and all(_share(part, rest, rate) == share for rate in rates):
                    return part, rest
        part = 1e6 * share * (1 + ROUNDING_MARGIN if less else 1 - ROUNDING_MARGIN)
        return part, 1e6 - part

    @property
    def events_per_step(self) -> float:
        """The growth in each step that gives, within the window, enough events for a share."""
        return max(1.0, math.ceil(self.thresholds.events / STEPS_PER_WINDOW))

    @property
    def enough_events_at(self) -> int:
        """The step at which `events_per_step` has given enough events."""
        return math.ceil(self.thresholds.events / self.events_per_step)


def _share(part: float, rest: float, rate: Callable[[float], float]) -> float:
    """Return the share of one counter's rate in the sum of two."""
    return rate(part) / (rate(rest) + rate(part))


def _labels_matching(matchers: Sequence[str]) -> dict[str, str]:
    """Return labels for simple matchers; a label that must not have a value is left out."""
    found = {}
    for matcher in matchers:
        match = LABEL_MATCHER.fullmatch(matcher)
        if match and match[2] == "=":
            found[match[1]] = match[3]
        elif match and match[2] == "=~":
            first = match[3].strip("()").split("|")[0]
            found[match[1]] = first.replace(".*", "").replace(".+", "x")
    return found


def exactly(
    guess: float,
    measure: Callable[[float], float],
    wanted: float,
    *,
    less: bool = False,
    grows: bool = False,
) -> float:
    """
    Return a number whose measure is exactly `wanted`, or as close as possible without alerting.

    less: whether lower values are worse.
    grows: whether the number is added again and again; only whole numbers stay exact then.
    """
    guess = float(f"{guess:.12g}")
    if measure(guess) == wanted and (guess == int(guess) or not grows):
        return guess
    return guess * (1 + ROUNDING_MARGIN if less else 1 - ROUNDING_MARGIN)


def beyond(threshold: float, following: float = math.inf) -> float:
    """Return a value a little above a threshold, and below the one that follows."""
    return min(threshold * MARGIN if threshold else 0.01, (threshold + following) / 2)


def less_than(threshold: float, following: float = 0.0) -> float:
    """Return a value a little below a threshold, and above the one that follows."""
    return max(threshold / MARGIN, (threshold + following) / 2)


def duration(seconds: float) -> str:
    """Return a duration in the notation of Prometheus."""
    if seconds % 60 == 0:
        return f"{seconds / 60:.0f}m"
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{1000 * seconds:.0f}ms"

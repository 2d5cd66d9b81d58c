"""
What alerts are tried with: series that go bad, and what must come of it.

Time goes in steps, a fifth of the window, so that all windows hold whole steps. Values are those
of the thresholds: exactly there nothing is said, a little beyond it is.
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
"""Of a window."""

MARGIN: Final = 1.05
"""Times a threshold, and 1/MARGIN for those where less is worse."""

ROUNDING_MARGIN: Final = 1e-9
"""A share of a number, by which it is moved if it cannot be exactly at a threshold."""

UP_METRIC: Final = "up"
"""What Prometheus itself says of whatever it scrapes; it is in no catalogue."""

Labels = Mapping[str, str]
Shape = Literal["grows", "jumps", "is"]


@dataclass(frozen=True, slots=True)
class Series:
    """
    One series.

    bad, good: what it grows by in each step, what it has grown by as it becomes bad, or what it
        is, as `shape` says; None if it is not there then.
    text, calm: all its values in promtool's notation, instead: if it goes bad, and if not.
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
        """Return its values in promtool's notation; of each phase whether it is bad, and steps."""
        if self.text:
            return self.text if any(bad for bad, _ in phases) else self.healthy_text
        parts, last, was_there = [], 0.0, False
        if self.shape == "grows":
            parts.append("0")
        for bad, steps in phases:
            value = self.bad if bad else self.good
            if self.shape == "grows" and value is not None:
                # promtool adds the steps up one by one.
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
    return (
        "Inf" if value == math.inf else f"{value:.17g}" if value != int(value) else f"{value:.0f}"
    )


@dataclass(frozen=True)
class Scenario:
    """
    How one alert is made to fire.

    title: how it is told from others of the same alert.
    lines: the series, by names of their own, in which everything is a little beyond.
    value: that of the alert then, and `labels` those that it has besides its own.
    silent: by what is different, the lines that are, so that the alert is silent; of a number it
        is `bad`.
    true_at: the step in which the condition holds first, after going bad.
    steps_before: how many steps it is good first.
    resolves_after: how many steps after it is good again the condition surely holds no more; 0: never.
    optional: lines without which it fires, too.
    step_factor: how many times longer a step is.
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
    step_factor: int = 1
    title: str = ""

    def changed(self, changes: Mapping[str, float | Series | None]) -> list[Series]:
        """Return the lines with these changes; a name that is new is a further line."""
        lines = dict(self.series)
        for name, change in changes.items():
            lines[name] = change if isinstance(change, Series) else replace(lines[name], bad=change)
        return list(lines.values())


class ScenarioFactory:
    """
    LabelScope pools they are, how long a step is, and what is just at a threshold, or beyond.

    pool, server: the labels that an alert of a pool, or a server, has.
    """

    def __init__(self, promql: Expressions) -> None:
        options = promql.options
        self.promql = promql
        self.thresholds = options.thresholds
        self.window = seconds(promql.window)
        self.step = self.window / STEPS_PER_WINDOW
        self.cluster = {options.cluster: "eu"} if options.cluster else {}
        self.scope = self.cluster | ({options.service: "shop"} if options.service else {})
        instance = {options.instance: "10.0.0.1:10464"} if options.instance else {}
        self.target = {**self.scope, "job": "poolscope", **instance}
        self.pool = {**self.scope, "pool": "orders", "kind": "sqlalchemy"}
        self.server = {**self.cluster, "server": "db:5432"}
        self._matched = _matching(options.matchers)

    def series(
        self, family: str, bad: float | None, good: float | None = 0.0, **labels: Any
    ) -> Series:
        """Return a series of a family; `part`, `shape` and `of` are no labels."""
        part, shape = labels.pop("part", ""), labels.pop("shape", "is")
        own = labels.pop("of", {"pool": "orders", "kind": "sqlalchemy"})
        every = self.matched({**self.target, **own, **labels})
        return Series(self.name(family, part), every, bad, good, shape)

    def name(self, family: str, part: str = "") -> str:
        return family if family == UP_METRIC else name_of(family) + part

    def matched(self, labels: Labels) -> Labels:
        """Return labels that also match what the user has chosen."""
        return {**self._matched, **labels}

    def grows(self, family: str, bad: float, good: float = 0.0, **labels: Any) -> Series:
        return self.series(family, bad, good, shape="grows", **labels)

    def jumps(self, family: str, bad: float, **labels: Any) -> Series:
        return self.series(family, bad, shape="jumps", **labels)

    def recorded(self, name: str, bad: float, good: float = 0.0) -> Series:
        """Return a series that a recording rule makes."""
        return Series(name, self.pool, bad, good)

    def steps(self, duration: str, step_factor: int = 1) -> int:
        """Return how many steps a duration has, the last one begun."""
        return math.ceil(seconds(duration) / (self.step * step_factor) - ROUNDING_MARGIN)

    # Numbers at thresholds, as Prometheus computes them

    def rate(self, each_step: float) -> float:
        """Return the rate of a counter that grows by so much in each step."""
        return STEPS_PER_WINDOW * each_step * (1 / self.window)

    def growth_for_rate(self, rate: float, share_of: float = 1.0, *, less: bool = False) -> float:
        """Return what a counter grows by so that its rate, by `share_of`, is just that."""
        each = rate * share_of * self.step
        return exactly(each, lambda each: self.rate(each) / share_of, rate, less=less, grows=True)

    def parts_with_share(self, share: float, *, less: bool = False) -> tuple[float, float]:
        """Return what two counters grow by: the first one's share of both is just that."""
        events = max(1.0, self.thresholds.events / STEPS_PER_WINDOW)
        for whole in (10**power * first for power in range(2, 9) for first in (1, 2, 4, 8)):
            part = float(round(share * whole))
            found = self._share(part, whole - part)
            if part >= events and found == share:
                return part, whole - part
        part = 1e6 * share * (1 + ROUNDING_MARGIN if less else 1 - ROUNDING_MARGIN)
        return part, 1e6 - part

    def _share(self, part: float, rest: float) -> float:
        return self.rate(part) / (self.rate(rest) + self.rate(part))

    @property
    def events_per_step(self) -> float:
        """What a counter grows by so that within the window it is enough for a share to count."""
        return max(1.0, math.ceil(self.thresholds.events / STEPS_PER_WINDOW))

    @property
    def enough_events_at(self) -> int:
        """The step in which it is enough first."""
        return math.ceil(self.thresholds.events / self.events_per_step)


def _matching(matchers: Sequence[str]) -> dict[str, str]:
    """Return labels that match, as far as that is easy: what must not be is left out."""
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
    Return a number whose measure is what is wanted, or just not beyond; `less` is worse.

    What a counter `grows` by is added up again and again: only whole numbers stay exact.
    """
    guess = float(f"{guess:.12g}")
    if measure(guess) == wanted and (guess == int(guess) or not grows):
        return guess
    return guess * (1 + ROUNDING_MARGIN if less else 1 - ROUNDING_MARGIN)


def beyond(threshold: float, following: float = math.inf) -> float:
    """Return a little more than a threshold, and not more than what follows."""
    return min(threshold * MARGIN if threshold else 0.01, (threshold + following) / 2)


def less_than(threshold: float, following: float = 0.0) -> float:
    """Return a little less than a threshold, and not less than what follows."""
    return max(threshold / MARGIN, (threshold + following) / 2)


def duration(seconds: float) -> str:
    """Return a duration as Prometheus has it."""
    if seconds % 60 == 0:
        return f"{seconds / 60:.0f}m"
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{1000 * seconds:.0f}ms"

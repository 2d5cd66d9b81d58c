"""Scenarios of attempts that fail or are slow."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, NamedTuple

from poolscope.mixin.alerts.attempts import BURN_RATES, used_window
from poolscope.mixin.alerts.expressions import number
from poolscope.mixin.alerts.promtool.scenario import (
    SILENT_STEPS,
    STEPS_PER_WINDOW,
    Scenario,
    ScenarioFactory,
    Series,
    beyond,
    less_than,
)
from poolscope.mixin.thresholds import BurnRate

Change = float | Series | None
"""What a variant changes of a series."""

LEVELS: Final = (("warning", 0), ("critical", 1))


def scenarios(world: ScenarioFactory) -> list[Scenario]:
    failures = [
        _Failure(alert, severity, way, pair[level], pair[1] if not level else 1.0)
        for alert, way, pair in (
            ("ConnPoolAcquireTimeouts", "timeout", world.thresholds.timeouts),
            ("ConnPoolAcquireTimeouts", GIVEN_UP, world.thresholds.timeouts),
            ("ConnPoolAcquireErrors", "error", world.thresholds.errors),
        )
        for severity, level in LEVELS
    ]
    return [
        *(_failed(world, failure) for failure in failures),
        *(_failing_for_long(world, failure) for failure in failures),
        # With a threshold of 0 any failure of the pool is enough.
        *(
            _broken(world, failure)
            for failure in failures
            if failure.severity == "warning" and failure.threshold
        ),
        *(_slow(world, name, severity) for name, severity in BURN_RATES),
    ]


GIVEN_UP: Final = "given up"


class _Failure(NamedTuple):
    """
    An alert that attempts fail.

    way: how they fail: by their outcome, or GIVEN_UP.
    threshold: the share of the attempts that must fail.
    following: the threshold of the next severity.
    """

    alert: str
    severity: str
    way: str
    threshold: float
    following: float

    @property
    def recent_windows(self) -> int:
        """For how many windows rare attempts must have failed lately."""
        return 1 if self.severity == "critical" else 2

    @property
    def resolves_after(self) -> int:
        """With a threshold of 0, a failure counts as long as it is in a window."""
        windows = 1 if self.threshold else self.recent_windows
        return windows * STEPS_PER_WINDOW + 2

    def lasts(self, world: ScenarioFactory) -> int:
        """Return for how many steps attempts must fail."""
        thresholds = world.thresholds
        pages = self.severity == "critical"
        return world.steps(thresholds.page_after if pages else thresholds.ticket_after)

    def failing(self, world: ScenarioFactory, each: float, text: str = "") -> dict[str, Series]:
        """
        Return the counters of failed attempts, which grow by so much in each step.

        text: their values in promtool's notation, in place of that.
        """
        if self.way != GIVEN_UP:
            made = {"failing": world.grows("acquires_total", each, outcome=self.way)}
        else:
            made = {
                "failing": world.grows("waits_given_up_total", each),
                "ended": world.grows("acquires_total", each, outcome="cancelled"),
            }
        return {name: replace(one, text=text, healthy_text=text) for name, one in made.items()}


BEFORE: Final = 10
"""For how many steps a busy pool has no failures."""

BUSY: Final = 1e6
"""Attempts in each of these steps: later failures are a small share of those of an hour."""


def _failed(world: ScenarioFactory, failure: _Failure) -> Scenario:
    """Many attempts of a busy pool begin to fail."""
    share = beyond(failure.threshold, failure.following)
    few = world.thresholds.events * 0.95 / STEPS_PER_WINDOW
    at_threshold, rest = world.parts_with_share(failure.threshold)
    failing = world.events_per_step
    # With a threshold of 0 they are enough within an hour.
    too_few: dict[str, dict[str, Change]] = {
        "too few events": {**failure.failing(world, few), "succeeded": few / share - few},
    }
    return Scenario(
        alert=failure.alert,
        severity=failure.severity,
        title=failure.way,
        series={
            **failure.failing(world, failing),
            "succeeded": world.grows(
                "acquires_total", failing / share - failing, BUSY, outcome="ok"
            ),
        },
        value=share,
        labels=world.pool,
        silent={
            "exactly at the threshold": {
                **failure.failing(world, at_threshold),
                "succeeded": rest,
            },
            **(too_few if failure.threshold else {}),
        },
        steps_before=BEFORE,
        true_at=STEPS_PER_WINDOW if failure.threshold else world.enough_events_at,
        resolves_after=failure.resolves_after,
        optional=("succeeded", "ended"),
    )


class _Rare:
    """
    Attempts that are so rare that their failures count over an hour only.

    each: how many fail in each step.
    true_at: the step at which there are enough.
    last: the last step at which the alert is checked to be silent.
    """

    def __init__(self, world: ScenarioFactory, failure: _Failure, share: float) -> None:
        events = world.thresholds.events
        # A power of two, so that sums are exact.
        self.each = 2.0 ** math.floor(math.log2(events / 8))
        self.true_at = math.ceil(events / self.each)
        self.last = self.true_at + failure.lasts(world) + SILENT_STEPS
        self.fewer = events * 0.95 / self.last
        self._world, self._failure, self._share = world, failure, share

    def others(self, share: float) -> float:
        """Return how many succeed in each step, so that it is this share that fails."""
        return self.each / share - self.each

    def succeeded_before(self) -> dict[str, Change]:
        """Return that so many succeeded at first that the share of an hour is just too small."""
        least = self.each * self.last
        text = self._text(least / (0.97 * self._share) - least, 0.0)
        succeeded = self._world.grows("acquires_total", 0.0, outcome="ok")
        return {"succeeded": replace(succeeded, text=text, healthy_text=text)}

    def failed_before(self, succeeded: float) -> dict[str, Change]:
        """Return that so many failed at first that the share of an hour is large."""
        text = self._text(1000 * self.others(self._share), self.each)
        return {**self._failure.failing(self._world, self.each, text), "succeeded": succeeded}

    def too_few(self, share: float) -> dict[str, Change]:
        failing = self._failure.failing(self._world, self.fewer)
        return {**failing, "succeeded": self.fewer / share - self.fewer}

    def _text(self, first: float, each: float) -> str:
        return f"0 {first:.12g}+{each:.12g}x{self.last + 10}"


def _failing_for_long(world: ScenarioFactory, failure: _Failure) -> Scenario:
    share = beyond(failure.threshold, failure.following)
    rare = _Rare(world, failure, failure.threshold or 1.0)
    succeeded = rare.others(0.97 * failure.threshold) if failure.threshold else 0.0
    boundaries = {
        "too small a share of an hour": rare.succeeded_before(),
        # One bad moment is enough for an alert that does not last as long as its window.
        **(
            {"too small a share lately": rare.failed_before(succeeded)}
            if failure.lasts(world) >= failure.recent_windows * STEPS_PER_WINDOW
            else {}
        ),
    }
    return Scenario(
        alert=failure.alert,
        severity=failure.severity,
        title=f"{failure.way}, rare attempts",
        series={
            **failure.failing(world, rare.each),
            "succeeded": world.grows("acquires_total", rare.others(share), 1000.0, outcome="ok"),
        },
        value=share,
        labels=world.pool,
        silent={
            **(boundaries if failure.threshold else {}),
            "too few events": rare.too_few(share),
        },
        true_at=rare.true_at,
        resolves_after=failure.resolves_after,
        optional=("succeeded", "ended"),
    )


def _broken(world: ScenarioFactory, failure: _Failure) -> Scenario:
    """Of a busy pool, nearly all attempts of one process fail."""
    threshold, family = world.thresholds.broken, "acquires_total"
    share, rare = beyond(threshold, 1), _Rare(world, failure, threshold)
    return Scenario(
        alert=failure.alert,
        severity=failure.severity,
        title=f"{failure.way}, one process",
        series={
            **failure.failing(world, rare.each),
            "succeeded": world.grows(family, rare.others(share), 1000.0, outcome="ok"),
            "others": world.grows(family, BUSY, BUSY, outcome="ok", job="others"),
        },
        value=share,
        labels=world.pool,
        silent={
            "too small a share of an hour": rare.succeeded_before(),
            "too small a share lately": rare.failed_before(rare.others(0.97 * threshold)),
            "too few events": rare.too_few(share),
        },
        true_at=rare.true_at,
        optional=("succeeded", "ended", "others"),
    )


class _Slow:
    """
    Slow attempts of a pool that was in use before, of which there are just enough.

    A step is a whole window: the long windows would have too many shorter ones.

    before: the step at which they begin.
    true_at: how many steps later there are enough in a long window.
    """

    def __init__(self, world: ScenarioFactory, burn_rate: BurnRate, severity: str) -> None:
        thresholds = world.thresholds
        pages = severity == "critical"
        lasts = thresholds.page_after if pages else thresholds.ticket_after
        self.lasts = world.steps(lasts, STEPS_PER_WINDOW)
        self.hour = world.steps(used_window(thresholds, burn_rate), STEPS_PER_WINDOW)
        most = min(6, world.steps(burn_rate.long_window, STEPS_PER_WINDOW) - 1)
        # A power of two, so that their sum is exact.
        windows = 2 ** int(math.log2(most))
        self.true_at = windows - 1
        self.before = self.hour + 2
        self.each = thresholds.slow_events / windows
        # Later, the pool was hardly used before.
        self.fewer = 0.95 * thresholds.slow_events / (windows + self.lasts)
        self._world = world

    def slow(self, each: float) -> Series:
        return self._world.recorded(self._world.promql.slow_attempts, each)

    def attempts(self, share: float) -> Series:
        """
        Return attempts of which the hour before has this share of the last one, at the end.

        The first scrape of the last hour has failed: versions of Prometheus differ in whether that
        hour includes it.
        """
        many = self.true_at + self.lasts + 1
        before = share * many / (self.hour - share * (self.hour - many))
        last_hour = self.before + self.true_at + self.lasts - self.hour
        few = f"{before:.17g}"
        start = f"{few}+0x{last_hour - 1} _ {few}+0x{self.before - last_hour - 2}"
        text = f"{start} 1+0x{many + 10}"
        series = self._world.recorded(self._world.promql.attempts, 1.0, before)
        return replace(series, text=text, healthy_text=f"{few}+0x{self.before + many + 10}")


def _slow(world: ScenarioFactory, name: str, severity: str) -> Scenario:
    burn_rate: BurnRate = getattr(world.thresholds, name)
    limit = float(number(burn_rate.factor * world.thresholds.budget))
    share, slow = beyond(limit, 1), _Slow(world, burn_rate, severity)
    return Scenario(
        alert="ConnPoolAcquireSlow",
        severity=severity,
        extra_labels={"window": burn_rate.long_window},
        title=burn_rate.long_window,
        part=f"-{name.replace('_', '-')}",
        series={
            "long": world.recorded(world.promql.slow_share(burn_rate.long_window), share),
            "short": world.recorded(world.promql.slow_share(burn_rate.short_window), share),
            "slow": slow.slow(slow.each),
            "attempts": slow.attempts(beyond(world.thresholds.steady)),
        },
        value=share,
        labels=world.pool,
        silent={
            "exactly at the threshold of the long window": {"long": limit},
            "exactly at the threshold of the short window": {"short": limit},
            "too few events": {"slow": slow.slow(slow.fewer)},
            "hardly used before": {"attempts": slow.attempts(less_than(world.thresholds.steady))},
        },
        steps_before=slow.before,
        true_at=slow.true_at,
        step_factor=STEPS_PER_WINDOW,
    )

"""Recording rules: measures that several alerts use, or that look at a long window."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.expressions import Expressions, ratio
from poolscope.mixin.alerts.model import Group, Record
from poolscope.mixin.thresholds import BurnRate, Thresholds, seconds

RECORDING_GROUP: Final = "poolscope-recording"


def group(promql: Expressions) -> Group:
    return Group(
        RECORDING_GROUP, (*_pools(promql), *_slow(promql), *_lost(promql), *_services(promql))
    )


def burn_rates(thresholds: Thresholds) -> tuple[BurnRate, ...]:
    return (
        thresholds.fast_burn,
        thresholds.steady_burn,
        thresholds.slow_burn,
        thresholds.creeping_burn,
    )


def _pools(promql: Expressions) -> tuple[Record, ...]:
    return (
        Record(
            promql.saturated,
            ratio(promql.rate("saturated_seconds_total"), promql.mean("instances")),
        ),
        Record(promql.waiting, promql.rate("waiting_seconds_total")),
        # A pool without a limit has no utilization: its ratio would be 0.
        Record(
            promql.utilization,
            ratio(promql.rate("in_use_seconds_total"), f"({promql.mean('limit')} < Inf)"),
        ),
    )


def _slow(promql: Expressions) -> tuple[Record, ...]:
    """
    Return the shares of slow attempts.

    Over a long window, the recorded rates of slow and of all attempts are averaged, and then
    divided: as exact as `rate` over days, but cheap, and not affected by processes that start and
    end.
    """
    bound = f'le=~"{_spellings(promql.thresholds.acquire_seconds[1])}"'
    fast = promql.rate("acquire_seconds", bound, part="_bucket")
    times = {
        time
        for burn_rate in burn_rates(promql.thresholds)
        for time in (burn_rate.long_window, burn_rate.short_window)
    }
    shares = [
        Record(
            promql.slow_share(time),
            ratio(
                f"avg_over_time({promql.slow}[{time}])", f"avg_over_time({promql.attempts}[{time}])"
            ),
        )
        for time in sorted(times, key=seconds)
    ]
    attempts = promql.increase("acquire_seconds", part="_count", over=promql.window)
    fast_attempts = promql.increase("acquire_seconds", bound, part="_bucket", over=promql.window)
    return (
        Record(promql.slow_attempts, f"{attempts}\n  - {fast_attempts}"),
        Record(promql.attempts, promql.rate("acquire_seconds", part="_count")),
        Record(promql.slow, f"{promql.attempts}\n  - {fast}"),
        *shares,
    )


def _spellings(bound: float) -> str:
    """Return a pattern of a bound: Prometheus 3 writes 1.0 for what a process may write as 1."""
    return "|".join(dict.fromkeys(each.replace(".", "[.]") for each in (f"{bound:g}", f"{bound}")))


def _lost(promql: Expressions) -> tuple[Record, ...]:
    """
    Return how many holds never end, by exporter: its counters outlive the processes.

    A connection that is being set up counts as in use before its hold begins, so that for a moment
    the number may be too low. It is never too high: the maximum of a short window is right.

    Until a hold has ended, their histogram has no series, and neither has this: somebody may have
    dropped the histogram, and an alert needs proof.
    """
    by = (*promql.target, *promql.pool_labels[len(promql.scope) :])
    begun = promql.sum(promql.select("acquires_total", 'outcome="ok"'), by)
    ended = promql.sum(promql.select("hold_seconds", part="_count"), by)
    in_progress = promql.sum(promql.select("connections", 'state="in_use"'), by)
    return (
        Record(promql.lost, f"{begun}\n  - {ended}\n  - ({in_progress} or 0 * {ended})"),
        Record(promql.lost_max, f"clamp_min(max_over_time({promql.lost}[{promql.window}]), 0)"),
    )


def _services(promql: Expressions) -> tuple[Record, Record]:
    """
    Return whether a service has a live process, and whether it has metrics.

    A scrape that fails ends neither: the first looks back, and the alert of the second waits.
    """
    made, scope = promql.select("instances_created_total"), ", ".join(promql.scope)
    before = f"last_over_time({made}[{promql.thresholds.absence_window}])"
    present = f"clamp_max(count by ({scope}) ({made}), 1)"
    live = promql.select("exporter_processes", 'state="live"')
    live = promql.sum(f"max_over_time({live}[{promql.window}])", promql.scope)
    return (
        Record(promql.alive, f"clamp_max({live}, 1)"),
        Record(promql.present, f"{present}\n  or 0 * count by ({scope}) ({before})"),
    )

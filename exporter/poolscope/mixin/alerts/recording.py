"""Recording rules: measures that several alerts need, or that need a long time."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.expressions import Expressions, ratio
from poolscope.mixin.alerts.model import Group, Record
from poolscope.mixin.thresholds import BurnRate, Thresholds, seconds

RECORDING_GROUP: Final = "poolscope-recording"


def group(promql: Expressions) -> Group:
    return Group(RECORDING_GROUP, (*_pools(promql), *_slow(promql), *_lost(promql)))


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
        # A pool without a limit has no utilization; its ratio would be 0.
        Record(
            promql.utilization,
            ratio(promql.rate("in_use_seconds_total"), f"({promql.mean('limit')} < Inf)"),
        ),
    )


def _slow(promql: Expressions) -> tuple[Record, ...]:
    """
    Return the shares of slow attempts.

    Those of long times are means of rates, slow ones and all, and then one ratio: as exact as
    `rate` over days would be, but cheap, and not disturbed by processes that come and go.
    """
    bound = f'le="{float(promql.thresholds.acquire_seconds[1])}"'
    fine = promql.rate("acquire_seconds", bound, part="_bucket")
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
    return (
        Record(promql.attempts, promql.rate("acquire_seconds", part="_count")),
        Record(promql.slow, f"{promql.attempts}\n  - {fine}"),
        *shares,
    )


def _lost(promql: Expressions) -> tuple[Record, ...]:
    """
    Return how many holds have no end, for each exporter, whose counters outlive processes.

    One that is being set up is in use, but nobody has it yet, so that for a moment there may seem
    to be fewer, and never more: the most of a short time is true.
    """
    by = (*promql.target, *promql.pool_labels[len(promql.scope) :])
    began = promql.sum(promql.select("acquires_total", 'outcome="ok"'), by)
    ended = promql.sum(promql.select("hold_seconds", part="_count"), by)
    going_on = promql.sum(promql.select("connections", 'state="in_use"'), by)
    return (
        Record(promql.lost, f"{began}\n  - {ended}\n  - ({going_on} or 0 * {ended})"),
        Record(promql.lost_max, f"clamp_min(max_over_time({promql.lost}[{promql.window}]), 0)"),
    )

"""Recording rules: measures that several alerts need, or that need a long time."""

from __future__ import annotations

from typing import Final

from poolscope.mixin.alerts.expressions import Expressions, ratio
from poolscope.mixin.alerts.model import Group, Record
from poolscope.mixin.thresholds import Burn, Thresholds, seconds

GROUP: Final = "poolscope-recording"


def group(x: Expressions) -> Group:
    return Group(GROUP, (*_pools(x), *_slow(x), *_lost(x)))


def burns(thresholds: Thresholds) -> tuple[Burn, ...]:
    t = thresholds
    return t.fast_burn, t.steady_burn, t.slow_burn, t.creeping_burn


def _pools(x: Expressions) -> tuple[Record, ...]:
    return (
        Record(x.saturated, ratio(x.rate("saturated_seconds_total"), x.mean("instances"))),
        Record(x.waiting, x.rate("waiting_seconds_total")),
        # A pool without a limit has no utilisation; its ratio would be 0.
        Record(x.utilisation, ratio(x.rate("in_use_seconds_total"), f"({x.mean('limit')} < Inf)")),
    )


def _slow(x: Expressions) -> tuple[Record, ...]:
    """
    Return the shares of slow attempts.

    Those of long times are means of rates, slow ones and all, and then one ratio: as exact as
    `rate` over days would be, but cheap, and not disturbed by processes that come and go.
    """
    bound = f'le="{float(x.thresholds.acquire_seconds[1])}"'
    fine = x.rate("acquire_seconds", bound, part="_bucket")
    times = {time for burn in burns(x.thresholds) for time in (burn.long, burn.short)}
    shares = [
        Record(
            x.slow_share(time),
            ratio(f"avg_over_time({x.slow}[{time}])", f"avg_over_time({x.attempts}[{time}])"),
        )
        for time in sorted(times, key=seconds)
    ]
    return (
        Record(x.attempts, x.rate("acquire_seconds", part="_count")),
        Record(x.slow, f"{x.attempts}\n  - {fine}"),
        *shares,
    )


def _lost(x: Expressions) -> tuple[Record, ...]:
    """
    Return how many holds have no end, for each exporter, whose counters outlive processes.

    One that is being set up is in use, but nobody has it yet, so that for a moment there may seem
    to be fewer, and never more: the most of a short time is true.
    """
    by = (*x.target, *x.by[len(x.scope) :])
    began = x.sum(x.select("acquires_total", 'outcome="ok"'), by)
    ended = x.sum(x.select("hold_seconds", part="_count"), by)
    going_on = x.sum(x.select("connections", 'state="in_use"'), by)
    return (
        Record(x.lost, f"{began}\n  - {ended}\n  - ({going_on} or 0 * {ended})"),
        Record(x.surely_lost, f"clamp_min(max_over_time({x.lost}[{x.window}]), 0)"),
    )

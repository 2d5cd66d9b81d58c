"""Alerts about what callers notice: they time out, get an error, or wait for too long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from poolscope.mixin.alerts.expressions import (
    Expressions,
    above,
    all_of,
    any_of,
    at_least,
    number,
    ratio,
    within,
)
from poolscope.mixin.alerts.model import POOL, Alert, Severity
from poolscope.mixin.alerts.texts import failing_hosts, waiting_now
from poolscope.mixin.thresholds import BurnRate, Thresholds, seconds

BURN_RATES: Final[tuple[tuple[str, Severity], ...]] = (
    ("fast_burn", "critical"),
    ("steady_burn", "critical"),
    ("slow_burn", "warning"),
    ("creeping_burn", "warning"),
)
"""The thresholds that are burn rates, with the severities of their alerts."""


def alerts(promql: Expressions) -> tuple[Alert, ...]:
    return (
        _timeouts(promql, "critical"),
        _timeouts(promql, "warning"),
        _errors(promql, "critical"),
        _errors(promql, "warning"),
        *(
            _slow(promql, getattr(promql.thresholds, name), severity)
            for name, severity in BURN_RATES
        ),
    )


class _Subject(NamedTuple):
    """
    What counts as a failed attempt: a counter, and matchers of it.

    Of an attempt that fails in two ways, such as a time-out in the queue, each subject is a
    condition of its own, so that it counts once.
    """

    family: str
    matchers: tuple[str, ...] = ()


GAVE_UP: Final = _Subject("waits_given_up_total")
TIMED_OUT: Final = _Subject("acquires_total", ('outcome="timeout"',))
FAILED: Final = _Subject("acquires_total", ('outcome="error"',))


def _timeouts(promql: Expressions, severity: Severity) -> Alert:
    """
    Return the alert that callers give up, by a deadline of their own as well.

    Some pools time out while a connection is opened, when nobody waits for a free one.
    """
    return _failed(
        promql,
        severity,
        (GAVE_UP, TIMED_OUT),
        promql.thresholds.timeouts,
        name="ConnPoolAcquireTimeouts",
        summary=f"Callers of pool {POOL} time out or give up before they get a connection",
        ended="timed out, or were given up by callers who waited for a free one",
    )


def _errors(promql: Expressions, severity: Severity) -> Alert:
    return _failed(
        promql,
        severity,
        (FAILED,),
        promql.thresholds.errors,
        name="ConnPoolAcquireErrors",
        summary=f"Callers get errors instead of connections of pool {POOL}",
        ended="failed with an error",
        more=failing_hosts(promql),
    )


def _failed(
    promql: Expressions,
    severity: Severity,
    subjects: tuple[_Subject, ...],
    pair: tuple[float, float],
    *,
    name: str,
    summary: str,
    ended: str,
    more: str = "",
) -> Alert:
    """
    Return the alert that too large a share of the attempts has failed in one of these ways.

    Few attempts count over a longer time: where they are rare, or where one process is broken.
    """
    level = 1 if severity == "critical" else 0
    thresholds = promql.thresholds
    return Alert(
        name=name,
        severity=severity,
        expr=any_of(
            *(each for subject in subjects for each in _ways(promql, subject, pair, level))
        ),
        for_duration=thresholds.page_after if level else thresholds.ticket_after,
        summary=summary,
        description=f"{{{{ $value | humanizePercentage }}}} of the recent attempts to get a "
        f"connection of pool {POOL} {ended}.{waiting_now(promql)}{more}",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )


def _ways(
    promql: Expressions, subject: _Subject, pair: tuple[float, float], level: int
) -> Iterator[str]:
    """Yield the conditions that many attempts fail, that rare ones do, or those of a process."""
    thresholds, share = promql.thresholds, pair[level]
    yield all_of(
        above(
            ratio(promql.rate(subject.family, *subject.matchers), promql.rate("acquires_total")),
            share,
        ),
        at_least(promql.increase_in_window(subject.family, *subject.matchers), thresholds.events),
    )
    windows = 1 if level else 2
    recently = f"{windows * seconds(promql.window):.0f}s"
    yield _failing_for_long(promql, subject, share, recently)
    if not level:
        broken = _failing_for_long(promql, subject, thresholds.broken, recently, promql.target_pool)
        yield within(broken, f"max by ({', '.join(promql.pool_labels)}) ")


def _failing_for_long(
    promql: Expressions,
    subject: _Subject,
    share: float,
    recently: str,
    by: tuple[str, ...] | None = None,
) -> str:
    """
    Return that too large a share of rare attempts fails, and still does.

    recently: the time in which it still must: shorter than the condition must hold, so that one bad
        moment is not enough.
    """

    def failed(over: str = "") -> str:
        return promql.increase(subject.family, *subject.matchers, over=over, by=by)

    def failing(over: str) -> str:
        return ratio(failed(over), promql.increase("acquires_total", over=over, by=by))

    return all_of(
        above(failing(promql.thresholds.rare_event_window), share),
        above(failing(recently), share),
        at_least(failed(), promql.thresholds.events),
    )


def used_window(thresholds: Thresholds, burn_rate: BurnRate) -> str:
    """Return the time before which a pool must have been used, too, for its slow attempts."""
    return max(thresholds.rare_event_window, burn_rate.short_window, key=seconds)


def _slow(promql: Expressions, burn_rate: BurnRate, severity: Severity) -> Alert:
    """
    Return the alert that the budget of slow attempts is spent too fast, as in the SRE workbook.

    The short window ends the alert soon after the cause has ended. Few slow attempts do not count;
    nor does a pool that was hardly used before: a new service, a job, the first callers after
    an idle night. Their few attempts are all attempts of a long window.
    """
    thresholds = promql.thresholds
    long_window, short_window = burn_rate.long_window, burn_rate.short_window
    limit = float(number(burn_rate.factor * thresholds.budget))
    # Windows side by side: together they have each attempt once.
    slow = f"sum_over_time({promql.slow_attempts}[{long_window}:{promql.window}])"
    recent = used_window(thresholds, burn_rate)
    now = f"avg_over_time({promql.attempts}[{recent}])"
    before = f"avg_over_time({promql.attempts}[{recent}] offset {recent})"
    return Alert(
        name="ConnPoolAcquireSlow",
        severity=severity,
        expr=all_of(
            above(promql.slow_share(long_window), limit),
            above(promql.slow_share(short_window), limit),
            at_least(slow, thresholds.slow_events),
            f"{before} >= {number(thresholds.steady)} * {now}",
        ),
        for_duration=thresholds.page_after if severity == "critical" else thresholds.ticket_after,
        labels={"window": long_window},
        summary=f"Callers wait too long for connections of pool {POOL}",
        description=f"{{{{ $value | humanizePercentage }}}} of the attempts to get a connection of "
        f"pool {POOL} within {long_window} took longer than "
        f"{number(thresholds.acquire_seconds[1])} s; the objective allows "
        f"{100 * thresholds.budget:.4g}%.",
        dashboard="pool",
        dashboard_variables=promql.pool_labels,
    )

"""
Known mistakes in how pools are configured and used, one small rule for each.

A rule reads the configuration of a pool, its numbers, and the sites that were recorded for the
rule. It imports no pool library. Each rule has a page in docs/findings that says what to write
instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from poolscope.readings.buckets import HOLD_BUCKETS
from poolscope.readings.evidence import HELD_ACROSS_REQUEST, SHARED_BETWEEN
from poolscope.readings.pool_config import PoolConfig
from poolscope.readings.reading import Reading
from poolscope.readings.saturation import TooSmall
from poolscope.readings.turnover import FEW_ACQUIRES, MANY_POOLS
from poolscope.sizing.measured import Durations
from poolscope.sizing.sizes import MOST_DATABASE_CONNECTIONS, Goal, comfortable_size, is_too_large

Severity = Literal["info", "warning", "critical"]

SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "warning", "info")

WATCHED: Final = "watched"
"""The key of the lines that watch the pools: the sites of a finding that has no other site."""

# Thresholds. A rule that compares counts requires a minimum of them first.
LONGEST_RECYCLE: Final = 1800.0
"""Seconds. Firewalls and load balancers drop idle connections after 5 to 60 minutes."""
MANY_ACQUIRES: Final = 100
LOW_REUSE: Final = 0.5
SHOWN_ADDRESSES: Final = 3
"""How many of the pools that are too small are named."""
LONG_IDLE: Final = 3600.0
"""Seconds for which a pool must have been watched before it can be called too large."""
LARGE: Final = 10
"""A smaller limit is never called too large."""
LITTLE_USED: Final = 0.2
LARGE_SHARE_ACROSS: Final = 0.1
"""
The share of a pool's connection-seconds in which their callers wait for another server. From a
tenth on, an answer that takes ten times as long as usual, as in an incident there, nearly doubles
what the pool has in use: that fills one that was half full.
"""
MUCH_ACROSS: Final = 60.0
"""Connection-seconds. Fewer, as of the first few callers of a process, show no share."""


class Commitment(NamedTuple):
    """
    How many connections pools may open to one server.

    server: the name of the server.
    accepts: how many connections it accepts from ordinary users.
    promised: the sum of the limits of all pools that have connections to it.
    """

    server: str
    accepts: int
    promised: float


class PoolEvidence(NamedTuple):
    """
    What is known of the pools of one name.

    sites: the lines at which each rule was broken, by rule.
    commitments: for each server that the pools connect to; only an exporter knows them.
    too_small: those of the pools that are, the worst first.
    """

    config: PoolConfig
    reading: Reading
    sites: Mapping[str, tuple[str, ...]]
    commitments: Sequence[Commitment] = ()
    too_small: Sequence[TooSmall] = ()


class Lesser(NamedTuple):
    """What a rule finds that is less severe than most of what it finds."""

    severity: Severity
    message: str


Check = Callable[[PoolEvidence], "str | Lesser | None"]


class Rule(NamedTuple):
    """
    A known mistake.

    severity: that of its findings, unless they are `Lesser` ones.
    check: returns the message of its finding, or None if there is none.
    """

    name: str
    severity: Severity
    check: Check


@dataclass(frozen=True, slots=True)
class Finding:
    """
    A mistake that was found.

    rule: the name of the rule, and of its page in docs/findings.
    message: what is wrong, in a sentence.
    sites: the lines of the application that make the mistake, or else that watch the pool.
    """

    pool: str
    kind: str
    rule: str
    severity: Severity
    message: str
    sites: tuple[str, ...]


RULES: Final[dict[str, Rule]] = {}


def _rule(name: str, severity: Severity) -> Callable[[Check], None]:
    """Decorate the check of a rule, and add the rule to `RULES`."""

    def add(check: Check) -> None:
        RULES[name] = Rule(name, severity, check)

    return add


def _observed_rule(name: str, severity: Severity, message: str) -> None:
    """Add a rule that is broken once an adapter has recorded that it is."""
    RULES[name] = Rule(name, severity, lambda evidence: message if name in evidence.sites else None)


def findings_of(pool: str, kind: str, cases: Iterable[PoolEvidence]) -> tuple[Finding, ...]:
    """
    Return the findings about pools of one name, the most severe first.

    cases: one for each configuration of the pools; a rule that several break is found once.
    """
    findings: dict[str, Finding] = {}
    for evidence in cases:
        for rule in RULES.values():
            found = rule.check(evidence)
            if found is not None and rule.name not in findings:
                lesser = found if isinstance(found, Lesser) else Lesser(rule.severity, found)
                sites = evidence.sites.get(rule.name) or evidence.sites.get(WATCHED, ())
                findings[rule.name] = Finding(pool, kind, rule.name, *lesser, sites)
    return tuple(sorted(findings.values(), key=lambda finding: SEVERITIES.index(finding.severity)))


# How the application uses a pool

_observed_rule("abandoned", "critical", "connections were dropped without being returned")
_observed_rule(
    "nested-acquire",
    "critical",
    "a caller that already holds a connection asks the same pool for another; enough such callers "
    "deadlock the pool",
)
_observed_rule(
    "blocks-event-loop",
    "critical",
    "a synchronous pool waits for a free connection inside a running event loop, which blocks it",
)
_observed_rule(
    "other-loop",
    "critical",
    "a connection was used in another event loop than the one that it was opened in, where its use "
    "fails or waits for ever",
)
_observed_rule(
    "not-shared",
    "warning",
    "POOLSCOPE_DIR is set but cannot be used, so the exporter does not see the pool",
)
_observed_rule(
    "never-closed", "warning", "a pool was dropped with open connections and was never closed"
)
_observed_rule(
    "tls-not-verified",
    "critical",
    "an https request was sent with ssl=False: the server's certificate is not verified, so "
    "anybody can impersonate the server",
)


@_rule(HELD_ACROSS_REQUEST, "critical")
def _held_across_request(evidence: PoolEvidence) -> str | Lesser | None:
    if HELD_ACROSS_REQUEST not in evidence.sites:
        return None
    reading = evidence.reading
    seconds, of_all = reading.held_across_seconds, reading.in_use_seconds
    message = (
        "connections were held while their callers waited for another server: "
        f"{reading.held_across:g} of them, for {seconds:.1f} connection-seconds"
    )
    if seconds:
        message += f", {seconds / max(of_all, seconds):.0%} of the time in use"
    if seconds < MUCH_ACROSS or seconds < LARGE_SHARE_ACROSS * of_all:
        return Lesser("warning", message)
    return message


@_rule("no-acquire-timeout", "warning")
def _no_acquire_timeout(evidence: PoolEvidence) -> str | None:
    reading = evidence.reading
    attempts = reading.acquired + reading.timed_out + reading.cancelled + reading.failed
    # Once there are callers, each of them may have set a limit of its own.
    never_ends = evidence.config.queue_timeout == math.inf and not attempts
    if never_ends or "no-acquire-timeout" in evidence.sites:
        return (
            "connections are acquired without a time limit; with no connection free, callers wait "
            "for ever"
        )
    return None


@_rule("shared-across-fork", "critical")
def _shared_across_fork(evidence: PoolEvidence) -> str | None:
    if "shared-across-fork" not in evidence.sites or evidence.config.survives_fork:
        return None
    pairs = [rule.split()[-2:] for rule in evidence.sites if rule.startswith(SHARED_BETWEEN)]
    parent, child = pairs[0] if pairs else ("?", "?")
    return (
        f"a connection that process {parent} had opened was used by its forked child {child}; each "
        "may read the answers that the other waits for"
    )


_observed_rule(
    "pool-per-request",
    "warning",
    f"at least {MANY_POOLS} pools came and went in one process, and each served fewer than "
    f"{FEW_ACQUIRES:g} callers on average",
)


@_rule("few-reused", "warning")
def _few_reused(evidence: PoolEvidence) -> str | None:
    reading = evidence.reading
    if (
        not evidence.config.pooled
        or not evidence.config.keeps_alive
        or reading.acquired < MANY_ACQUIRES
    ):
        return None
    share = reading.reused / reading.acquired
    if share >= LOW_REUSE:
        return None
    return f"only {share:.0%} of the callers got a connection that was already open"


@_rule("too-small", "warning")
def _too_small(evidence: PoolEvidence) -> str | None:
    if not evidence.too_small:
        return None
    message = f"no connection was free for {evidence.too_small[0].share:.0%} of the time"
    pools = evidence.reading.instances
    if pools <= 1:
        return message
    addresses = [pool.address for pool in evidence.too_small if pool.address]
    if not addresses:
        return f"{message} in one of {pools:g} pools"
    further = len(addresses) - SHOWN_ADDRESSES
    shown = ", ".join(addresses[:SHOWN_ADDRESSES]) + f" and {further} more" * (further > 0)
    return f"{message} in the pool of {shown}"


@_rule("too-large", "info")
def _too_large(evidence: PoolEvidence) -> str | None:
    reading = evidence.reading
    enough = reading.watched_seconds >= LONG_IDLE and reading.acquired >= MANY_ACQUIRES
    if not enough or not LARGE <= reading.limit < math.inf:
        return None
    if reading.most_in_use >= LITTLE_USED * reading.limit or not _is_too_large(reading):
        return None
    return f"at most {reading.most_in_use:g} of {reading.limit:g} connections were ever in use"


def _is_too_large(reading: Reading) -> bool:
    """Whether `poolscope size` advises less, even for as many in use as there ever were."""
    pools = max(1.0, reading.instances)
    *counts, seconds = reading.hold_seconds
    variation = max(1.0, Durations((*HOLD_BUCKETS, math.inf), tuple(counts), seconds).variation())
    hold = reading.in_use_seconds / reading.acquired
    comfortable = comfortable_size(Goal(), reading.most_in_use / pools, hold, variation)
    return is_too_large(reading.limit / pools, comfortable)


# How a pool is configured


@_rule("unlimited", "warning")
def _unlimited(evidence: PoolEvidence) -> str | None:
    if evidence.config.bounded and evidence.config.pooled and evidence.config.limit == math.inf:
        return "the pool has no limit; a slow server makes it grow until something else breaks"
    return None


@_rule("oversized", "warning")
def _oversized(evidence: PoolEvidence) -> str | None:
    if evidence.config.database and MOST_DATABASE_CONNECTIONS < evidence.config.limit < math.inf:
        return f"one process may open {evidence.config.limit:g} connections to one database server"
    return None


@_rule("overcommitted", "warning")
def _overcommitted(evidence: PoolEvidence) -> str | None:
    for server, accepts, promised in evidence.commitments:
        if promised > accepts:
            return (
                f"{server} accepts {accepts} connections, but the pools that connect to it may "
                f"open {promised:g}"
            )
    return None


@_rule("stale-connections", "warning")
def _stale(evidence: PoolEvidence) -> str | None:
    config = evidence.config
    if config.database and config.pooled and not config.pings and config.recycle > LONGEST_RECYCLE:
        return "idle connections are neither checked nor replaced; some will be dead when used"
    return None


@_rule("no-total-timeout", "warning")
def _no_total_timeout(evidence: PoolEvidence) -> str | None:
    if evidence.config.total_timeout == math.inf:
        return "requests have no time limit; a server that stops answering blocks its connections"
    return None


@_rule("no-connect-timeout", "info")
def _no_connect_timeout(evidence: PoolEvidence) -> str | None:
    if evidence.config.connect_timeout == math.inf:
        return "acquiring a connection has no time limit of its own"
    return None


@_rule("no-keepalive", "warning")
def _no_keepalive(evidence: PoolEvidence) -> str | None:
    if evidence.config.keeps_alive:
        return None
    return "force_close=True: each request opens a new connection"


@_rule("no-limit-per-host", "info")
def _no_limit_per_host(evidence: PoolEvidence) -> str | None:
    if evidence.config.limited_per_host:
        return None
    return "one slow host may take all connections of the pool"


@_rule("no-dns-cache", "info")
def _no_dns_cache(evidence: PoolEvidence) -> str | None:
    return None if evidence.config.caches_dns else "each new connection asks the DNS resolver again"


@_rule("null-pool", "info")
def _null_pool(evidence: PoolEvidence) -> str | None:
    if evidence.config.pooled:
        return None
    return "NullPool: each caller opens a connection of its own, and nothing limits how many"

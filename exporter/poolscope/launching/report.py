"""The report of a run: a table with a line for each pool, and what was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Final, NamedTuple

from poolscope.errors import harmless
from poolscope.fleet.fleet import FleetView, Key
from poolscope.fleet.pool_view import PoolView
from poolscope.readings.buckets import ACQUIRE_BUCKETS
from poolscope.readings.findings import SEVERITIES, Finding, PoolEvidence, findings_of
from poolscope.readings.reading import Histogram, Reading

MAX_POOLS: Final = 1000
"""Pools of processes that have ended of which more is kept than their counters."""

HEAD: Final = (
    "pool", "kind", "limit", "most in use", "acquires", "waited", "p99 wait", "timed out", "leaked",
)  # fmt: skip

_TEXTS: Final = 2
"""Columns of text; the others are numbers, which stand at the right."""


class Seen(NamedTuple):
    """What is kept of a pool: the fullest of its name, and what was found there."""

    limit: float = 0.0
    most_in_use: float = 0.0
    findings: tuple[Finding, ...] = ()


class Run:
    """What is known of the pools of a run beyond the counters, which the fleet keeps."""

    def __init__(self) -> None:
        self._seen: dict[Key, Seen] = {}
        self._processes: set[int] = set()

    @harmless
    def ended(self, pid: int, pools: Sequence[PoolView]) -> None:
        """A process has ended; these were its pools."""
        self._processes.add(pid)
        for view in pools:
            key = view.pool, view.kind
            if key in self._seen or len(self._seen) < MAX_POOLS:
                self._seen[key] = _with(self._seen.get(key, Seen()), view)

    def findings(self, view: FleetView) -> list[Finding]:
        """Return what was found until now, the most severe first."""
        return _merged(each for pool in self._seen_with(view).values() for each in pool.findings)

    def _seen_with(self, view: FleetView) -> dict[Key, Seen]:
        seen = dict(self._seen)
        for process in view.processes:
            for pool in process.pools:
                key = pool.pool, pool.kind
                seen[key] = _with(seen.get(key, Seen()), pool)
        return seen

    def text(self, view: FleetView) -> str:
        """Return the report of what was seen until now."""
        seen = self._seen_with(view)
        if not view.reports:
            return "poolscope: no pool was made\n"
        pids = self._processes | {process.pid for process in view.processes}
        rows = [
            _row(report.pool, report.kind, report.reading, seen.get((report.pool, report.kind)))
            for report in view.reports
        ]
        count = f"{len(rows)} pool{'s' * (len(rows) > 1)}"
        lines = [
            f"poolscope: {count} in {len(pids)} process{'es' * (len(pids) > 1)}",
            *table([HEAD, *rows]),
            *_found(self.findings(view)),
        ]
        return "\n".join(lines) + "\n"


def _with(seen: Seen, view: PoolView) -> Seen:
    reading = view.reading
    limit, most = view.config.limit, view.most_in_use
    if (most, limit) < (seen.most_in_use, seen.limit):
        limit, most = seen.limit, seen.most_in_use
    case = PoolEvidence(view.config, reading, view.evidence)
    found = findings_of(view.pool, view.kind, [case])
    return Seen(limit, most, tuple(_merged((*seen.findings, *found))))


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return each finding of a pool once, with the lines of all, the most severe first."""
    by_rule: defaultdict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        by_rule[finding.pool, finding.kind, finding.rule].append(finding)
    merged = [
        replace(same[0], sites=tuple(dict.fromkeys(site for each in same for site in each.sites)))
        for same in by_rule.values()
    ]
    return sorted(merged, key=lambda finding: SEVERITIES.index(finding.severity))


def _found(findings: Iterable[Finding]) -> Iterator[str]:
    for finding in findings:
        yield (
            f"{finding.severity}: {finding.pool} ({finding.kind}): {finding.rule}: "
            f"{finding.message}"
        )
        for site in finding.sites:
            yield f"    {site}"


def _row(pool: str, kind: str, reading: Reading, seen: Seen | None) -> tuple[str, ...]:
    known = seen or Seen()
    waited = reading.waited > 0
    return (
        pool,
        kind,
        _limit(known.limit) if seen else "?",
        _count(known.most_in_use) if seen else "?",
        _count(sum((reading.acquired, reading.timed_out, reading.cancelled, reading.failed))),
        _count(reading.waited),
        duration(quantile(reading.queue_seconds, 0.99)) if waited else "",
        _count(reading.timed_out),
        _count(reading.leaks_overdue + reading.leaks_abandoned),
    )


def quantile(histogram: Histogram, share: float) -> float:
    """
    Return below how many seconds that share of the observations is, 0 to 1.

    As Prometheus does, it takes the observations of a bucket to be spread evenly; what is beyond
    the last bound counts as that bound.
    """
    counts = histogram[:-1]
    rank = share * sum(counts)
    bounds = (0.0, *ACQUIRE_BUCKETS)
    for place, total in enumerate(accumulate(counts[:-1])):
        if total >= rank and counts[place]:
            inside = (rank - (total - counts[place])) / counts[place]
            return bounds[place] + (bounds[place + 1] - bounds[place]) * inside
    return bounds[-1]


def duration(seconds: float) -> str:
    """Return a time in the unit that fits."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _limit(limit: float) -> str:
    return "none" if limit == float("inf") else _count(limit)


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows with their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if place < _TEXTS else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()

"""What Prometheus has of the busiest five minutes of each pool."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from poolscope.sizing.http import SourceError, get, without_credentials
from poolscope.sizing.measured import Durations, Measured

BUSY_SECONDS: Final = 300
"""The length of the busiest time."""

PROCESS_LABELS: Final = ("instance", "pod", "pid")
"""The labels that tell the processes of one pool apart; their numbers are added up."""

MAX_POINTS: Final = 10_000
"""Of a query: Prometheus answers at most 11,000."""

Labels = tuple[tuple[str, str], ...]

Points = list[tuple[float, float]]
"""When, and how much."""


class Prometheus:
    """A server of Prometheus, or what answers as one does. Its methods raise SourceError."""

    def __init__(self, url: str) -> None:
        self._url: Final = url.rstrip("/")

    def busiest(self, window: float, pool: str | None = None) -> list[Measured]:
        """
        Return the busiest five minutes of each pool, also of those that nobody has used.

        window: how many seconds to look back.
        pool: the name of the pool; None for all.
        """
        now = time.time()
        in_use = self._range(_increase("in_use_seconds_total", pool), now, window)
        acquired = self._range(_increase("acquires_total", pool, outcome="ok"), now, window)
        found = []
        for labels, points in in_use.items():
            at, _ = max(points, key=lambda point: point[1])
            holds = dict(acquired.get(labels, ()))
            loads = [
                (value / BUSY_SECONDS, value / holds[moment])
                for moment, value in points
                if holds.get(moment)
            ]
            found.append(self._measured(dict(labels), at, loads))
        return found

    def server(self) -> tuple[int, int] | None:
        """
        Return how many connections the database server accepts from ordinary users, and how many
        there are that no pool of poolscope has opened; None if no exporter asks one server.
        """
        accepts = self._now(
            "max by (server) (connpool_server_limit) - max by (server) (connpool_server_reserved)"
        )
        if len(accepts) != 1:
            return None
        used = self._now("sum(max without (instance) (connpool_server_connections))")
        others = sum(used.values()) - self.own_connections()
        return server_of(next(iter(accepts.values())), others)

    def own_connections(self) -> float:
        """Return how many connections the pools for databases have."""
        return sum(self._now('sum(connpool_connections{kind!="aiohttp"})').values())

    def _measured(
        self, labels: dict[str, str], at: float, loads: list[tuple[float, float]]
    ) -> Measured:
        pool, kind = labels.get("pool", ""), labels.get("kind", "")

        def increase(family: str, **more: str) -> float:
            return sum(self._at(_increase(family, **{**labels, **more}), at).values())

        def highest(family: str) -> float:
            query = _sum(f"max_over_time(connpool_{family}{_select(labels)}[5m])")
            return sum(self._at(query, at).values())

        outcomes = self._by("outcome", "acquires_total", labels, at)
        return Measured(
            pool=pool,
            kind=kind,
            seconds=self._covered(labels, at),
            in_use_seconds=increase("in_use_seconds_total"),
            attempts=sum(outcomes.values()),
            acquired=outcomes.get("ok", 0.0),
            waited=increase("waits_total"),
            gave_up=outcomes.get("timeout", 0.0) + outcomes.get("cancelled", 0.0),
            nested=increase("nested_acquires_total"),
            holds=self._durations("hold_seconds", labels, at),
            waits=self._durations("queue_seconds", labels, at),
            limit=highest("limit"),
            instances=highest("instances"),
            peak=highest("in_use_peak"),
            waiting_peak=highest("waiting_peak"),
            loads=loads,
            where={name: value for name, value in labels.items() if name not in ("pool", "kind")},
        )

    def _covered(self, labels: Mapping[str, str], at: float) -> float:
        """
        Return for how many of the busy seconds there are samples.

        Where a series begins later, Prometheus' `increase` goes back half an interval before it.
        """
        query = f"connpool_in_use_seconds_total{_select(labels)}[{BUSY_SECONDS}s]"
        series = self._ask("query", query=query, time=f"{at:.3f}")
        times = [[moment for moment, _ in points] for _, points in series]
        begins = [
            each[0] - (each[-1] - each[0]) / (len(each) - 1) / 2 for each in times if len(each) > 1
        ]
        return min(float(BUSY_SECONDS), at - min(begins)) if begins else float(BUSY_SECONDS)

    def _by(
        self, label: str, family: str, labels: Mapping[str, str], at: float
    ) -> dict[str, float]:
        query = f"sum by ({label}) (increase(connpool_{family}{_select(labels)}[5m]))"
        return {dict(key).get(label, ""): value for key, value in self._at(query, at).items()}

    def _durations(self, family: str, labels: Mapping[str, str], at: float) -> Durations:
        by_bound = self._by("le", f"{family}_bucket", labels, at)
        total = sum(self._at(_increase(f"{family}_sum", **labels), at).values())
        return durations(
            ((bound, by_bound[text]) for text in by_bound if (bound := bound_of(text)) is not None),
            total,
        )

    def _now(self, query: str) -> dict[Labels, float]:
        return self._at(query, time.time())

    def _at(self, query: str, at: float) -> dict[Labels, float]:
        result = self._ask("query", query=query, time=f"{at:.3f}")
        return {labels: value for labels, ((_, value), *_) in result}

    def _range(self, query: str, now: float, window: float) -> dict[Labels, Points]:
        step = max(BUSY_SECONDS / 2, math.ceil(window / MAX_POINTS))
        result = self._ask(
            "query_range",
            query=query,
            start=f"{now - step * math.floor(window / step):.3f}",
            end=f"{now:.3f}",
            step=f"{step:g}",
        )
        return dict(result)

    def _ask(self, what: str, **arguments: str) -> list[tuple[Labels, Points]]:
        """Return the labels of each series that there is, with its points."""
        shown = without_credentials(self._url)[0]
        try:
            body = get(f"{self._url}/api/v1/{what}?{urlencode(arguments)}", "application/json")
            return [_series(each) for each in json.loads(body)["data"]["result"] if _points(each)]
        except SourceError as error:
            raise SourceError(f"{error}{_said(error.body)}") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise SourceError(
                f"{shown} is no Prometheus: {what} answered no result{_said(body)}"
            ) from None


def _said(body: bytes) -> str:
    """Return what Prometheus says of an error, if it does."""
    try:
        said = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f": {said}"


def _points(series: Any) -> list[Any]:
    points: list[Any] = series["values"] if "values" in series else [series["value"]]
    return points


def _series(series: Any) -> tuple[Labels, Points]:
    """Return one series of an answer. Raises ValueError, KeyError or TypeError if it is none."""
    points = [(float(at), _number(value)) for at, value in _points(series)]
    return _labels(series), points


def _number(text: str) -> float:
    """Return a number; 0 for what is none, as where 0 was divided by 0."""
    value = float(text)
    return 0.0 if math.isnan(value) else value


def server_of(accepts: float, others: float) -> tuple[int, int] | None:
    """Return whole numbers from 0 on; None if these are no numbers of connections."""
    if not (math.isfinite(accepts) and math.isfinite(others)):
        return None
    return max(0, int(accepts)), max(0, int(others))


def durations(by_bound: Iterable[tuple[float, float]], total: float) -> Durations:
    """Return durations, whose counts are cumulative here, as those of a histogram are."""
    ordered = sorted(by_bound)
    counts, before = [], 0.0
    for _, count in ordered:
        counts.append(max(0.0, count - before))
        before = max(before, count)
    return Durations(tuple(bound for bound, _ in ordered), tuple(counts), total)


def bound_of(text: str) -> float | None:
    """Return the bound of a bucket; None if it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _labels(result: Any) -> Labels:
    return tuple(sorted((k, v) for k, v in result["metric"].items() if k != "__name__"))


def _increase(family: str, pool: str | None = None, **labels: str) -> str:
    if pool is not None:
        labels["pool"] = pool
    return _sum(f"increase(connpool_{family}{_select(labels)}[{BUSY_SECONDS}s])")


def _sum(query: str) -> str:
    return f"sum without ({', '.join((*PROCESS_LABELS, 'outcome'))}) ({query})"


def _select(labels: Mapping[str, str]) -> str:
    matchers = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
    return f"{{{matchers}}}"

"""What one `/metrics` has to say of each pool, over a time in which it is read again and again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from prometheus_client.parser import text_string_to_metric_families

from poolscope.sizing.http import SourceError, get, without_credentials
from poolscope.sizing.measured import Durations, Measured
from poolscope.sizing.prometheus import BUSY_SECONDS, bound_of, durations, server_of

READINGS: Final = 12
"""How many times are compared with each other, in which the numbers are read."""

MIN_INTERVAL: Final = 1.0
"""Seconds between two readings, at least."""

PREFIX: Final = "connpool_"

Key = tuple[str, str]
Sample = tuple[Mapping[str, str], float]
Samples = Mapping[str, Sequence[Sample]]
"""The samples of each name, without the prefix."""

Reading = tuple[float, Samples]
"""When it was read, and what."""


def read(url: str, seconds: float, sleep: Callable[[float], object] = time.sleep) -> list[Reading]:
    """
    Return what there was at the beginning, at the end and in between. Raises SourceError.

    url: of `/metrics`, or of the server that has it there.
    seconds: how long to read.
    """
    address = metrics_address(url)
    interval = max(MIN_INTERVAL, seconds / READINGS)
    readings = [_read(address)]
    for _ in range(max(1, math.floor(seconds / interval))):
        sleep(interval)
        readings.append(_read(address))
    return readings


def metrics_address(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="/metrics")) if parts.path in ("", "/") else url


def server(samples: Samples) -> tuple[int, int] | None:
    """See `Prometheus.server`."""
    limits, reserved = samples.get("server_limit", ()), samples.get("server_reserved", ())
    if len(limits) != 1:
        return None
    used = sum(value for _, value in samples.get("server_connections", ()))
    accepts = limits[0][1] - sum(value for _, value in reserved)
    return server_of(accepts, used - own_connections(samples))


def own_connections(samples: Samples) -> float:
    """Return how many connections the pools for databases have."""
    found = samples.get("connections", ())
    return sum(value for labels, value in found if _key(labels)[1] != "aiohttp")


def measured(readings: Sequence[Reading]) -> list[Measured]:
    """Return what happened between the readings, of each pool that has a limit or was used."""
    last = readings[-1][1]
    keys = sorted({_key(labels) for labels, _ in last.get("instances", ())})
    keys = [key for key in keys if all(key)]
    return [found for key in keys if (found := _busiest(readings, key)) is not None]


def _busiest(readings: Sequence[Reading], key: Key) -> Measured | None:
    """Return the busiest time of a pool, of up to `BUSY_SECONDS`; None if it was not there."""
    steps = [_between(before, after, key) for before, after in pairwise(readings)]
    # A counter fell where a process was started again: what was before is not compared.
    begin = max((number for number, step in enumerate(steps, 1) if step is None), default=0)
    steady, best = readings[begin:], None
    loads = [
        (step.in_use_seconds / step.seconds, step.hold)
        for step in steps[begin:]
        if step is not None and step.acquired
    ]
    for first, before in enumerate(steady[:-1]):
        later = [each for each in steady[first + 1 :] if each[0] - before[0] <= BUSY_SECONDS]
        part = _between(before, later[-1] if later else steady[first + 1], key, loads)
        if part is not None and (best is None or _is_busier(part, best)):
            best = part
    return best


def _is_busier(part: Measured, than: Measured) -> bool:
    """Whether more was in use in it, if it is not much shorter."""
    return part.seconds >= 0.9 * than.seconds and (
        part.in_use_seconds / part.seconds > than.in_use_seconds / than.seconds
    )


def _between(
    first: Reading, last: Reading, key: Key, loads: Iterable[tuple[float, float]] = ()
) -> Measured | None:
    """Return what happened; None if a counter fell."""
    (began, before), (ended, after) = first, last

    def rise(name: str, **labels: str) -> float:
        return _value(after, name, key, labels) - _value(before, name, key, labels)

    def histogram(name: str) -> Durations:
        earlier = dict(_by_bound(before, name, key))
        later = [
            (bound, count - earlier.get(bound, 0.0)) for bound, count in _by_bound(after, name, key)
        ]
        return durations(later, rise(f"{name}_sum"))

    ok = rise("acquires_total", outcome="ok")
    if ok < 0 or ended <= began or rise("in_use_seconds_total") < 0:
        return None
    gave_up = rise("acquires_total", outcome="timeout") + rise(
        "acquires_total", outcome="cancelled"
    )
    return Measured(
        pool=key[0],
        kind=key[1],
        seconds=ended - began,
        in_use_seconds=rise("in_use_seconds_total"),
        attempts=rise("acquires_total"),
        acquired=ok,
        waited=rise("waits_total"),
        gave_up=gave_up,
        nested=rise("nested_acquires_total"),
        holds=histogram("hold_seconds"),
        waits=histogram("queue_seconds"),
        limit=_value(after, "limit", key, {}),
        instances=_value(after, "instances", key, {}),
        peak=_value(after, "in_use_peak", key, {}),
        waiting_peak=_value(after, "waiting_peak", key, {}),
        loads=tuple(loads),
    )


def _value(samples: Samples, name: str, key: Key, labels: Mapping[str, str]) -> float:
    return sum(
        value
        for found, value in samples.get(name, ())
        if _key(found) == key and labels.items() <= found.items()
    )


def _by_bound(samples: Samples, name: str, key: Key) -> Iterator[tuple[float, float]]:
    for labels, value in samples.get(f"{name}_bucket", ()):
        if _key(labels) == key and (bound := bound_of(labels.get("le", ""))) is not None:
            yield bound, value


def _key(labels: Mapping[str, str]) -> Key:
    return labels.get("pool", ""), labels.get("kind", "")


def _read(address: str) -> Reading:
    body = get(address, "text/plain")
    now = time.monotonic()
    found: dict[str, list[Sample]] = {}
    try:
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                if sample.name.startswith(PREFIX):
                    name = sample.name.removeprefix(PREFIX)
                    value = 0.0 if math.isnan(sample.value) else sample.value
                    found.setdefault(name, []).append((sample.labels, value))
    except ValueError:
        found = {}
    if not found:
        shown = without_credentials(address)[0]
        raise SourceError(f"{shown} has no metrics of poolscope ({PREFIX}...)")
    return now, found

"""
The series of two pools over simulated days, minute by minute; deterministic.

On a quiet day there are more callers by day than at night. Bursts use up a pool for half a minute,
and once for two minutes, and a few callers time out. Deployments replace one process after the
other, and the new ones have to open their connections. At night, a batch job holds connections for
a long time.

`shop` has an exporter, which sums over its processes. `billing` has none: each of its processes is
a target that appears and vanishes, with counters that start at 0. Both use one database server.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from poolscope.mixin.queries import name_of

DAY: Final = 1440
"""Minutes."""

LIMIT: Final = 10
PROCESSES: Final = 4
BURST_SECONDS: Final = 25.0
LONG_BURST: Final = range(660, 662)
DEPLOYS: Final = (600, 930)
"""The minutes of the day at which deployments begin; each process takes two minutes."""
BATCH: Final = range(120, 165)

Series = dict[str, list[float | None]]


@dataclass
class Process:
    """One process with a pool: its counters and its gauges."""

    counters: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    gauges: dict[str, float] = field(default_factory=dict)
    cold: bool = True

    def minute(self, load: float, random_: random.Random, *, burst: float, exhausted: bool) -> None:
        """
        Simulate a minute.

        load: the mean utilization.
        burst: for how many seconds there are more callers than connections.
        exhausted: whether there are more callers than connections all the time, and callers time
            out.
        """
        load = 0.999 if exhausted else min(0.97, load * random_.uniform(0.9, 1.1))
        saturated = 60.0 if exhausted else burst
        attempts = round(600 * load)
        timeouts = 30 if exhausted else 1 if burst and random_.random() < 0.3 else 0
        opened = LIMIT / 2 if self.cold else float(random_.random() < 0.2)
        waited = round(attempts * saturated / 60)
        slow = waited if exhausted else round(waited * 0.02)
        self.cold = False
        for name, grown in {
            'acquires_total{outcome="ok"}': attempts,
            'acquires_total{outcome="timeout"}': timeouts,
            'acquires_total{outcome="error"}': 0,
            'acquires_total{outcome="cancelled"}': timeouts,
            "waits_total": waited,
            "reused_total": attempts - opened,
            "nested_acquires_total": 0,
            'opened_total{outcome="ok"}': opened,
            'opened_total{outcome="error"}': float(random_.random() < 0.002),
            "closed_total": opened if opened < 2 else 0,
            'invalidated_total{mode="hard"}': float(random_.random() < 0.01),
            'invalidated_total{mode="soft"}': 0,
            "in_use_seconds_total": load * LIMIT * 60,
            "waiting_seconds_total": saturated * (8 if exhausted else 2),
            "saturated_seconds_total": saturated,
            "acquire_seconds_count{}": attempts + 2 * timeouts,
            'acquire_seconds_bucket{le="1.0"}': attempts + 2 * timeouts - slow,
            "hold_seconds_count{}": attempts,
            'leaks_total{reason="abandoned"}': 0,
        }.items():
            self.counters[name] += grown
        in_use = round(load * LIMIT)
        # Connections that are held now were acquired and not returned.
        self.counters["hold_seconds_count{}"] += self.gauges.get("held", 0) - in_use
        self.gauges = {
            "held": in_use,
            'connections{state="in_use"}': in_use,
            'connections{state="idle"}': LIMIT - in_use,
            'connections{state="opening"}': 0,
            "limit": LIMIT,
            "idle_limit": LIMIT / 2,
            "instances": 1,
            'leaked{reason="abandoned"}': 0,
        }

    def end(self) -> None:
        """End the process after it has returned all connections."""
        self.counters["hold_seconds_count{}"] += self.gauges.get("held", 0)
        self.gauges = {}
        self.cold = True


@dataclass(frozen=True)
class Day:
    """
    Consecutive days.

    days: the number of days.
    exhausted: the minutes in which the pool of `shop` is exhausted.
    """

    days: int = 2
    exhausted: range = range(0)

    @property
    def minutes(self) -> range:
        return range(self.days * DAY)

    def series(self) -> Series:
        """Return all series by name and labels; a missing sample is None."""
        found: Series = {}
        for minute, samples in enumerate(self._samples()):
            for name, value in samples.items():
                values = found.setdefault(name, [])
                values += [None] * (minute - len(values))
                values.append(value)
        return {
            name: values + [None] * (len(self.minutes) - len(values))
            for name, values in found.items()
        }

    def _samples(self) -> Iterator[dict[str, float]]:
        """Yield the samples of each minute."""
        random_ = random.Random(7)  # noqa: S311 - for numbers, not for secrets
        shop = [Process() for _ in range(PROCESSES)]
        billing = [(0, Process()) for _ in range(PROCESSES)]
        overdue = total_overdue = recovered = 0.0
        created = float(PROCESSES)
        for minute in self.minutes:
            now = minute % DAY
            load = _load(now)
            bursts = [BURST_SECONDS if random_.random() < 0.02 else 0.0 for _ in range(2)]
            if now in LONG_BURST:
                bursts[0] = 60.0
            for number in _replaced(now):
                shop[number].end()
                created += 1
                billing[number] = (billing[number][0] + 1, Process())
            for process in shop:
                process.minute(load, random_, burst=bursts[0], exhausted=minute in self.exhausted)
            for _, process in billing:
                process.minute(load * 0.8, random_, burst=bursts[1], exhausted=False)
            # The batch job holds one connection for longer than the others, and returns it.
            began, overdue = overdue, float(now in BATCH and now - BATCH.start in range(2, 27))
            total_overdue += max(0.0, overdue - began)
            recovered += max(0.0, began - overdue)
            more = {
                'leaked{reason="overdue"}': overdue,
                'leaks_total{reason="overdue"}': total_overdue,
                "leaks_recovered_total": recovered,
                "instances_created_total": created,
            }
            yield {
                **_pool({**_sum(shop), **more}, "shop", "exporter:10464", "orders", "sqlalchemy"),
                **_exporter(shop, load),
                **_server(load),
                **{
                    name: value
                    for number, (life, process) in enumerate(billing)
                    for name, value in _pool(
                        {**_sum([process]), "instances_created_total": 1.0},
                        *("billing", f"billing-{number}-{life}:8000", "invoices", "asyncpg"),
                    ).items()
                },
            }


def _load(now: int) -> float:
    """Return the mean utilization at a minute of the day: low at night, except for the batch."""
    day = 0.1 + 0.5 * max(0.0, math.sin(math.pi * (now - 360) / 960)) ** 1.5 if now > 360 else 0.1
    return day + (0.55 if now in BATCH else 0.0)


def _replaced(now: int) -> list[int]:
    """Return the processes that a deployment replaces in this minute."""
    return [number for at in DEPLOYS for number in range(PROCESSES) if now == at + 2 * number]


def _sum(processes: list[Process]) -> dict[str, float]:
    sums: defaultdict[str, float] = defaultdict(float)
    for process in processes:
        for name, value in (*process.counters.items(), *process.gauges.items()):
            sums[name] += value
    del sums["held"]
    return dict(sums)


def _named(name: str, labels: Mapping[str, str]) -> str:
    """Return a series; the name may include labels, or a part of a histogram."""
    family, _, own = name.partition("{")
    for part in ("_bucket", "_count"):
        if family.endswith(part):
            family = name_of(family.removesuffix(part)) + part
            break
    else:
        family = name_of(family) if family != "up" else family
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    own = own.removesuffix("}")
    return f"{family}{{{inside}{',' if own else ''}{own}}}"


def _pool(
    samples: Mapping[str, float], service: str, instance: str, pool: str, kind: str
) -> dict[str, float]:
    target = {"cluster": "eu", "service": service, "job": service, "instance": instance}
    of_pool = {**target, "pool": pool, "kind": kind}
    up, errors = _named("up", target), _named("internal_errors_total", target)
    found = {_named(name, of_pool): value for name, value in samples.items()}
    return {**found, up: 1.0, errors: 0.0}


def _exporter(processes: list[Process], load: float) -> dict[str, float]:
    target = {
        "cluster": "eu",
        "service": "shop",
        "job": "shop",
        "instance": "exporter:10464",
    }
    pool = {**target, "pool": "orders", "kind": "sqlalchemy"}
    fullest = max(process.gauges['connections{state="in_use"}'] for process in processes) / LIMIT
    return {
        _named("utilization_max", pool): fullest,
        _named('finding{rule="too-large",severity="info"}', pool): 1.0,
        _named('finding{rule="stale-connections",severity="warning"}', pool): 1.0,
        _named("exporter_bad_segments", target): 0.0,
        _named('exporter_build_info{version="1"}', target): 1.0,
    }


def _server(load: float) -> dict[str, float]:
    server = {
        "cluster": "eu",
        "service": "shop",
        "job": "shop",
        "instance": "exporter:10464",
        "server": "db:5432",
    }

    def each(application: str) -> str:
        own = f'database="app",user="app",application="{application}",state="idle"'
        return f"server_connections{{{own}}}"

    idle = 'server_oldest_idle_in_transaction_seconds{application="shop:orders"}'
    return {
        _named("server_up", server): 1.0,
        _named("server_limit", server): 120.0,
        _named("server_reserved", server): 3.0,
        _named(each("shop:orders"), server): round(load * LIMIT * PROCESSES),
        _named(each("billing:invoices"), server): round(0.8 * load * LIMIT * PROCESSES),
        _named(idle, server): round(40 * load),
    }

"""Services with pools, as a Prometheus would have scraped them for half an hour."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mixin.dashboards.estate_servers import Bouncer, Server

SCRAPE: Final = 15
"""Seconds between two scrapes."""
MINUTES: Final = 30
EXPORTER_PROCESSES: Final = 20
GONE_FOR: Final = 600
"""Seconds since the last sample of what is gone."""


@dataclass(frozen=True)
class Pool:
    """
    One pool of one process. Each number is per second, or a mean, and the same all the time.

    process: the address of its process; each pool has one of its own by default.
    burst: seconds ago at which all connections were taken, and were free again, and how many
        callers waited in between.
    live: whether it still exists; its process goes on to count for it if not.
    gone: whether its process is gone.
    sites: for each function, how many connections it holds, and for how many seconds it has.
    operations: for each operation, how many connections it holds.
    findings: severity by rule.
    hosts: for each host, how many connections are in use; as many are opened each second.
    failing_hosts: for each host, how many attempts to open one fail each second.
    pids: for each process that an exporter tells apart, how many connections are in use.
    """

    cluster: str
    service: str
    name: str
    kind: str = "asyncpg"
    limit: float = 10
    in_use: float = 2
    waiting: float = 0
    attempts: float = 5
    gave_up: float = 0
    peak: float = 0
    oldest: float = 0
    process: str = ""
    burst: tuple[float, float, float] = (0, 0, 0)
    live: bool = True
    gone: bool = False
    sites: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    operations: Mapping[str, int] = field(default_factory=dict)
    findings: Mapping[str, str] = field(default_factory=dict)
    hosts: Mapping[str, int] = field(default_factory=dict)
    failing_hosts: Mapping[str, float] = field(default_factory=dict)
    pids: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.cluster, self.service, self.name

    def labels(self) -> dict[str, str]:
        owner = {"cluster": self.cluster, "service": self.service}
        return {label: value for label, value in owner.items() if value}

    def burst_until(self, ago: float) -> float:
        """Return for how many seconds its burst had lasted by then."""
        begin, end, _ = self.burst
        return max(0.0, begin - max(ago, end))

    def gauges(self, ago: float) -> Iterator[tuple[str, dict[str, str], float]]:
        if not self.live:
            return
        begin, end, burst_waiting = self.burst
        bursting = begin > ago >= end
        in_use = self.limit if bursting else self.in_use
        yield "connpool_instances", {}, 1
        yield "connpool_limit", {}, self.limit
        yield "connpool_in_use_peak", {}, in_use
        yield "connpool_waiting_peak", {}, max(self.peak, bursting * burst_waiting)
        yield "connpool_waiting", {}, burst_waiting if bursting else self.waiting
        yield "connpool_oldest_hold_seconds", {}, max(0.0, self.oldest - ago)
        for state, number in (("in_use", in_use), ("idle", 1), ("opening", 0)):
            yield "connpool_connections", {"state": state}, number
        for reason in ("overdue", "abandoned"):
            yield "connpool_leaked", {"reason": reason}, 0
        for site, (number, since) in self.sites.items():
            yield "connpool_site_connections", {"site": site}, number if ago < since else 0
            for reason in ("overdue", "abandoned"):
                yield "connpool_site_leaked", {"site": site, "reason": reason}, 0
        for operation, number in self.operations.items():
            yield "connpool_operation_connections", {"operation": operation}, number
        for rule, severity in self.findings.items():
            yield "connpool_finding", {"rule": rule, "severity": severity}, 1
        for host in {**self.hosts, **self.failing_hosts}:
            number = self.hosts.get(host, 0)
            yield "connpool_host_connections", {"host": host, "state": "in_use"}, number
            yield "connpool_host_waiting", {"host": host}, self.waiting
        for pid, number in self.pids.items():
            yield "connpool_process_connections", {"pid": pid, "state": "in_use"}, number
            yield "connpool_process_limit", {"pid": pid}, self.limit / len(self.pids)
            yield "connpool_process_waiting", {"pid": pid}, 0
            yield "connpool_process_oldest_hold_seconds", {"pid": pid}, self.oldest
        if self.pids:
            fullest = max(self.pids.values()) / (self.limit / len(self.pids))
            yield "connpool_utilization_max", {}, fullest

    def counters(self, ago: float) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield each counter; it was 0 at the first scrape."""
        if not self.live:
            ago = MINUTES * 60
        seconds, burst = MINUTES * 60 - ago, self.burst_until(ago)
        full = float(self.in_use >= self.limit)
        taken = (self.limit - self.in_use) * burst if burst else 0
        yield "connpool_in_use_seconds_total", {}, self.in_use * seconds + taken
        yield "connpool_waiting_seconds_total", {}, self.waiting * seconds + self.burst[2] * burst
        yield "connpool_saturated_seconds_total", {}, full * seconds + (1 - full) * burst
        yield "connpool_waits_given_up_total", {}, self.gave_up * seconds
        yield "connpool_reused_total", {}, self.attempts * seconds
        for name in ("nested_acquires", "leaks_recovered"):
            yield f"connpool_{name}_total", {}, 0
        for reason in ("overdue", "abandoned"):
            yield "connpool_leaks_total", {"reason": reason}, 0
        for outcome, rate in (("ok", self.attempts), ("timeout", self.gave_up), ("error", 0)):
            yield "connpool_acquires_total", {"outcome": outcome}, rate * seconds
        opened = 0.1 * (self.attempts > 0) * seconds
        for outcome, number in (("ok", opened), ("error", 0)):
            yield "connpool_opened_total", {"outcome": outcome}, number
        yield "connpool_closed_total", {}, opened
        for host in {**self.hosts, **self.failing_hosts}:
            for outcome, each in (("ok", self.hosts), ("error", self.failing_hosts)):
                of_host = {"host": host, "outcome": outcome}
                yield "connpool_host_opened_total", of_host, each.get(host, 0) * seconds
        for site, (number, _) in self.sites.items():
            yield "connpool_site_in_use_seconds_total", {"site": site}, number * seconds
        for operation, number in self.operations.items():
            name = "connpool_operation_in_use_seconds_total"
            yield name, {"operation": operation}, number * seconds
        for bound, part in (("0.1", 0.9), ("1.0", 1), ("+Inf", 1)):
            for name in ("acquire", "queue", "open", "hold"):
                number = self.attempts * part * seconds
                yield f"connpool_{name}_seconds_bucket", {"le": bound}, number


POOLS: Final = (
    Pool(
        *("eu", "shop", "db"),
        in_use=10,
        waiting=36,
        gave_up=2,
        peak=84,
        oldest=400,
        sites={
            "shop.orders:pay": (9, 300),
            "shop.jobs:sweep": (1, 9000),
            "shop.orders:list": (0, 0),
        },
        operations={"POST /orders/{id}": 6, "background: POST /orders/{id}": 2, "GET /orders": 0},
        findings={"nested-acquire": "critical"},
    ),
    Pool(
        *("eu", "billing", "db"),
        oldest=5,
        sites={"billing:charge": (2, 600)},
        findings={"too-small": "warning"},
    ),
    Pool("us", "shop", "db", in_use=3),
    Pool("eu", "mail", "db", in_use=10, waiting=20, gone=True),
    Pool("eu", "shop", "listen", limit=1, in_use=1, attempts=0, oldest=1800),
    Pool("eu", "billing", "api", "aiohttp", limit=float("inf"), hosts={"pay.example:443": 2}),
    Pool(
        "eu",
        "shop",
        "api",
        "aiohttp",
        limit=100,
        hosts={"pay.example:443": 7},
        failing_hosts={"pay.example:443": 1, "mail.example:443": 3},
    ),
    Pool("eu", "billing", "cron", "sqlalchemy", in_use=1, gave_up=0.5, pids={"7": 0, "8": 1}),
    Pool("eu", "shop", "closed", "sqlalchemy", live=False),
    Pool("eu", "billing", "a&b=c d", "sqlalchemy", in_use=1),
    Pool("eu", "pay.eu", "db"),
    Pool("eu", "pay-eu", "db", in_use=3.5),
    Pool("", "", "bare", "sqlalchemy", in_use=4),
)


def text(
    pools: Sequence[Pool],
    end: int,
    servers: Sequence[Server | Bouncer] = (),
    exporter_processes: int = EXPORTER_PROCESSES,
) -> Iterator[str]:
    """
    Yield the samples of all scrapes until `end`, in the format of OpenMetrics.

    exporter_processes: how many processes an exporter sees; with 0 there is none.
    """
    series: dict[str, dict[str, list[str]]] = {}

    def add(name: str, labels: Mapping[str, str], value: float, at: int) -> None:
        inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
        shown = "+Inf" if value == float("inf") else repr(float(value))
        series.setdefault(name, {}).setdefault(inside, []).append(f"{shown} {at}")

    for at in range(end - MINUTES * 60, end + 1, SCRAPE):
        scraped = set()
        for number, pool in enumerate(pools):
            ago = end - at
            instance = pool.process or f"10.0.0.{number}:80"
            target = {**pool.labels(), "job": "pools", "instance": instance}
            silent = pool.gone and ago < GONE_FOR
            if instance not in scraped:
                add("up", target, 0 if silent else 1, at)
                scraped.add(instance)
            if silent:
                continue
            own = {"pool": pool.name, "kind": pool.kind}
            for name, more, value in (*pool.gauges(ago), *pool.counters(ago)):
                add(name, {**target, **own, **more}, value, at)
        exporter = {"cluster": "eu", "service": "shop", "job": "pools", "instance": "10.0.0.0:80"}
        states = (("live", exporter_processes), ("gone", 3)) if exporter_processes else ()
        for state, number in states:
            add("connpool_exporter_processes", {**exporter, "state": state}, number, at)
        for server in servers:
            for asker in range(server.askers):
                target = {"cluster": server.cluster, "service": "monitoring", "job": "exporters"}
                for name, more, value in server.gauges():
                    add(name, {**target, "instance": f"10.1.0.{asker}:80", **more}, value, at)
    for name, each in series.items():
        yield f"# TYPE {name} unknown"
        for inside, samples in each.items():
            yield from (f"{name}{{{inside}}} {sample}" for sample in samples)
    yield "# EOF"


def write(
    promtool: str,
    pools: Sequence[Pool],
    data: Path,
    end: int,
    servers: Sequence[Server | Bouncer] = (),
    exporter_processes: int = EXPORTER_PROCESSES,
) -> None:
    """Write the estate into the folder of a Prometheus that does not run yet."""
    samples = data.with_name("samples.txt")
    samples.write_text("\n".join(text(pools, end, servers, exporter_processes)) + "\n")
    made = subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", samples, data],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not made.returncode, made.stderr

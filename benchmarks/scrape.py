"""
A scrape of one process: the time of poolscope, and of prometheus_client for as many samples.

Every pool has a connection in use, an idle connection, and one call site.
"""

from __future__ import annotations

import asyncio
import gc
import http.client
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterable
from multiprocessing.connection import Connection
from typing import Any, Final

import prometheus_client
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase

import poolscope
from benchmarks.harness import Timings, Variant, interleave, repeated, run_measurement
from benchmarks.sqlalchemy_cycle import pool_of
from poolscope.fleet.folder import Folder
from poolscope.metrics.pool_families import FAMILIES
from poolscope.watching.watches import Watches

TICK_SECONDS: Final = 0.001


class Pools:
    """Pools that are watched, each with a connection in use and an idle one."""

    def __init__(self, number: int) -> None:
        self.registry = CollectorRegistry()
        self.watches = Watches(folder=Folder(None))
        self.pools = [pool_of(5) for _ in range(number)]
        for index, pool in enumerate(self.pools):
            self.watches.watch(pool, f"pool-{index}", registry=self.registry, leak_after=3600.0)
        self.held = [pool.connect() for pool in self.pools]
        for pool in self.pools:
            pool.connect().close()


def copy_metrics(families: Iterable[Metric]) -> CollectorRegistry:
    """Return a registry of prometheus_client's own metrics that have the same samples."""
    copy = CollectorRegistry()
    disable_created_metrics: Any = prometheus_client.disable_created_metrics
    disable_created_metrics()
    buckets = {family.name: family.buckets for family in FAMILIES}
    for family in families:
        if not family.samples:
            continue
        labels = [label for label in family.samples[0].labels if label != "le"]
        metric = _empty(family.name, family.type, labels, buckets.get(family.name, ()), copy)
        for sample in family.samples:
            values = [sample.labels[name] for name in labels]
            child: Any = metric.labels(*values) if labels else metric
            if isinstance(metric, Gauge):
                child.set(sample.value)
            elif isinstance(metric, Counter):
                child.inc(sample.value)
    return copy


def _empty(
    name: str, kind: str, labels: list[str], buckets: tuple[float, ...], registry: CollectorRegistry
) -> MetricWrapperBase:
    if kind == "histogram":
        return Histogram(name, "-", labels, registry=registry, buckets=buckets)
    cls = Counter if kind == "counter" else Gauge
    return cls(name, "-", labels, registry=registry)


def count_samples(registry: CollectorRegistry) -> int:
    return sum(len(family.samples) for family in registry.collect())


def measure(pools: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Return the number of samples and of bytes, and the timings of both variants."""
    watched = Pools(pools)
    ours, copy = watched.registry, copy_metrics(watched.registry.collect())
    if count_samples(ours) != count_samples(copy):
        raise RuntimeError(f"{count_samples(ours)} samples, {count_samples(copy)} in the copy")
    variants = [
        Variant("prometheus", repeated(generate_latest, copy)),
        Variant("poolscope", repeated(generate_latest, ours)),
    ]
    timings: Timings = interleave(variants, seconds, 1, warm_up=1, fewest_rounds=rounds)
    return {
        "samples": count_samples(ours),
        "bytes": len(generate_latest(ours)),
        "timings": timings,
    }


def scrape_all(port: int, scrapes: int, commands: Connection) -> None:
    """Say that this process is ready, wait for a command, and then scrape."""
    commands.send("ready")
    commands.recv()
    for _ in range(scrapes):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60.0)
        connection.request("GET", "/metrics")
        connection.getresponse().read()
        connection.close()


async def longest_delay(during: Callable[[], Awaitable[None]]) -> float:
    """Return the longest delay of the event loop while something runs, in seconds."""
    task = asyncio.ensure_future(during())
    longest, last = 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(TICK_SECONDS)
        now = time.perf_counter()
        longest, last = max(longest, now - last - TICK_SECONDS), now
    await task
    return longest


async def delay_by_thread(
    start: Callable[..., Any], registry: CollectorRegistry, scrapes: int
) -> float:
    """Return the longest delay of the loop, in seconds, while a thread serves the registry."""
    server, _ = start(0, "127.0.0.1", registry=registry)
    control, commands = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=scrape_all, args=(server.server_port, scrapes, commands)
    )
    # Starting a process blocks the loop, so it is done before the measurement.
    process.start()
    control.recv()

    async def during() -> None:
        control.send("go")
        await asyncio.to_thread(process.join)

    try:
        return await longest_delay(during)
    finally:
        server.shutdown()
        server.server_close()


async def delay_by_app(
    make: Callable[..., Any], registry: CollectorRegistry, scrapes: int
) -> float:
    """Return the longest delay of the loop, in seconds, while its ASGI app serves the registry."""
    app = make(registry)

    async def send(message: object) -> None: ...

    async def receive() -> dict[str, str]:
        return {"type": "http.request"}

    async def during() -> None:
        for _ in range(scrapes):
            scope = {"type": "http", "headers": [], "query_string": b""}
            await app(scope, receive, send)

    return await longest_delay(during)


async def delay_of_idle_loop(seconds: float) -> float:
    return await longest_delay(lambda: asyncio.sleep(seconds))


def measure_delays(pools: int, rounds: int, scrapes: int, of: str) -> dict[str, list[float]]:
    """
    Return the longest delay of the loop in each round, in seconds: when idle, and while scraped.

    scrapes: how many scrapes a round has.
    of: `poolscope`, or `prometheus` for as many samples. A thread serves them; with `... ASGI`, the
        loop itself does. Each is alone in its process, because the garbage collector examines the
        objects of both.
    """
    watched: Pools | None = Pools(pools)
    registry = watched.registry if watched is not None else CollectorRegistry()
    if of.startswith("prometheus"):
        registry, watched = copy_metrics(registry.collect()), None
    scrape, serve = WAYS[of]
    gc.collect()
    delays: dict[str, list[float]] = {"nothing": [], of: []}
    for _ in range(rounds):
        delays["nothing"].append(asyncio.run(delay_of_idle_loop(0.5)))
        delays[of].append(asyncio.run(scrape(serve, registry, scrapes)))
    return delays


WAYS: Final[dict[str, Any]] = {
    "prometheus": (delay_by_thread, prometheus_client.start_http_server),
    "poolscope": (delay_by_thread, poolscope.start_http_server),
    "prometheus ASGI": (delay_by_app, prometheus_client.make_asgi_app),
    "poolscope ASGI": (delay_by_app, poolscope.make_asgi_app),
}

MEASURES: Final[dict[str, Callable[..., object]]] = {"time": measure, "blocks": measure_delays}


def choose(what: str, **options: Any) -> object:
    return MEASURES[what](**options)


if __name__ == "__main__":
    run_measurement(choose)

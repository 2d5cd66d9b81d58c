"""
A scrape of one process: what poolscope needs for it, and prometheus_client for as many samples.

Every pool has a connection in use, an idle one, and one function that has asked.
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
from benchmarks.harness import Timings, Variant, interleave, repeated, work
from benchmarks.sqlalchemy_cycle import pool_of
from poolscope.fleet.folder import Folder
from poolscope.metrics.pool_families import FAMILIES
from poolscope.watching.watches import Watches

TICK_SECONDS: Final = 0.001


class Pools:
    """Some pools that are watched, and in use."""

    def __init__(self, number: int) -> None:
        self.registry = CollectorRegistry()
        self.watches = Watches(folder=Folder(None))
        self.pools = [pool_of(5) for _ in range(number)]
        for index, pool in enumerate(self.pools):
            self.watches.watch(pool, f"pool-{index}", registry=self.registry, leak_after=3600.0)
        self.held = [pool.connect() for pool in self.pools]
        for pool in self.pools:
            pool.connect().close()


def copied(families: Iterable[Metric]) -> CollectorRegistry:
    """Return a registry in which plain metrics of prometheus_client have the same samples."""
    copy = CollectorRegistry()
    without_created: Any = prometheus_client.disable_created_metrics
    without_created()
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


def samples(registry: CollectorRegistry) -> int:
    return sum(len(family.samples) for family in registry.collect())


def measure(pools: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Return how many samples and bytes there are, and the timings of both."""
    watched = Pools(pools)
    ours, theirs = watched.registry, copied(watched.registry.collect())
    assert_equal(samples(ours), samples(theirs))
    variants = [
        Variant("prometheus", repeated(generate_latest, theirs)),
        Variant("poolscope", repeated(generate_latest, ours)),
    ]
    timings: Timings = interleave(variants, seconds, 1, warm_up=1, fewest_rounds=rounds)
    return {
        "samples": samples(ours),
        "bytes": len(generate_latest(ours)),
        "timings": timings,
    }


def assert_equal(ours: int, theirs: int) -> None:
    if ours != theirs:
        raise RuntimeError(f"{ours} samples are compared with {theirs}")


def scrape_all(port: int, scrapes: int, told: Connection) -> None:
    """Be a process that scrapes, once it is told to."""
    told.send("ready")
    told.recv()
    for _ in range(scrapes):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60.0)
        connection.request("GET", "/metrics")
        connection.getresponse().read()
        connection.close()


async def longest_block(during: Callable[[], Awaitable[None]]) -> float:
    """Return the longest that the event loop was late, in seconds."""
    task = asyncio.ensure_future(during())
    longest, last = 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(TICK_SECONDS)
        now = time.perf_counter()
        longest, last = max(longest, now - last - TICK_SECONDS), now
    await task
    return longest


async def scraped(start: Callable[..., Any], registry: CollectorRegistry, scrapes: int) -> float:
    """Return how long the loop is blocked at most while a thread serves the registry."""
    server, _ = start(0, "127.0.0.1", registry=registry)
    tell, told = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=scrape_all, args=(server.server_port, scrapes, told)
    )
    # Before, as to start a process blocks whoever does it.
    process.start()
    tell.recv()

    async def during() -> None:
        tell.send("go")
        await asyncio.to_thread(process.join)

    try:
        return await longest_block(during)
    finally:
        server.shutdown()
        server.server_close()


async def asked(make: Callable[..., Any], registry: CollectorRegistry, scrapes: int) -> float:
    """Return how long the loop is blocked at most in which an ASGI app is asked for metrics."""
    app = make(registry)

    async def send(message: object) -> None: ...

    async def receive() -> dict[str, str]:
        return {"type": "http.request"}

    async def during() -> None:
        for _ in range(scrapes):
            scope = {"type": "http", "headers": [], "query_string": b""}
            await app(scope, receive, send)

    return await longest_block(during)


async def undisturbed(seconds: float) -> float:
    return await longest_block(lambda: asyncio.sleep(seconds))


def measure_blocks(pools: int, rounds: int, scrapes: int, of: str) -> dict[str, list[float]]:
    """
    Return the longest block of each round, in seconds: with nothing going on, and while scraped.

    scrapes: in a round.
    of: `poolscope`, or `prometheus` for as many samples, served from a thread, or, `... ASGI`, by
        the loop itself; each is alone in its process, as what the other one keeps would be looked
        at by the garbage collector.
    """
    watched: Pools | None = Pools(pools)
    registry = watched.registry if watched is not None else CollectorRegistry()
    if of.startswith("prometheus"):
        registry, watched = copied(registry.collect()), None
    scrape, serve = WAYS[of]
    gc.collect()
    found: dict[str, list[float]] = {"nothing": [], of: []}
    for _ in range(rounds):
        found["nothing"].append(asyncio.run(undisturbed(0.5)))
        found[of].append(asyncio.run(scrape(serve, registry, scrapes)))
    return found


WAYS: Final[dict[str, Any]] = {
    "prometheus": (scraped, prometheus_client.start_http_server),
    "poolscope": (scraped, poolscope.start_http_server),
    "prometheus ASGI": (asked, prometheus_client.make_asgi_app),
    "poolscope ASGI": (asked, poolscope.make_asgi_app),
}

MEASURES: Final[dict[str, Callable[..., object]]] = {"time": measure, "blocks": measure_blocks}


def choose(what: str, **options: Any) -> object:
    return MEASURES[what](**options)


if __name__ == "__main__":
    work(choose)

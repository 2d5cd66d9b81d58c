"""asyncpg: acquire and release a connection to a real server, with or without a `SELECT 1`."""

from __future__ import annotations

from typing import Any

import asyncpg

from benchmarks import open_telemetry
from benchmarks.harness import (
    Timings,
    Variant,
    async_cycles,
    interleave_async,
    nothing,
    run_measurement,
    with_loop,
)
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches


def acquire(pool: Any) -> Any:
    async def cycle() -> None:
        async with pool.acquire(timeout=10.0):
            pass

    return async_cycles(cycle)


def select(pool: Any) -> Any:
    async def cycle() -> None:
        async with pool.acquire(timeout=10.0) as connection:
            await connection.fetchval("SELECT 1")

    return async_cycles(cycle)


def measure(dsn: str, loop: str, query: bool, seconds: float) -> Timings:
    """Return the timings of a cycle; `loop` is `asyncio` or `uvloop`."""

    async def main() -> Timings:
        pools = {
            name: await asyncpg.create_pool(dsn, min_size=2, max_size=2)
            for name in ("bare", "poolscope", "no-sites", "opentelemetry")
        }
        watches = Watches(folder=Folder(None))
        watches.watch(pools["poolscope"], "poolscope", registry=None)
        watches.watch(pools["no-sites"], "no-sites", registry=None, call_sites=False)
        instrumentation = {}
        if open_telemetry.available():
            instrumentation["opentelemetry"] = open_telemetry.instrument_asyncpg()
        else:
            await pools.pop("opentelemetry").close()
        cycle = select if query else acquire
        variants = [
            Variant(name, cycle(pool), *instrumentation.get(name, (nothing, nothing)))
            for name, pool in pools.items()
        ]
        timings = await interleave_async(variants, seconds)
        for pool in pools.values():
            await pool.close()
        return timings

    timings: Timings = with_loop(loop, main)
    return timings


if __name__ == "__main__":
    run_measurement(measure)

"""
A worker that sends requests to another service, with a watched session.

Run it with `python worker.py URL`. The worker has no web server of its own, so poolscope starts one
for the metrics on a free port. The worker prints the numbers that a scrape would return.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp

import poolscope


async def work(url: str) -> None:
    """Send ten requests at once, over at most four connections."""
    connector = aiohttp.TCPConnector(limit=4, limit_per_host=4)
    timeout = aiohttp.ClientTimeout(total=10, connect=2)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        watch = poolscope.watch(session, name="upstream")

        async def request() -> None:
            async with session.get(url) as response:
                await response.read()

        await asyncio.gather(*(request() for _ in range(10)))
        seen = watch.snapshot()
        print(
            f"{seen.acquired} acquired, {seen.waited} of them waited, {seen.reused} reused, "
            f"{seen.opened} opened, at most {seen.in_use_peak} of {seen.limit:.0f} in use, "
            f"{len(watch.findings())} findings"
        )


if __name__ == "__main__":
    server, _ = poolscope.start_http_server(port=0)
    print(f"metrics: http://127.0.0.1:{server.server_port}/metrics")
    asyncio.run(work(sys.argv[1]))

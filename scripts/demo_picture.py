"""Run the demo until a pool is exhausted, and write its screen to a file as SVG."""

from __future__ import annotations

import asyncio
import io
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

import poolscope
from poolscope.demo.load import Load
from poolscope.demo.postgres import EmbeddedPostgres, embedded_postgres
from poolscope.demo.screen import REFRESH, Addresses, Screen
from poolscope.demo.service import create_tables, open_pools, serve
from poolscope.demo.table import FULL_WIDTH

SHOWN_SECONDS = 24.0
"""Seconds of history to show; the load has a burst of each stream every 20 seconds."""


async def picture(postgres: EmbeddedPostgres) -> str:
    """Return the screen as SVG."""
    console = Console(file=io.StringIO(), force_terminal=True, record=True, width=FULL_WIDTH)
    screen = Screen(console)
    # As in the demo: a thread for each caller that waits for the synchronous pool.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))
    await create_tables(postgres)
    async with open_pools(postgres) as pools, serve(pools) as service:
        load = Load(service)
        running = asyncio.create_task(load.run())
        addresses = Addresses(service, "http://127.0.0.1:10464/metrics")
        began = time.monotonic()
        while time.monotonic() - began < SHOWN_SECONDS or not any(
            pool.waiting > 5 for pool in poolscope.snapshots()
        ):
            await asyncio.sleep(REFRESH)
            screen.refresh(poolscope.snapshots(), load.bursts(), None)
        console.print(screen.render(addresses, poolscope.snapshots(), load.bursts(), None))
        load.stop()
        await running
    svg = console.export_svg(title="poolscope demo")
    # Drop the font, which would be loaded from another host; any monospaced font will do.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    with embedded_postgres() as postgres:
        Path(sys.argv[1]).write_text(asyncio.run(picture(postgres)))

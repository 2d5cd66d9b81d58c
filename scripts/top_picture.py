"""
Write docs/top.svg: the screen of `poolscope top` on a running demo, while callers wait for a pool.

    poolscope demo &
    top_picture.py [URL] [FILE]
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from poolscope.terminal.app import Top
from poolscope.terminal.sources import Exporter

PICTURE = Path(__file__).parent.parent / "docs" / "top.svg"
URL = "http://127.0.0.1:10464"
SIZE = (118, 24)
LOOKS = 30
"""How often it looks before the picture, so that the last minute is full."""
MANY_WAITING = 15


async def picture(url: str) -> str:
    """Return the screen as SVG, at the first look at which many callers wait for the first pool."""
    app = Top(Exporter(url), interval=1.0)
    async with app.run_test(size=SIZE) as pilot:
        looks = 0
        while looks < LOOKS or not app._rows or app._rows[0].waiting < MANY_WAITING:
            await asyncio.sleep(1.0)
            await pilot.pause()
            looks += 1
        svg = app.export_screenshot(title="poolscope top")
    # Without the font, which another host would send; any monospaced font will do.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code", 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono"')


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv[1:]))
    svg = asyncio.run(picture(arguments.get(0, URL)))
    Path(arguments.get(1, PICTURE)).write_text(svg)

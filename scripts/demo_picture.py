"""
Write docs/demo.svg: the screen of a run of the demo, while callers wait for one of its pools.

    demo_picture.py [FILE]
"""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from poolscope.demo import main
from poolscope.demo.rows import PoolRow
from poolscope.demo.screen import Screen
from poolscope.demo.signals import Stop

PICTURE = Path(__file__).parent.parent / "docs" / "demo.svg"
WIDTH = 106
PORT = 10464
SHOWN_SECONDS = 44.0
"""As many as the history has room for, and after each pool was full twice."""
MANY_WAITING = 15


def terminal(record: bool = False) -> Console:
    file = io.StringIO()
    return Console(file=file, force_terminal=True, record=record, width=WIDTH, height=40)


class Painter(Screen):
    """Keeps the first good page after that time as SVG, and ends the demo then."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(terminal())
        self._stop = stop
        self._began = time.monotonic()
        self.svg = ""

    def refresh(self, pools: Sequence[PoolRow], bursts: Sequence[str], left: float | None) -> None:
        super().refresh(pools, bursts, left)
        shown = time.monotonic() - self._began >= SHOWN_SECONDS
        full = any(pool.waiting >= MANY_WAITING for pool in pools)
        if shown and full and any(pool.leaked for pool in pools):
            picture = terminal(record=True)
            picture.print(self.render(self._addresses, pools, bursts, left))
            svg = picture.export_svg(title="poolscope demo")
            # Without the font, which another host would send; any monospaced font will do.
            self.svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
            self._stop.requested = True


if __name__ == "__main__":
    with Stop() as stop:
        painter = Painter(stop)
        main.run(stop, None, PORT, "127.0.0.1", None, painter)
        Path(sys.argv[1] if len(sys.argv) > 1 else PICTURE).write_text(painter.svg)

"""
Draw the pictures of the dashboards: a demo with PostgreSQL, PgBouncer, an exporter and Prometheus,
and beside it a service that keeps the connections of its pool.

    dashboard_pictures.py           write docs/dashboards/*.png, after five minutes
    dashboard_pictures.py --serve   print the URL of Prometheus, and run until Ctrl-C

It needs Pillow (`pip install pillow`), which nothing else here does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from poolscope.demo.postgres import embedded_postgres
from support.live_demo import live_demo
from support.prometheus import Job, PrometheusServer

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "dashboards"
LABELS = {"cluster": "eu-1", "service": "shop"}
MINUTES = 5
CHOSEN = {"pool": {**LABELS, "pool": "payments", "kind": "sqlalchemy"}}
DRAW = (
    *(sys.executable, ROOT / "tests/drawing/draw.py"),
    *(f"--minutes={MINUTES}", "--closed-rows"),
)
FIRST_SCREEN = 980
"""Pixels."""
COLOURS = 256
EXACT_COLOURS = 160
"""Of these, how many are those that most pixels have: the others are mixed."""

# The names that servers have in production, instead of folders and ports of this run.
SERVERS = [
    {"source_labels": ["server"], "regex": pattern, "target_label": "server", "replacement": name}
    for pattern, name in (("/.*", "db:5432"), ("127.0.0.1:.*", "bouncer:6432"))
]


def renamed(job: Job) -> Job:
    return {**job, "metric_relabel_configs": [*job.get("metric_relabel_configs", ()), *SERVERS]}


@contextmanager
def servers() -> Iterator[PrometheusServer]:
    """Run everything; yield the Prometheus."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # PgBouncer runs as another user.
        folder.chmod(0o755)
        postgres = stack.enter_context(embedded_postgres())

        def prometheus(jobs: Sequence[Job]) -> PrometheusServer:
            program = shutil.which("prometheus") or "prometheus"
            server = PrometheusServer(program, folder, [renamed(job) for job in jobs])
            stack.callback(server.kill)
            return server

        server, _ = stack.enter_context(live_demo(folder, postgres, prometheus, labels=LABELS))
        environment = {
            **os.environ,
            "POOLSCOPE_DIR": str(folder / "pools"),
            "POOLSCOPE_APPLICATION_NAME": "shop",
            "POOLSCOPE_DEMO_POSTGRES": postgres.dsn,
        }
        service = subprocess.Popen(
            [sys.executable, "-c", "import payments; payments.main()"],
            cwd=Path(__file__).parent,
            env=environment,
        )
        stack.callback(service.wait)
        stack.callback(service.kill)
        yield server


def draw(name: str, url: str) -> None:
    picture = PICTURES / f"{name}.png"
    variables = [f"--var={label}={value}" for label, value in CHOSEN.get(name, {}).items()]
    dashboard = ROOT / "dashboards" / f"{name}.json"
    subprocess.run(  # noqa: S603 - runs a script of ours
        [*DRAW, dashboard, url, picture, *variables],
        check=False,  # a demo has no failed look-ups to show
    )
    in_few_bytes(picture, picture)


def in_few_bytes(picture: Path, out: Path, height: int | None = None) -> None:
    """Write a picture, or what is above a height, with few colours."""
    with Image.open(picture) as image:
        box = (0, 0, image.width, height or image.height)
        whole = image.convert("RGB").crop(box)
    whole.quantize(palette=palette(whole), dither=Image.Dither.NONE).save(out, optimize=True)


def palette(image: Image.Image) -> Image.Image:
    """Return the colours of a picture, those of its backgrounds and letters unchanged."""
    mixed = image.quantize(COLOURS - EXACT_COLOURS, Image.Quantize.MAXCOVERAGE)
    found: Any = image.getcolors(image.width * image.height)
    frequent = [colour for _, colour in sorted(found, reverse=True)[:EXACT_COLOURS]]
    chosen = Image.new("P", (1, 1))
    few = (mixed.getpalette() or [])[: 3 * (COLOURS - EXACT_COLOURS)]
    chosen.putpalette([value for colour in frequent for value in colour] + few)
    return chosen


def main() -> None:
    # The default would end this process alone, and leave the servers running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with servers() as server:
        if "--serve" in sys.argv:
            print(f"Prometheus: {server.url}", flush=True)
            signal.pause()
        time.sleep(60 * MINUTES)
        for dashboard in sorted((ROOT / "dashboards").glob("*.json")):
            draw(dashboard.stem, server.url)
    in_few_bytes(PICTURES / "pool.png", PICTURES / "first-screen.png", FIRST_SCREEN)


if __name__ == "__main__":
    main()

"""
Run the demo with PostgreSQL, an exporter and Prometheus, for drawing pictures of the dashboards.

    dashboard_pictures.py [SECONDS]    prints the URL of Prometheus; default: runs until Ctrl-C
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from poolscope.demo.postgres import embedded_postgres
from support.live_demo import live_demo
from support.prometheus import Job, PrometheusServer


def main() -> None:
    # The default would end this process alone, and leave the servers running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # PgBouncer runs as another user.
        folder.chmod(0o755)
        postgres = stack.enter_context(embedded_postgres())

        def prometheus(jobs: Sequence[Job]) -> PrometheusServer:
            server = PrometheusServer(shutil.which("prometheus") or "prometheus", folder, jobs)
            stack.callback(server.kill)
            return server

        labels = {"cluster": "eu-1", "service": "shop"}
        server, exporter = stack.enter_context(
            live_demo(folder, postgres, prometheus, labels=labels)
        )
        print(f"Prometheus: {server.url}\nexporter: {exporter.url}", flush=True)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(1)


if __name__ == "__main__":
    main()
